"""An account key is regenerated. Updated in place, the environment storage would refuse the mounts of new revisions
("permission denied"), so it never is: a new one takes its place, and the old one goes once nothing needs it."""

from __future__ import annotations

from infra.local_azure.faults import Rule
from tests.reconcile.stack import ENVIRONMENT, Stack, app, environment

Json = dict[str, object]


async def rotate(stack: Stack) -> None:
    for key in ("key1", "key2"):
        await stack.arm("POST", f"{stack.ids.account}/regenerateKey", {"keyName": key})


async def storages(stack: Stack) -> list[str]:
    return sorted(each["name"] for each in (await stack.arm("GET", f"{stack.ids.environment}/storages"))["value"])


async def volumes(stack: Stack) -> list[str]:
    return [each["storageName"] for each in (await stack.live_app())["properties"]["template"]["volumes"]]


async def test_the_mount_moves_to_a_new_environment_storage(built: Stack) -> None:
    """The one that exists isn't written; while an inactive revision names it, it stays for a rollback."""
    since = len(built.writes())
    await rotate(built)
    await built.converge()
    written = [path.rpartition("/")[2] for method, path in built.writes()[since:] if "/storages/" in path]
    (name,) = await volumes(built)
    assert written == [name]
    assert name != "mount"
    assert await storages(built) == ["mount", name]
    assert built.told(ENVIRONMENT)[0] == "Ready"


async def test_the_old_one_goes_when_no_listed_revision_names_it(built: Stack) -> None:
    """Once the platform has dropped the revisions of before, the storage is removed, and nothing else."""
    built.write(environment(), app(revisionHistory=None))
    await built.converge()
    await rotate(built)
    await built.converge()
    live = await built.live_app()
    await built.arm("PATCH", live["id"], {"properties": {"configuration": {"maxInactiveRevisions": 0}}})
    assert [one["properties"]["active"] for one in await built.revisions()] == [True]
    since = len(built.writes())
    await built.converge()
    assert [(method, path.rpartition("/")[2]) for method, path in built.writes()[since:]] == [("DELETE", "mount")]
    assert await storages(built) == await volumes(built)


async def test_who_may_not_look_at_all_apps_removes_none(built: Stack, faults: list[Rule]) -> None:
    """An app of another group may mount it; a role in one group doesn't show that. It is no failure."""
    await rotate(built)
    await built.converge()
    live = await built.live_app()
    await built.arm("PATCH", live["id"], {"properties": {"configuration": {"maxInactiveRevisions": 0}}})
    denied = Rule("^/subscriptions/[^/]+/providers/Microsoft.App/containerApps$", "GET", status=403, code="Forbidden")
    faults.append(denied)
    await built.converge()
    assert "mount" in await storages(built)
    assert built.told(ENVIRONMENT)[0] == "Ready"


async def test_two_apps_of_which_one_still_mounts_the_old_one(built: Stack) -> None:
    """Nobody's mount is taken away: another app of the environment names the storage."""
    built.write(environment(), app(revisionHistory=None), app("second"))
    await built.converge()
    await rotate(built)
    built.write(environment(), app(revisionHistory=None), app("second", suspend={"reason": "a long evaluation runs"}))
    await built.converge()
    live = await built.live_app()
    await built.arm("PATCH", live["id"], {"properties": {"configuration": {"maxInactiveRevisions": 0}}})
    await built.converge()
    assert "mount" in await storages(built)
