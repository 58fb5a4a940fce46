"""Word that something below the watched folders changed: one call per burst, in the event loop.

Says where to look again, never what changed. A change may be told that wasn't one; none is kept quiet. Folders may
vanish, come back or be replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserver

from controller.sources import exclusions

QUIET = 0.3
LONGEST = 2.0
LOOK = 1.0

# without events of reading: collecting content must not look like a change; nor do folders' own times matter
_EVENTS: list[type[events.FileSystemEvent]] = [
    events.FileCreatedEvent,
    events.FileModifiedEvent,
    events.FileAttribEvent,
    events.FileClosedEvent,
    events.FileMovedEvent,
    events.FileDeletedEvent,
    events.DirCreatedEvent,
    events.DirMovedEvent,
    events.DirDeletedEvent,
]
_LIMITS = (errno.ENOSPC, errno.EMFILE, errno.ENFILE)

Inode = tuple[int, int]


@dataclass
class Debounce:
    """Gathers folders until none was touched for `quiet` seconds, at most `longest` seconds. Takes time as given."""

    quiet: float = QUIET
    longest: float = LONGEST
    _folders: set[Path] = field(default_factory=set)
    _first: float = 0.0
    _last: float = 0.0

    def touch(self, folder: Path, now: float) -> None:
        if not self._folders:
            self._first = now
        self._folders.add(folder)
        self._last = now

    @property
    def due(self) -> float | None:
        """When to take; None while there is nothing. Moves as folders are touched."""
        return min(self._last + self.quiet, self._first + self.longest) if self._folders else None

    def take(self, now: float) -> frozenset[Path]:
        """The gathered folders once they are due, and a fresh start; nothing before."""
        if self.due is None or now < self.due:
            return frozenset()
        taken, self._folders = frozenset(self._folders), set()
        return taken


def relevant(event: events.FileSystemEvent, folder: Path) -> bool:
    """Whether the event is about something below `folder` that isn't left out by its name."""
    if isinstance(event, events.DirModifiedEvent | events.DirAttribEvent):
        return False
    paths = [Path(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path]
    below = [path.relative_to(folder).parts for path in paths if path.is_relative_to(folder)]
    return any(not any(map(exclusions.fixed, parts)) for parts in below)


@dataclass(frozen=True)
class _Watched:
    inode: Inode
    observer: BaseObserver
    handle: ObservedWatch


class Watch:
    """`async with Watch(on_change) as watch: watch.set_folders(...)`.

    `on_change` gets the watched folders below which something changed, and each folder when its watch begins (what
    happened just before may have gone unseen), when it vanishes and when it comes back.
    """

    def __init__(
        self,
        on_change: Callable[[frozenset[Path]], None],
        *,
        debounce: float = QUIET,
        longest: float = LONGEST,
        look: float = LOOK,
        observer: Callable[[], BaseObserver] = Observer,
    ) -> None:
        """Seconds, all. `debounce`: of quiet before `on_change` is called, at most `longest` after the first event.
        `look`: between two looks whether the folders are still there, and between two of the polling
        observer that takes over when the system's limit of watches is reached."""
        self._on_change = on_change
        self._debounce = Debounce(debounce, longest)
        self._look = look
        self._observer = observer
        self._wanted: frozenset[Path] = frozenset()
        self._watched: dict[Path, _Watched] = {}
        self._woken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Watch:
        self._loop = asyncio.get_running_loop()
        self._native = self._observer()
        self._polling = PollingObserver(timeout=self._look)
        self._native.start()
        self._polling.start()
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        await asyncio.to_thread(self._stop)
        if self._timer is not None:
            self._timer.cancel()

    def set_folders(self, folders: Iterable[Path]) -> None:
        """Watch these, absolute, and no others, from now on."""
        self._wanted = frozenset(folders)
        self._woken.set()

    async def _keep(self) -> None:
        """Keeps the watches on the folders that are there."""
        while True:
            self._woken.clear()
            for folder in await asyncio.to_thread(self._settle, self._wanted):
                self._touch(folder)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._look)

    def _settle(self, wanted: frozenset[Path]) -> list[Path]:
        """One watch per wanted folder that is there; returns the folders whose watch began or ended."""
        changed = []
        for folder in sorted(wanted | self._watched.keys()):
            inode = _inode(folder) if folder in wanted else None
            watched = self._watched.get(folder)
            if watched is not None and watched.inode == inode:
                continue
            if watched is not None:
                self._end(folder)
            begun = inode is not None and self._begin(folder, inode)
            if folder in wanted and (begun or watched is not None):
                changed.append(folder)
        return changed

    def _begin(self, folder: Path, inode: Inode) -> bool:
        for observer in (self._native, self._polling):
            try:
                handle = observer.schedule(_Handler(self, folder), folder, recursive=True, event_filter=_EVENTS)
            except OSError as error:
                if error.errno in _LIMITS:
                    continue
                return False
            self._watched[folder] = _Watched(inode, observer, handle)
            if observer is self._polling or not self._exhausted():
                return True
            self._end(folder)
        return False

    def _exhausted(self) -> bool:
        """Whether the limit of watches is reached: then folders further down may have got none, without an error."""
        try:
            with tempfile.TemporaryDirectory() as fresh:
                probe = self._native.schedule(events.FileSystemEventHandler(), fresh, event_filter=_EVENTS)
                self._native.unschedule(probe)
        except OSError as error:
            return error.errno in _LIMITS
        return False

    def _end(self, folder: Path) -> None:
        watched = self._watched.pop(folder)
        with contextlib.suppress(KeyError):
            watched.observer.unschedule(watched.handle)

    def _stop(self) -> None:
        for observer in (self._native, self._polling):
            observer.stop()
            observer.join()

    def _touch(self, folder: Path) -> None:
        self._debounce.touch(folder, self._loop.time())
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        due = self._debounce.due
        self._timer = None if due is None else self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        folders = self._debounce.take(self._loop.time())
        self._arm()
        if folders:
            self._on_change(folders)


class _Handler(events.FileSystemEventHandler):
    """Runs in an observer's thread; hands over to the event loop."""

    def __init__(self, watch: Watch, folder: Path) -> None:
        self._watch, self._folder = watch, folder

    def on_any_event(self, event: events.FileSystemEvent) -> None:
        if relevant(event, self._folder):
            self._watch._loop.call_soon_threadsafe(self._watch._touch, self._folder)


def _inode(folder: Path) -> Inode | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if folder.is_dir() else None
