"""What becomes in Azure of objects that are taken out of the desired state, with the real SDK against a local Azure."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from controller import election, leftovers, loop, pruning, settings
from controller.cloud import port
from controller.sources import git, manifest, origin
from infra.local_azure import faults
from tests.reconcile.clouds import Around
from tests.reconcile.stack import GROUP, Stack, app, environment, running

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
ALLOW = (f"{SUBSCRIPTION}/{GROUP}",)
DELETE = {"deletionPolicy": "Delete"}
MOST_ROUNDS = 12
OTHER = {
    "resourceGroup": "rg-other",
    "storage": {"accountName": "accountother", "shareName": "models"},
    "logAnalytics": {"workspaceName": "logs-other"},
    "containerApps": {"environmentName": "env-other", "storageName": "mount"},
}


def other() -> dict[str, Any]:
    """An Environment beside the stack's, elsewhere, so that something is still desired."""
    made = environment(**OTHER)
    return {**made, "metadata": {"name": "elsewhere"}}


def pruner(stack: Stack, *, cloud: port.Cloud | None = None, mass: bool = False, allow: Any = ALLOW) -> pruning.Pruner:
    """By the state folder as it is at each moment."""

    def standing() -> manifest.Source | str:
        try:
            return stack.source
        except manifest.LoadError as error:
            return str(error)

    statuses = stack.reconciler.statuses
    return pruning.Pruner(cloud or stack.cloud, statuses, standing, inventory="one", allow=allow, mass=mass, soon=0.0)


async def rounds(one: pruning.Pruner, *, most: int = MOST_ROUNDS) -> dict[str, tuple[str, str]]:
    """Until nothing is under way; what is told then, by resource name."""
    for _ in range(most):
        if await one.round() >= leftovers.INTERVAL:
            return told(one)
    raise AssertionError(told(one))


def told(one: pruning.Pruner) -> dict[str, tuple[str, str]]:
    return {each.resource.rpartition("/")[2]: (each.state, each.message) for each in one.statuses.source.pruning}


async def names(stack: Stack) -> list[str]:
    """Everything in the group that Azure has, by name."""
    kinds = ("Microsoft.App/containerApps", "Microsoft.App/managedEnvironments",
             "Microsoft.OperationalInsights/workspaces", "Microsoft.Storage/storageAccounts")  # fmt: skip
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    listed = [await stack.arm("GET", f"{group}/providers/{kind}") for kind in kinds]
    return [one["name"] for each in listed for one in each["value"]]


def deletes(stack: Stack) -> list[str]:
    """The names of what was deleted, in order."""
    return [path.rpartition("/")[2] for method, path in stack.writes() if method == "DELETE"]


async def tagged(stack: Stack, resource_id: str, **changed: str | None) -> None:
    """Somebody changes tags; None removes."""
    live = await stack.arm("GET", resource_id)
    new = {**live["tags"], **{f"acaops-{name}": value for name, value in changed.items()}}
    await stack.arm("PATCH", resource_id, {"tags": new})


@pytest.fixture(scope="module")
def two_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")

    async def build() -> None:
        async with running(root) as one:
            one.write(environment(**DELETE), app(), app("talk"))
            await one.converge()

    asyncio.run(build())
    return root


@pytest.fixture
async def two(two_once: Path, tmp_path: Path) -> AsyncIterator[Stack]:
    """Two apps in one environment, all of it made with policy Delete."""
    shutil.copytree(two_once, tmp_path, dirs_exist_ok=True)
    async with running(tmp_path) as one:
        yield one


async def test_an_app_that_is_removed_goes(two: Stack) -> None:
    """The other app, the environment and every file on the share stay; what was done is told, then nothing more is."""
    two.write(environment(**DELETE), app())
    files, one = two.files(), pruner(two)
    with structlog.testing.capture_logs() as logged:
        assert await one.round() == one.soon
        assert told(one) == {"talk": ("Deleting", "")}
        (entry,) = two.reconciler.statuses.snapshot().as_json()["source"]["pruning"]
        assert (entry["kind"], entry["name"], entry["step"]) == ("InferenceApp", "talk", "containerApp")
        assert await rounds(one) == {}
    assert [line["event"] for line in logged] == ["pruning: deleting", "pruning: deleted"]
    assert deletes(two) == ["talk"]
    assert await names(two) == ["chat", "env-one", "logs-one", "accountone"]
    assert two.files() == files
    await two.converge()
    assert deletes(two) == ["talk"]


async def test_an_environment_goes_from_the_top(two: Stack) -> None:
    """Apps, environment, workspace, share, account: in this order, each once; the resource group stays."""
    two.write(other())
    assert await rounds(pruner(two, mass=True)) == {}
    assert deletes(two) == ["chat", "talk", "env-one", "logs-one", "models", "accountone"]
    assert await names(two) == []
    assert await two.arm("GET", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}") is not None


async def test_an_environment_stays_by_default(stack: Stack) -> None:
    """Retain is told for each of its resources; only the app goes."""
    await stack.converge()
    stack.write(other())
    left = await rounds(pruner(stack, mass=True))
    assert left == dict.fromkeys(("env-one", "logs-one", "accountone"), ("Kept", "deletionPolicy Retain"))
    assert deletes(stack) == ["chat"]


async def test_an_environment_with_somebody_elses_app_waits(two: Stack) -> None:
    """It says for whom; what hangs on it waits too."""
    await tagged(two, two.ids.app("talk"), owner="two/InferenceApp/talk")
    two.write(other())
    left = await rounds(pruner(two, mass=True))
    assert left["env-one"] == ("Waiting", "still in use by talk")
    assert {state for state, _ in left.values()} == {"Waiting"}
    assert deletes(two) == ["chat"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"origin": "adopted"}, "it was there before (adopted)"),
        ({"deletion": "Retain"}, "deletionPolicy Retain"),
        ({"deletion": None}, "no deletionPolicy is recorded (tag acaops-deletion)"),
        ({"owner": "two/InferenceApp/chat"}, None),
        ({"owner": None}, None),
    ],
)
async def test_an_app_that_stays(built: Stack, changed: dict[str, str | None], why: str | None) -> None:
    """Adopted, retained, or not ours."""
    await tagged(built, built.ids.app("chat"), **changed)
    built.write(environment())
    assert await rounds(pruner(built)) == ({"chat": ("Kept", why)} if why else {})
    assert deletes(built) == []


async def test_an_object_by_another_name_keeps_its_resources(two: Stack) -> None:
    """A rename in the YAML is no reason to take a serving app, or the data, away."""
    two.write({**environment(**DELETE), "metadata": {"name": "renamed"}}, {
        **app(environmentRef="renamed"), "metadata": {"name": "chat-2"},
    }, app("talk", environmentRef="renamed"))  # fmt: skip
    left = await rounds(pruner(two, mass=True))
    assert left["chat"] == ("Kept", "InferenceApp/chat-2 of the desired state names it")
    assert left["accountone"] == ("Kept", "Environment/renamed of the desired state names it")
    assert deletes(two) == []


@pytest.mark.parametrize("broken", ["", "# nothing\n", "kind: [\n", None])
async def test_no_desired_state_deletes_nothing(built: Stack, broken: str | None) -> None:
    """Deleted, emptied or broken: nothing goes, whatever is allowed."""
    file = built.folder / "state.yaml"
    file.write_text(broken or "") if broken is not None else file.unlink()
    await rounds(pruner(built, mass=True))
    assert deletes(built) == []


async def test_a_folder_that_vanished_deletes_nothing(built: Stack) -> None:
    """A mount that went away looks so."""
    built.folder.rename(built.root / "away")
    await rounds(pruner(built, mass=True))
    assert deletes(built) == []


async def test_more_than_half_at_once_needs_a_flag(two: Stack) -> None:
    """Status says how many of how many; with the flag they go."""
    two.write(environment(**DELETE))
    held = "2 of 3 objects of inventory one would be deleted, more than half: allow it by --allow-mass-delete"
    assert await rounds(pruner(two)) == {"chat": ("Held", held), "talk": ("Held", held)}
    assert deletes(two) == []
    one = pruner(two, mass=True)
    await one.round()
    after = "after containerApp chat, in the same environment"
    assert told(one) == {"chat": ("Deleting", ""), "talk": ("Waiting", after)}
    assert await rounds(one) == {}
    assert deletes(two) == ["chat", "talk"]


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ({"status": 500}, "Failed"),
        ({"status": 409, "code": "ContainerAppOperationInProgress"}, "Waiting"),
        ({"status": 429, "headers": {"Retry-After": "0.1"}}, "Waiting"),
        ({"status": 403, "code": "AuthorizationFailed"}, "Failed"),
    ],
)
async def test_what_a_failed_delete_leaves_is_found_again(two: Stack, rule: Any, state: str) -> None:
    """It is told, and others go on; a controller that remembers nothing deletes the survivor."""
    two.local.server.faults.rules.append(faults.Rule("containerApps/chat$", "DELETE", times=1, **rule))
    two.write(environment(**DELETE), other())
    one = pruner(two, mass=True)
    await one.round()
    assert [state for state, _ in told(one).values()] == [state, "Deleting"]
    two.restart()
    assert await rounds(pruner(two, mass=True)) == {}
    assert await names(two) == ["env-one", "logs-one", "accountone"]


async def test_the_pause_after_a_failed_delete(built: Stack) -> None:
    """As Azure says, else a minute; what only people can change is looked at seldom."""
    one = pruner(built)
    built.write(environment())
    for status, headers, pause in (
        (500, {}, leftovers.AGAIN),
        (429, {"Retry-After": "0.1"}, 0.1),
        (403, {}, leftovers.INTERVAL),
    ):
        rule = faults.Rule("containerApps/chat$", "DELETE", times=1, status=status, code="Any", headers=headers)
        built.local.server.faults.rules.append(rule)
        assert await one.round() == pause
    assert await rounds(one) == {}


@pytest.mark.parametrize("kind", ["containerApps", "storageAccounts/accountone/fileServices/default/shares"])
async def test_what_can_not_be_listed_stops_the_round(two: Stack, kind: str) -> None:
    """Half a picture is no ground to delete by; it is told, and the next round goes on."""
    two.write(other())
    two.local.server.faults.rules.append(faults.Rule(f"{kind}$", "GET", times=1, status=500))
    one = pruner(two, mass=True)
    assert await one.round() == leftovers.AGAIN
    ((state, message),) = told(one).values()
    assert (state, message.partition(": ")[0]) == ("Failed", "nothing is deleted")
    assert deletes(two) == []
    assert await rounds(one) == {}
    assert await names(two) == []


class Meanwhile(Around):
    """Does something between the list and the read before a delete."""

    def __init__(self, inner: port.Cloud, does: Callable[[], Any]) -> None:
        super().__init__(inner)
        self.does = does

    async def read(self, kind: Any, resource_id: str) -> Any:
        if kind.label == "containerApp":
            await self.does()
        return await self.inner.read(kind, resource_id)


@pytest.mark.parametrize("changed", [{"owner": None}, {"owner": "two/InferenceApp/chat"}, {"origin": "adopted"}])
async def test_what_changed_hands_meanwhile_stays(built: Stack, changed: dict[str, str | None]) -> None:
    """A portal user takes our tag away after the list and before the delete."""
    built.write(environment())
    cloud = Meanwhile(built.cloud, lambda: tagged(built, built.ids.app("chat"), **changed))
    one = pruner(built, cloud=cloud)
    await one.round()
    assert told(one)["chat"][0] == "Kept"
    assert deletes(built) == []


async def test_what_went_meanwhile_is_fine(built: Stack) -> None:
    """Somebody else deletes it first."""
    built.write(environment())
    chat = built.ids.app("chat")
    cloud = Meanwhile(built.cloud, lambda: built.arm("DELETE", chat))
    assert await rounds(pruner(built, cloud=cloud)) == {}
    assert deletes(built) == ["chat"]


async def test_an_object_that_is_desired_again_stays(two: Stack) -> None:
    """A round in hand ends where the desired state changes under it."""
    two.write(environment(**DELETE), app())
    one = pruner(two)
    first = one.standing
    states = iter([first()])
    two.write(environment(**DELETE), app(), app("talk"))
    one.standing = lambda: next(states, None) or first()
    await one.round()
    assert told(one) == {"talk": ("Waiting", "the desired state changed")}
    assert await rounds(one) == {}
    assert deletes(two) == []


async def test_a_share_of_somebody_elses_keeps_the_account(two: Stack) -> None:
    """The rest goes; no share is touched."""
    await two.arm("PUT", f"{two.ids.file_service}/shares/photos", {"properties": {}})
    two.write(other())
    left = await rounds(pruner(two, mass=True))
    assert left == {"accountone": ("Kept", "it holds more shares than its object's: models, photos")}
    assert await names(two) == ["accountone"]
    assert "models" not in deletes(two)


async def test_a_list_that_came_out_empty_costs_no_data(two: Stack) -> None:
    """Of an account everything is looked at twice before it goes."""
    for one in (two.ids.app("chat"), two.ids.app("talk"), two.ids.environment, two.ids.workspace):
        await two.arm("DELETE", one)
    await two.arm("PUT", f"{two.ids.file_service}/shares/photos", {"properties": {}})
    before = deletes(two)
    two.write(other())
    empty = faults.Rule("fileServices/default/shares$", "GET", status=404, code="ParentResourceNotFound", times=1)
    two.local.server.faults.rules.append(empty)
    assert (await rounds(pruner(two, mass=True)))["accountone"][0] == "Kept"
    assert (deletes(two), empty.times) == (before, 0)


async def test_a_share_with_snapshots_stays(two: Stack) -> None:
    """Azure refuses, and the account stays with it."""
    refused: dict[str, Any] = {"status": 409, "code": "ShareHasSnapshots", "message": "The share has snapshots."}
    two.local.server.faults.rules.append(faults.Rule("shares/models$", "DELETE", **refused))
    two.write(other())
    left = await rounds(pruner(two, mass=True))
    assert left["models"][0] == "Failed"
    assert await names(two) == ["accountone"]


async def test_an_account_that_is_mounted_elsewhere_waits(two: Stack) -> None:
    """An environment of somebody else's mounts our share."""
    ids = two.ids
    theirs = f"{ids.group}/providers/Microsoft.App/managedEnvironments/theirs"
    await two.arm("PUT", theirs, {"location": "westus3", "properties": {}})
    keys = await two.arm("POST", f"{ids.account}/listKeys")
    file = {"accountName": "accountone", "accountKey": keys["keys"][0]["value"], "shareName": "models",
            "accessMode": "ReadOnly"}  # fmt: skip
    await two.arm("PUT", f"{theirs}/storages/borrowed", {"properties": {"azureFile": file}})
    two.write(other())
    left = await rounds(pruner(two, mass=True))
    assert left["accountone"] == ("Waiting", "environment theirs mounts it as borrowed")
    assert await names(two) == ["theirs", "accountone"]


async def test_outside_of_the_guard_list_nothing_goes(built: Stack) -> None:
    """It isn't even looked at; a whole subscription may be listed, and a group that isn't there holds nothing."""
    built.write(environment())
    assert await rounds(pruner(built, allow=(f"{SUBSCRIPTION}/rg-nowhere",))) == {}
    assert deletes(built) == []
    assert await rounds(pruner(built, allow=(SUBSCRIPTION, *ALLOW))) == {}
    assert deletes(built) == ["chat"]


class Noting(Around):
    """Notes that something was deleted."""

    def __init__(self, inner: port.Cloud) -> None:
        super().__init__(inner)
        self.deleted = asyncio.Event()

    async def delete(self, kind: Any, resource_id: str) -> None:
        await self.inner.delete(kind, resource_id)
        self.deleted.set()


async def test_a_running_controller_prunes_what_a_load_takes_out(two: Stack) -> None:
    """At once; and never while nothing was loaded yet."""
    one, cloud = loop.Loop(origin.Folder(two.folder), two.reconciler), Noting(two.cloud)
    chosen = settings.Settings(two.folder, inventory="one", allow=ALLOW, prune=True)
    async with pruning.pruning(one, cloud, chosen), asyncio.timeout(20):
        await one.load()
        assert one.alive
        two.write(environment(**DELETE), app())
        await one.load()
        await cloud.deleted.wait()
    assert (one.vital, one.on_load) == ([], [])
    await one.close()
    assert deletes(two) == ["talk"]


async def test_nothing_is_pruned_unasked(two: Stack) -> None:
    """Without the setting there is no round at all."""
    one = loop.Loop(origin.Folder(two.folder), two.reconciler)
    async with pruning.pruning(one, two.cloud, settings.Settings(two.folder, inventory="one", allow=ALLOW)):
        assert (one.vital, one.on_load) == ([], [])


class Unreachable(origin.Folder):
    """A repository whose later fetches fail, or whose history was rewritten."""

    failing = False

    async def load(self) -> manifest.Source:
        if self.failing:
            raise git.FetchError(git.Reason.UNREACHABLE, "no route to host")
        return await super().load()


class Nobodys:
    """A lease that was not asked for yet."""

    async def look(self) -> Any: ...

    async def acquire(self, **_: Any) -> bool:
        return False

    async def renew(self) -> bool:
        return False

    async def release(self) -> None: ...


@pytest.mark.parametrize("trouble", ["fetch", "rewritten", "broken", "standby"])
async def test_a_state_that_may_be_stale_deletes_nothing(two: Stack, trouble: str) -> None:
    """A fetch that failed, history that was rewritten, a state that doesn't load, another controller that leads."""
    source = Unreachable(two.folder)
    two.write(environment(**DELETE), app())
    one = loop.Loop(source, two.reconciler)
    try:
        await one.load()
        assert isinstance(pruning.standing(one), manifest.Source)
        if trouble == "rewritten":
            source.notice = "history was rewritten"
        if trouble == "broken":
            (two.folder / "state.yaml").write_text("kind: [\n")
        source.failing = trouble == "fetch"
        if trouble == "standby":
            one.election = election.Election(Nobodys())
        await one.load()
        assert isinstance(pruning.standing(one), str)
        made = pruning.made(one, two.cloud, settings.Settings(two.folder, inventory="one", allow=ALLOW))
        assert await made.round() == leftovers.INTERVAL
    finally:
        await one.close()
    assert deletes(two) == []


async def test_a_quiet_round_reads_four_lists(built: Stack) -> None:
    """However many objects there are, and writes nothing."""
    await built.one_round()
    before = len(built.local.requests)
    assert await rounds(pruner(built)) == {}
    assert len(built.local.requests) - before == 4
