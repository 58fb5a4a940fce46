"""What `/healthz` knows of the loop: whether anything that must go on has ended, or lasts too long."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controller import follow, loop, memory, settings
from controller.sources import manifest, origin
from tests.reconcile.stack import Stack


class Stuck(origin.Folder):
    """A folder that can't be read and doesn't fail either, as on a network mount whose server is away."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reading = asyncio.Event()

    async def load(self) -> manifest.Source:
        self.reading.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing ends the wait")


async def test_a_load_that_does_not_end(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is fine for some time, then it is stuck."""
    source = Stuck(stack.folder)
    running = loop.Loop(source, stack.reconciler)
    for seconds, alive in ((900.0, True), (0.0, False)):
        monkeypatch.setattr(loop, "LOADING", seconds)
        source.reading.clear()
        loading = asyncio.create_task(running.load())
        await source.reading.wait()
        assert running.alive is alive
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    assert running.alive


async def test_whatever_follows_the_source_must_go_on(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it breaks, the controller would never see another change."""

    async def broken(*_: object) -> None:
        raise RuntimeError("it broke")

    running = loop.Loop(origin.Folder(stack.folder), stack.reconciler)
    chosen = settings.Settings(stack.folder)
    async with follow.following(running, follow.Asks(), chosen):
        (task,) = running.vital
        assert running.alive
        monkeypatch.setattr(loop.Loop, "load", broken)
        await asyncio.wait([task], timeout=chosen.resync)
        assert not running.alive
    assert running.alive
    await running.close()


def test_hashes_of_what_is_gone_are_forgotten() -> None:
    """Each commit has folders of its own: their files must not be remembered for ever."""
    known = memory.Memory(
        {Path("/a/x"): ((1, 1, 1), "x"), Path("/a/sub/y"): ((1, 1, 1), "y"), Path("/ab/z"): ((1, 1, 1), "z")}
    )
    known.keep([Path("/a"), Path("/none")])
    assert sorted(known.hashes) == [Path("/a/sub/y"), Path("/a/x")]
