"""Killed after any write, a fresh controller ends where an undisturbed one does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.reconcile.clouds import Killed, Killing
from tests.reconcile.stack import Stack, running

WRITES = 9
"""How many writes building everything takes."""


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, object]:
    """Filled by the first test that needs it."""
    return {}


async def picture(built: Stack) -> dict[str, object]:
    """What doesn't differ from run to run."""
    found = await built.picture()
    tags = dict(found["tags"])
    key = tags["account"].pop("acaops-storage-key")
    # It is of all that is owned, the record of the key included, which is another each time.
    tags["account"].pop("acaops-applied")
    return {**found, "tags": tags, "key": key.partition(":")[0]}


@pytest.mark.parametrize("after", range(1, WRITES + 1))
async def test_killed_after_a_write(stack: Stack, after: int, undisturbed: dict[str, object], tmp_path: Path) -> None:
    """The same end, no duplicate, nothing half done, and no write repeated that was done."""
    if not undisturbed:
        async with running(tmp_path / "undisturbed") as other:
            await other.converge()
            undisturbed.update(await picture(other))
    killing = Killing(stack.cloud, after=after)
    stack.restart(killing)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await stack.settle()
    stack.restart()
    await stack.converge()
    assert undisturbed == await picture(stack)
    creations = [path for method, path in stack.writes() if method == "PUT" and path.startswith("/subscriptions")]
    assert len(creations) == len(set(creations))


async def test_that_is_every_write(stack: Stack) -> None:
    """The kills above leave no write out."""
    killing = Killing(stack.cloud, after=WRITES + 1)
    stack.restart(killing)
    await stack.converge()
    assert len(killing.done) == WRITES, killing.done


async def test_two_controllers_at_once(stack: Stack) -> None:
    """As while one replaces the other: the same writes side by side come to one stack and one revision."""
    first = stack.reconciler
    stack.restart()
    second = stack.reconciler
    for _ in range(12):
        for key in stack.source.keys:
            await asyncio.gather(first.reconcile(stack.source, key), second.reconcile(stack.source, key))
    await stack.converge()
    found = await stack.picture()
    assert (found["apps"], found["storages"], found["revisions"], len(found["files"])) == (["chat"], ["mount"], 1, 1)
