"""Word of changes: one call per burst, for what matters, on folders that come and go."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from watchdog import events
from watchdog.observers import Observer

from controller.sources import watch

HERE = Path("/code")


def test_a_burst_is_one_look() -> None:
    """Ten thousand events in half a second are told once, a debounce after the last."""
    debounce = watch.Debounce(quiet=0.3, longest=2.0)
    taken = []
    for number in range(10_000):
        now = number / 20_000
        debounce.touch(HERE, now)
        taken.append(debounce.take(now))

    assert not any(taken)
    assert debounce.due == pytest.approx(0.49995 + 0.3)
    assert debounce.take(0.8) == {HERE}
    assert (debounce.due, debounce.take(9.0)) == (None, frozenset())


def test_a_change_that_never_rests_is_told_of_anyway() -> None:
    """At most two seconds after the first event, and again two seconds after the next."""
    debounce = watch.Debounce(quiet=0.3, longest=2.0)
    told = []
    for number in range(50):
        now = number / 10
        debounce.touch(HERE, now)
        if debounce.take(now):
            told.append(now)

    assert told == pytest.approx([2.0, 4.1])


def test_folders_of_one_burst_are_told_together() -> None:
    """Each once."""
    debounce = watch.Debounce(quiet=0.3, longest=2.0)
    for folder in ("/a", "/b", "/a"):
        debounce.touch(Path(folder), 0.0)

    assert debounce.take(0.3) == {Path("/a"), Path("/b")}


@pytest.mark.parametrize(
    "event",
    [
        events.FileModifiedEvent("/code/main.py"),
        events.FileMovedEvent("/code/.main.py.swp", "/code/main.py"),
        events.FileMovedEvent("/code/main.py", "/elsewhere"),
        events.DirDeletedEvent("/code"),
        events.FileAttribEvent("/code/run.sh"),
        events.FileCreatedEvent(b"/code/x"),
    ],
)
def test_changes_matter(event: events.FileSystemEvent) -> None:
    """Renames too, when one of the two names does."""
    assert watch.relevant(event, HERE)


@pytest.mark.parametrize(
    "event",
    [
        events.FileModifiedEvent("/code/.git/index"),
        events.FileCreatedEvent("/code/sub/__pycache__/a.pyc"),
        events.FileMovedEvent("/code/4913", "/code/a~"),
        events.DirModifiedEvent("/code"),
        events.DirAttribEvent("/code"),
        events.FileModifiedEvent("/elsewhere"),
    ],
)
def test_what_is_left_out_does_not_matter(event: events.FileSystemEvent) -> None:
    """Nor a folder's own time, which changes with what is left out."""
    assert not watch.relevant(event, HERE)


class Told:
    """Collects what a watch tells."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[frozenset[Path]] = asyncio.Queue()

    async def next(self) -> frozenset[Path]:
        async with asyncio.timeout(10):
            return await self.calls.get()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def watching(told: Told) -> AsyncIterator[watch.Watch]:
    async with watch.Watch(told.calls.put_nowait, debounce=0.02, look=0.02) as begun:
        yield begun


async def test_a_folder_s_changes_are_told(tmp_path: Path, told: Told, watching: watch.Watch) -> None:
    """Its watch begins with one look; a rename-save; a folder that goes and comes back."""
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    watching.set_folders([folder])
    assert await told.next() == {folder}

    (tmp_path / "saved").write_text("1")
    os.replace(tmp_path / "saved", folder / "main.py")
    assert await told.next() == {folder}

    shutil.rmtree(folder)
    assert await told.next() == {folder}
    while not told.calls.empty():
        await told.next()

    other.mkdir()
    other.rename(folder)
    assert await told.next() == {folder}

    (folder / "main.py").write_text("2")
    assert await told.next() == {folder}


async def test_a_replaced_folder_is_watched_on(tmp_path: Path, told: Told, watching: watch.Watch) -> None:
    """Another folder under the same name, without a moment in between."""
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    watching.set_folders([folder])
    assert await told.next() == {folder}

    folder.rename(tmp_path / "old")
    other.rename(folder)
    assert await told.next() == {folder}

    # more often than word of the replacement itself could come late
    for number in range(6):
        (folder / f"{number}").write_text("")
        assert await told.next() == {folder}


async def test_only_the_folders_set_last_are_watched(tmp_path: Path, told: Told, watching: watch.Watch) -> None:
    """What is dropped is silent; what is added begins with one look."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    watching.set_folders([one])
    assert await told.next() == {one}

    watching.set_folders([two])
    assert await told.next() == {two}

    (one / "x").write_text("")
    (two / "x").write_text("")
    assert await told.next() == {two}


class _Exhausted(Observer):  # type: ignore[misc, valid-type]
    """An observer on a system whose watches are used up."""

    def schedule(self, *arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")


async def test_at_the_limit_of_watches_it_polls(tmp_path: Path, told: Told) -> None:
    """Slower, but nothing goes unseen."""
    async with watch.Watch(told.calls.put_nowait, debounce=0.02, look=0.02, observer=_Exhausted) as begun:
        begun.set_folders([tmp_path])
        assert await told.next() == {tmp_path}

        (tmp_path / "x").write_text("")
        assert await told.next() == {tmp_path}


class _NearlyExhausted(Observer):  # type: ignore[misc, valid-type]
    """An observer whose last free watch goes to the folder's top; what is below it gets none, without an error."""

    used = False

    def schedule(self, *arguments: Any, **options: Any) -> Any:
        if self.used:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        self.used = True
        return super().schedule(*arguments, **options)


async def test_a_half_watched_folder_is_polled(tmp_path: Path, told: Told) -> None:
    """The limit can be reached below a folder that could be watched itself."""
    async with watch.Watch(told.calls.put_nowait, debounce=0.02, look=0.02, observer=_NearlyExhausted) as begun:
        begun.set_folders([tmp_path])
        assert await told.next() == {tmp_path}

        (tmp_path / "x").write_text("")
        assert await told.next() == {tmp_path}
