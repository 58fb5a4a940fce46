"""The fence is asked at the last moment before each request that changes something, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from controller.cloud import azure as adapter
from controller.cloud import session, writes
from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from infra.local_azure import server
from tests.cloud.bodies import ACCOUNT, WEST

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub, Virtual


@dataclass
class Guard:
    """Counts how often it was asked; stops everything once it is shut."""

    shut: bool = False
    asked: int = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.shut:
            raise outcome.OutcomeError(outcome.Waiting(Reason.NOT_LEADER, "another controller leads"))


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
async def guarded(local: server.Server, guard: Guard) -> AsyncIterator[adapter.Azure]:
    async with adapter.Azure(local.url, fence=guard) as cloud:
        yield cloud


async def made(cloud: adapter.Azure, names: Names) -> observed.Resource:
    """The account, with a share."""
    await cloud.create(Kind.GROUP, names.group, WEST)
    await cloud.create(Kind.ACCOUNT, names.account, ACCOUNT)
    await cloud.create(Kind.SHARE, names.share, {"properties": {"shareQuota": 5}})
    account = await cloud.read(Kind.ACCOUNT, names.account)
    assert account is not None
    return account


async def test_each_write_asks_and_no_read_does(guarded: adapter.Azure, names: Names, guard: Guard) -> None:
    """To ARM and to a share: before it is begun, and once more when its connection is there."""
    account = await made(guarded, names)
    async with guarded.share(account, "share-one") as share:
        await share.write("a/b.txt", b"hello")
        assert await share.read("a/b.txt") == b"hello"
    await guarded.register("Microsoft.App", names.group.split("/")[2])
    await guarded.delete(Kind.ACCOUNT, names.account)
    assert (guarded.writes.arm, guarded.writes.share > 0) == (5, True)
    assert guard.asked == 2 * (guarded.writes.arm + guarded.writes.share)


async def test_nothing_passes_a_shut_fence(guarded: adapter.Azure, names: Names, guard: Guard) -> None:
    """Its own outcome is raised, no writing request goes out, and reads go on."""
    account = await made(guarded, names)
    async with guarded.share(account, "share-one") as share:
        await share.write("kept.txt", b"kept")
        guard.shut = True
        before = guarded.writes.arm, guarded.writes.share
        for call in (
            guarded.update(Kind.ACCOUNT, names.account, {"tags": {"one": "1"}}),
            guarded.delete(Kind.SHARE, names.share),
            guarded.register("Microsoft.App", names.group.split("/")[2]),
            share.write("new.txt", b"hello"),
            share.delete("kept.txt"),
        ):
            with pytest.raises(outcome.OutcomeError) as raised:
                await call
            assert raised.value.outcome == outcome.Waiting(Reason.NOT_LEADER, "another controller leads")
        assert (guarded.writes.arm, guarded.writes.share) == before
        assert await share.read("kept.txt") == b"kept"
    assert await guarded.read(Kind.SHARE, names.share) is not None


async def test_it_shuts_while_the_connection_is_made(stub: Stub, names: Names, guard: Guard) -> None:
    """A process that was stopped there sends nothing when it goes on; connections aren't lost by it."""

    def shuts() -> None:
        guard.shut = guard.asked % 2 == 1
        guard()

    stub.answer(200, {})
    async with adapter.Azure(stub.url, fence=shuts) as cloud:
        for _ in range(120):
            with pytest.raises(outcome.OutcomeError, match="another controller leads"):
                await cloud.create(Kind.GROUP, names.group, WEST)
        assert stub.asked == []
        cloud.fence = None
        await cloud.create(Kind.GROUP, names.group, WEST)
    assert len(stub.asked) == 1


async def test_a_fence_can_be_set_later(stub: Stub, stubbed: adapter.Azure, names: Names, guard: Guard) -> None:
    """Also after the clients were made; None takes it away."""
    stub.answer(200, {})
    await stubbed.create(Kind.GROUP, names.group, WEST)
    guard.shut, stubbed.fence = True, guard
    with pytest.raises(outcome.OutcomeError):
        await stubbed.create(Kind.GROUP, names.group, WEST)
    assert (stubbed.fence, len(stub.asked)) == (guard, 1)
    stubbed.fence = None
    await stubbed.create(Kind.GROUP, names.group, WEST)
    assert len(stub.asked) == 2


async def test_it_is_asked_after_the_wait(stub: Stub, names: Names, virtual: Virtual) -> None:
    """A controller that lost the lease while it waited for its turn doesn't write."""
    asked: list[float] = []
    stub.answer(200, {})
    async with adapter.Azure(stub.url, clock=virtual.clock, fence=lambda: asked.append(virtual.seconds)) as cloud:
        for _ in range(191):
            await cloud.create(Kind.GROUP, names.group, WEST)
    assert asked[-3:] == [0.0, pytest.approx(0.1), pytest.approx(0.1)]


async def test_what_wrap_gives_sees_only_what_is_sent(stub: Stub, names: Names, guard: Guard, virtual: Virtual) -> None:
    """It lies below the fence and the pace."""
    seen: list[str] = []

    def wrap(inner: session.Transport) -> session.Transport:
        send = inner.send

        async def watched(request: Any, **kwargs: Any) -> Any:
            seen.append(request.method)
            return await send(request, **kwargs)

        inner.send = watched  # type: ignore[method-assign]
        return inner

    stub.answer(429, {"error": {"code": "429", "message": "no"}}, {"Retry-After": "100"})
    async with adapter.Azure(stub.url, clock=virtual.clock, fence=guard, wrap=wrap) as cloud:
        for _ in range(3):
            with pytest.raises(outcome.OutcomeError):
                await cloud.read(Kind.GROUP, names.group)
        guard.shut = True
        with pytest.raises(outcome.OutcomeError):
            await cloud.create(Kind.GROUP, names.group, WEST)
    # The cloud's own description, then the one read.
    assert seen == ["GET", "GET"]


GROUP = "/subscriptions/s/resourceGroups/g"
APP = f"{GROUP}/providers/Microsoft.App/containerApps/a"


@pytest.mark.parametrize(
    ("method", "address", "is_write"),
    [
        ("GET", APP, False),
        ("HEAD", GROUP, False),
        ("PUT", APP, True),
        ("PATCH", APP, True),
        ("DELETE", APP, True),
        ("POST", f"{APP}/listSecrets", False),
        ("POST", f"{APP}/stop", True),
        ("POST", f"{APP}/revisions/r/Restart", True),
        ("POST", "/subscriptions/s/providers/Microsoft.App/register", True),
        ("POST", "/subscriptions/s/providers/Microsoft.Storage/checkNameAvailability", False),
        ("POST", "/tenant/oauth2/v2.0/token", False),
        ("PUT", "/account/share/a.txt", True),
        ("PUT", "/account/share/a.txt?comp=range", True),
        ("PUT", "/account/share/a.txt?comp=lease", True),
        ("PUT", "/account/share?restype=share", True),
        ("PUT", "/account/share?restype=share&comp=lease", False),
        ("PUT", "/account/share?restype=share&comp=metadata", False),
        ("PUT", "/account/share/d?restype=directory&comp=metadata", True),
    ],
)
def test_what_asks_for_a_change(method: str, address: str, is_write: bool) -> None:
    """Everything but reads, and what holding a lease on a share takes."""
    counted = writes.Writes()
    counted.count(method, URL(f"https://host{address}"))
    assert writes.changes(method, URL(f"https://host{address}")) is is_write
    assert counted.arm + counted.share == int(is_write)


def test_where_a_write_goes_is_counted_apart() -> None:
    """ARM's paths begin with the subscription."""
    counted = writes.Writes()
    counted.count("PUT", URL(f"https://host{APP}"))
    counted.count("PUT", URL("https://host/account/share/a.txt"))
    counted.count("DELETE", URL("https://host/account/share/a.txt"))
    assert (counted.arm, counted.share) == (1, 2)
