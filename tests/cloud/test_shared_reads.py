"""One request serves all who want to know, for seconds at most, and never for longer than until the next write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from controller.cloud import collection, share_sessions, shared
from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind

GROUP = "/subscriptions/S/resourceGroups/One"
APPS = f"{GROUP}/providers/Microsoft.App/containerApps"
ENVIRONMENT = f"{GROUP}/providers/Microsoft.App/managedEnvironments/env"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/acc"
SHARE = f"{ACCOUNT}/fileServices/default/shares/models"
FORBIDDEN = outcome.OutcomeError(outcome.Stalled(Reason.FORBIDDEN, "no", slowly=True))


def app(number: int) -> str:
    return f"{APPS}/app-{number}"


@dataclass
class Session:
    """Of the share: counts how often it is entered and left."""

    cloud: Cloud
    keys: Any

    async def __aenter__(self) -> Any:
        await self.keys()
        self.cloud.sessions += 1
        return object()

    async def __aexit__(self, *exc: object) -> None:
        self.cloud.left += 1
        self.cloud.gone.set()


@dataclass
class Cloud:
    """Resources by id, and what was asked. While `gate` is unset no read is answered; `refused` is raised by lists."""

    there: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    now: float = 100.0
    refused: outcome.OutcomeError | None = None
    sessions: int = 0
    left: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def put(self, resource_id: str, state: str = "Succeeded", **properties: Any) -> None:
        body = {"id": resource_id, "name": resource_id.rpartition("/")[2]}
        self.there[resource_id.lower()] = {**body, "properties": {"provisioningState": state, **properties}}

    async def read(self, kind: Kind, resource_id: str) -> observed.Resource | None:
        self.asked.append(f"get {resource_id.rpartition('/')[2]}")
        body = self.there.get(resource_id.lower())
        await self.gate.wait()
        return observed.Resource(body) if body else None

    async def listed(self, kind: Kind, scope: str) -> tuple[observed.Resource, ...]:
        self.asked.append(f"list {kind.label}")
        below = f"{scope.lower()}/providers/{kind.lower()}/"
        below = f"{scope.lower()}/storages/" if kind is Kind.STORAGE else below
        found = tuple(observed.Resource(body) for name, body in self.there.items() if name.startswith(below))
        await self.gate.wait()
        if self.refused:
            raise self.refused
        return found

    async def create(self, kind: Kind, resource_id: str, body: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)

    update = create

    async def delete(self, kind: Kind, resource_id: str) -> None:
        self.there.pop(resource_id.lower(), None)

    async def account_keys(self, account_id: str) -> tuple[SecretStr, ...]:
        self.asked.append("keys")
        await self.gate.wait()
        if self.refused:
            raise self.refused
        return (SecretStr("key"),)

    def share(self, account: observed.Resource, name: str, *, keys: Any = None) -> Session:
        return Session(self, keys)

    async def close(self) -> None:
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        """What is passed on as it is: gives its own name and arguments."""

        async def passed(*given: object) -> tuple[object, ...]:
            return (name, *given)

        return passed


@pytest.fixture
def inner() -> Cloud:
    made = Cloud()
    made.gate.set()
    for number in range(5):
        made.put(app(number))
    return made


@pytest.fixture
async def cloud(inner: Cloud) -> AsyncIterator[shared.Shared]:
    made = shared.Shared(inner, lambda: inner.now)
    yield made
    inner.gate.set()
    await made.close()


async def names(cloud: shared.Shared, *numbers: int) -> list[str | None]:
    """What reads of these apps, all at once, find."""
    found = await asyncio.gather(*(cloud.read(Kind.APP, app(number)) for number in numbers))
    return [one.name if one else None for one in found]


async def turn() -> None:
    """Let everything that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_list_serves_every_app(inner: Cloud, cloud: shared.Shared) -> None:
    """The first look doesn't know yet that there are others; from then on a look at all of them is one list."""
    assert await names(cloud, 0, 1, 2, 3) == ["app-0", "app-1", "app-2", "app-3"]
    assert inner.asked == ["get app-0", "list containerApp"]
    inner.now += shared.SETTLED + 1
    inner.asked.clear()
    assert await names(cloud, 0, 1, 2, 3) == ["app-0", "app-1", "app-2", "app-3"]
    assert inner.asked == ["list containerApp"]


async def test_a_single_app_is_read_by_itself(inner: Cloud, cloud: shared.Shared) -> None:
    """A list would carry more and say no more."""
    for _ in range(3):
        assert await names(cloud, 0) == ["app-0"]
        inner.now += shared.SETTLED + 1
    assert inner.asked == ["get app-0"] * 3


async def test_a_settled_resource_is_believed_for_seconds(inner: Cloud, cloud: shared.Shared) -> None:
    """Not for longer."""
    await names(cloud, 0)
    inner.now += shared.SETTLED
    await names(cloud, 0)
    assert inner.asked == ["get app-0"]
    inner.now += 0.1
    await names(cloud, 0)
    assert inner.asked == ["get app-0"] * 2


async def test_what_hardly_changes_is_believed_for_longer(inner: Cloud, cloud: shared.Shared) -> None:
    """A group, an account and what is in it."""
    inner.put(SHARE)
    await cloud.read(Kind.SHARE, SHARE)
    inner.now += shared.STEADY
    await cloud.read(Kind.SHARE, SHARE)
    assert inner.asked == ["get models"]
    inner.now += 0.1
    await cloud.read(Kind.SHARE, SHARE)
    assert inner.asked == ["get models"] * 2


@pytest.mark.parametrize(("state", "seconds"), [("InProgress", collection.MOVING), (None, collection.ABSENT)])
async def test_what_moves_or_is_missing_is_believed_for_a_moment(
    inner: Cloud, cloud: shared.Shared, state: str | None, seconds: float
) -> None:
    """Half a second, and a second and a half."""
    inner.there.clear()
    if state:
        inner.put(app(0), state)
    await names(cloud, 0)
    inner.now += seconds
    await names(cloud, 0)
    assert len(inner.asked) == 1
    inner.now += 0.1
    await names(cloud, 0)
    assert len(inner.asked) == 2


async def test_one_that_moves_among_settled_ones_is_read_by_itself(inner: Cloud, cloud: shared.Shared) -> None:
    """A list of a large group every second would be a waste."""
    inner.put(app(0), "InProgress")
    await names(cloud, 0, 1, 2)
    inner.asked.clear()
    inner.now += shared.SETTLED + 1
    await names(cloud, 0)
    assert inner.asked == ["get app-0"]


async def test_several_that_move_are_listed(inner: Cloud, cloud: shared.Shared) -> None:
    """As long as somebody asks for them."""
    inner.put(app(0), "InProgress")
    inner.put(app(1), "InProgress")
    await names(cloud, 0, 1, 2)
    inner.asked.clear()
    inner.now += 1
    assert await names(cloud, 0) == ["app-0"]
    assert inner.asked == ["list containerApp"]
    inner.now += collection.ACTIVE + 1
    await names(cloud, 0)
    assert inner.asked == ["list containerApp", "get app-0"]


async def test_one_that_moves_is_listed_for_one_that_is_to_be_created(inner: Cloud, cloud: shared.Shared) -> None:
    """One request shows that an app is done and that the next isn't there, while what was heard of that would soon be
    too old."""
    inner.put(app(0), "InProgress")
    await names(cloud, 0, 7)
    inner.asked.clear()
    inner.now += collection.MOVING + 0.1
    await names(cloud, 0)
    assert inner.asked == ["get app-0"]
    inner.now += collection.MOVING + 0.1
    inner.put(app(0))
    assert await names(cloud, 0) == ["app-0"]
    inner.now += collection.AHEAD
    assert await names(cloud, 7) == [None]
    assert inner.asked == ["get app-0", "list containerApp"]


async def test_a_large_list_is_too_much_for_one_that_moves(
    inner: Cloud, cloud: shared.Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though others move as well."""
    monkeypatch.setattr(collection, "LARGE", 4)
    inner.put(app(0), "InProgress")
    inner.put(app(1), "InProgress")
    await names(cloud, 0, 1, 2)
    inner.asked.clear()
    inner.now += 1
    await names(cloud, 0)
    assert inner.asked == ["get app-0"]


async def test_a_list_says_what_is_missing(inner: Cloud, cloud: shared.Shared) -> None:
    """For those it was asked for, and for others."""
    await names(cloud, 0, 1)
    inner.asked.clear()
    assert await names(cloud, 7) == [None]
    assert inner.asked == []


async def test_who_asks_at_the_same_time_waits_for_one_request(inner: Cloud, cloud: shared.Shared) -> None:
    """Whatever becomes of the one who asked first."""
    inner.gate.clear()
    first, second = (asyncio.create_task(cloud.read(Kind.APP, app(0))) for _ in range(2))
    await turn()
    first.cancel()
    await turn()
    inner.gate.set()
    found = await second
    assert found is not None
    assert found.name == "app-0"
    assert inner.asked == ["get app-0"]


async def test_a_failure_is_everybodys_and_is_not_kept(inner: Cloud, cloud: shared.Shared) -> None:
    """The next one asks again."""
    await names(cloud, 0, 1)
    inner.now += shared.SETTLED + 1
    inner.refused = outcome.OutcomeError(outcome.Transient(Reason.AZURE_ERROR, "busy"))
    reads = [cloud.read(Kind.APP, app(number)) for number in range(2)]
    failed = await asyncio.gather(*reads, return_exceptions=True)
    assert [str(each) for each in failed] == ["busy", "busy"]
    inner.refused = None
    assert await names(cloud, 0, 1) == ["app-0", "app-1"]


@pytest.mark.parametrize("write", ["create", "update", "delete"])
async def test_what_was_asked_before_a_write_says_nothing_afterwards(
    inner: Cloud, cloud: shared.Shared, write: str
) -> None:
    """Neither what is held, nor what is on its way, by itself or in a list."""
    await names(cloud, 0, 1)
    given: tuple[Any, ...] = () if write == "delete" else ({},)
    await getattr(cloud, write)(Kind.APP, app(0), *given)
    inner.put(app(0), changed=True)
    inner.asked.clear()
    found = await cloud.read(Kind.APP, app(0))
    assert found is not None
    assert found.properties["changed"]
    assert inner.asked == ["get app-0"]
    assert await names(cloud, 1) == ["app-1"]
    assert inner.asked == ["get app-0"]


async def test_a_request_on_its_way_is_not_joined_after_a_write(inner: Cloud, cloud: shared.Shared) -> None:
    """It may have been answered before the write was."""
    inner.gate.clear()
    before = asyncio.create_task(cloud.read(Kind.APP, app(0)))
    await turn()
    inner.put(app(0), changed=True)
    await cloud.update(Kind.APP, app(0), {})
    after = asyncio.create_task(cloud.read(Kind.APP, app(0)))
    await turn()
    inner.gate.set()
    found = [await before, await after, await cloud.read(Kind.APP, app(0))]
    assert [one.properties.get("changed") if one else None for one in found] == [None, True, True]


async def test_a_list_on_its_way_serves_others_after_a_write(inner: Cloud, cloud: shared.Shared) -> None:
    """Not the one that was written."""
    await names(cloud, 0, 1, 2)
    inner.now += shared.SETTLED + 1
    inner.asked.clear()
    inner.gate.clear()
    before = asyncio.create_task(cloud.read(Kind.APP, app(0)))
    await turn()
    inner.put(app(1), changed=True)
    await cloud.update(Kind.APP, app(1), {})
    after = [asyncio.create_task(cloud.read(Kind.APP, app(number))) for number in (1, 2)]
    await turn()
    inner.gate.set()
    found = [await before, *[await each for each in after]]
    assert [one.properties.get("changed") if one else None for one in found] == [None, True, None]
    assert inner.asked == ["list containerApp", "get app-1"]


async def test_a_write_speaks_for_what_lies_below(inner: Cloud, cloud: shared.Shared) -> None:
    """A share's answer is older than the account it lies in, and so is an environment's list of storages."""
    inner.put(SHARE)
    await cloud.read(Kind.SHARE, SHARE)
    await cloud.listed(Kind.STORAGE, ENVIRONMENT)
    await cloud.update(Kind.ACCOUNT, ACCOUNT, {})
    await cloud.update(Kind.ENVIRONMENT, ENVIRONMENT, {})
    inner.asked.clear()
    await cloud.read(Kind.SHARE, SHARE)
    await cloud.listed(Kind.STORAGE, ENVIRONMENT)
    assert inner.asked == ["get models", "list environmentStorage"]


async def test_a_refreshed_read_goes_to_azure(inner: Cloud, cloud: shared.Shared) -> None:
    """Once, whatever the case of the id; the others stay."""
    await names(cloud, 0, 1)
    inner.asked.clear()
    cloud.refresh([app(0).upper()])
    assert await names(cloud, 0, 0, 1) == ["app-0", "app-0", "app-1"]
    assert inner.asked == ["get app-0"]


async def test_ids_are_one_whatever_their_case(inner: Cloud, cloud: shared.Shared) -> None:
    """The services change it."""
    await cloud.read(Kind.APP, app(0))
    assert await cloud.read(Kind.APP, app(0).lower())
    assert inner.asked == ["get app-0"]


async def test_an_absence_just_after_our_create_is_not_believed(inner: Cloud, cloud: shared.Shared) -> None:
    """For half a minute; then it is a fact."""
    inner.there.clear()
    await cloud.create(Kind.APP, app(0), {})
    with pytest.raises(outcome.OutcomeError) as raised:
        await cloud.read(Kind.APP, app(0))
    assert raised.value.outcome == outcome.Waiting(
        Reason.PROGRESSING, "containerApp app-0 was just created and isn't visible yet", after=1
    )
    inner.now += shared.NEWBORN
    assert await cloud.read(Kind.APP, app(0)) is None


async def test_an_absence_after_it_was_seen_or_deleted_is_believed(inner: Cloud, cloud: shared.Shared) -> None:
    """Somebody deleted it since: others, or we."""
    await cloud.create(Kind.APP, app(0), {})
    assert await names(cloud, 0) == ["app-0"]
    inner.there.clear()
    cloud.refresh([app(0)])
    assert await names(cloud, 0) == [None]
    await cloud.create(Kind.APP, app(1), {})
    await cloud.delete(Kind.APP, app(1))
    assert await names(cloud, 1) == [None]


async def test_where_lists_are_forbidden_each_is_read(inner: Cloud, cloud: shared.Shared) -> None:
    """Roles may be on single resources; the list is tried again later."""
    inner.refused = FORBIDDEN
    assert await names(cloud, 0, 1) == ["app-0", "app-1"]
    inner.now += shared.SETTLED + 1
    inner.asked.clear()
    assert await names(cloud, 0, 1) == ["app-0", "app-1"]
    assert inner.asked == ["get app-0", "get app-1"]
    inner.now += shared.FORBIDDEN
    inner.refused = None
    inner.asked.clear()
    await names(cloud, 0, 1)
    assert inner.asked == ["list containerApp"]


async def test_a_list_asked_for_is_shared_with_reads(inner: Cloud, cloud: shared.Shared) -> None:
    """In both directions, until something in it is written."""
    assert len(await cloud.listed(Kind.APP, GROUP)) == 5
    assert await names(cloud, 0, 1) == ["app-0", "app-1"]
    assert len(await cloud.listed(Kind.APP, GROUP)) == 5
    assert inner.asked == ["list containerApp"]
    await cloud.update(Kind.APP, app(3), {})
    await cloud.listed(Kind.APP, GROUP)
    assert inner.asked == ["list containerApp"] * 2


async def test_a_list_with_something_moving_is_old_at_once(inner: Cloud, cloud: shared.Shared) -> None:
    """As for one resource."""
    inner.put(app(0), "InProgress")
    for _ in range(2):
        await cloud.listed(Kind.APP, GROUP)
        inner.now += 1
    assert inner.asked == ["list containerApp"] * 2


async def test_a_list_of_a_subscription_is_passed_on(inner: Cloud, cloud: shared.Shared) -> None:
    """Nobody else needs it."""
    for _ in range(2):
        await cloud.listed(Kind.ACCOUNT, "/subscriptions/S")
    assert inner.asked == ["list storageAccount"] * 2


async def test_keys_are_read_once_for_all(inner: Cloud, cloud: shared.Shared) -> None:
    """Until the account is written or refreshed; a refusal holds as well, for a reader has no other answer."""
    await asyncio.gather(*(cloud.account_keys(ACCOUNT) for _ in range(3)))
    assert inner.asked == ["keys"]
    cloud.refresh([ACCOUNT])
    assert await cloud.account_keys(ACCOUNT.upper()) == (SecretStr("key"),)
    assert inner.asked == ["keys"] * 2
    await cloud.update(Kind.ACCOUNT, ACCOUNT, {})
    inner.refused = FORBIDDEN
    for _ in range(2):
        with pytest.raises(outcome.OutcomeError):
            await cloud.account_keys(ACCOUNT)
    assert inner.asked == ["keys"] * 3


async def test_a_share_is_one_session(inner: Cloud, cloud: shared.Shared) -> None:
    """For all who use it at the same time or shortly after; closed with the sharing, while the cloud stays open."""
    account = observed.Resource({"id": ACCOUNT})
    async with cloud.share(account, "models") as one, cloud.share(account, "models") as two:
        assert one is two
    async with cloud.share(account, "models") as three:
        assert three is one
    assert (inner.sessions, inner.left) == (1, 0)
    await cloud.close()
    assert (inner.left, inner.closed) == (1, False)


async def test_a_share_session_that_failed_or_is_old_is_nobody_elses(inner: Cloud, cloud: shared.Shared) -> None:
    """A rotated key is behind most failures."""
    account = observed.Resource({"id": ACCOUNT})
    with pytest.raises(ValueError, match="broken"):
        async with cloud.share(account, "models"):
            raise ValueError("broken")
    await turn()
    assert (inner.sessions, inner.left, inner.asked) == (1, 1, ["keys"])
    async with cloud.share(account, "models"):
        assert inner.asked == ["keys"] * 2
        inner.now += share_sessions.OLDEST + 1
        async with cloud.share(account, "models"):
            assert inner.sessions == 3
    await turn()
    assert inner.left == 2


async def test_a_share_session_nobody_uses_is_closed(
    inner: Cloud, cloud: shared.Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon: it holds keys."""
    monkeypatch.setattr(share_sessions, "IDLE", 0.0)
    async with cloud.share(observed.Resource({"id": ACCOUNT}), "models"):
        pass
    async with asyncio.timeout(5):
        await inner.gone.wait()


async def test_the_rest_is_passed_on(inner: Cloud, cloud: shared.Shared) -> None:
    """As it is."""
    assert await cloud.revisions("a") == ("revisions", "a")  # type: ignore[comparison-overlap]
    assert await cloud.replicas("r") == ("replicas", "r")  # type: ignore[comparison-overlap]
    assert await cloud.workspace_key("w") == ("workspace_key", "w")
    assert await cloud.app_secrets("a") == ("app_secrets", "a")  # type: ignore[comparison-overlap]
    assert await cloud.check("u") == ("check", "u")  # type: ignore[comparison-overlap]
    await cloud.register("n", "s")
    await cloud.read(Kind.REVISION, "r")
    assert inner.asked == ["get r"]
