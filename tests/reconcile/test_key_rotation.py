"""The storage account's keys change: when the app moves to a new mount, and when it doesn't."""

from __future__ import annotations

from tests.reconcile.stack import Stack


async def rotate(stack: Stack, *keys: str) -> None:
    for key in keys:
        await stack.arm("POST", f"{stack.ids.account}/regenerateKey", {"keyName": key})


async def volumes(stack: Stack) -> list[str]:
    return [each["storageName"] for each in (await stack.live_app())["properties"]["template"]["volumes"]]


async def test_both_keys_changed(built: Stack) -> None:
    """A new environment storage and one roll onto it; the old one is never written again."""
    await rotate(built, "key1", "key2")
    written = len(built.writes())
    await built.converge()
    later = [path.rpartition("/")[2] for method, path in built.writes()[written:] if method == "PUT"]
    (name,) = [one for one in later if one.startswith("mount")]
    assert name.startswith("mount-")
    assert await volumes(built) == [name]
    assert len(await built.revisions()) == 2
    assert (await built.arm("GET", built.ids.account))["tags"]["acaops-storage-key"].startswith(f"{name}:")


async def test_one_key_changed(built: Stack) -> None:
    """Neither the unused key nor, while the unused one is left, the used one makes the app roll."""
    await rotate(built, "key2")
    written = built.writes()
    await built.converge()
    assert written == built.writes()
    assert await volumes(built) == ["mount"]
