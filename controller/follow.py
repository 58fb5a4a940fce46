"""Keeps the desired state up to date: file events, fetches, pushes that are told of, and people who ask.

It decides when the loop loads again, never what a load comes to.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from controller import loop, settings, signals
from controller.sources import watch

SPREAD = 0.1
"""Fetches vary by this share of their interval, so that controllers that began together don't stay together."""

PUSH_SECONDS = 2.0
"""A service that told of a push may serve it a moment later: it is asked once more after so many seconds."""


@dataclass(frozen=True)
class Asked:
    """`changed` names the folders below which something changed; None asks for a look at everything."""

    changed: frozenset[Path] | None = frozenset()
    pushed: bool = False


class Asks:
    """Gathers what asks for another load until somebody takes it. One event loop's own."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._changed: set[Path] = set()
        self._everything = False
        self._pushed = False

    def changed(self, folders: Iterable[Path]) -> None:
        """Something changed below these."""
        self._changed.update(folders)
        self._event.set()

    def push(self) -> None:
        """The repository has something new."""
        self._pushed = True
        self._event.set()

    def everything(self) -> None:
        """Somebody wants everything looked at."""
        self._everything = True
        self._event.set()

    async def wait(self, seconds: float) -> Asked:
        """What was asked since the last time, at once if something was, else after so many seconds at most."""
        await signals.waited(self._event, seconds)
        asked = Asked(None if self._everything else frozenset(self._changed), self._pushed)
        self._event.clear()
        self._changed.clear()
        self._everything = self._pushed = False
        return asked


@contextlib.asynccontextmanager
async def following(running: loop.Loop, asks: Asks, chosen: settings.Settings) -> AsyncIterator[None]:
    """Load while inside: now, when a watched file changed, when a fetch is due, when asked."""
    async with contextlib.AsyncExitStack() as stack:
        if chosen.git is None:
            watched = await stack.enter_async_context(watch.Watch(asks.changed, debounce=chosen.debounce))
            work = _watching(running, asks, watched, seconds=chosen.resync)
        else:
            work = _fetching(running, asks, chosen.git, backoff=chosen.backoff)
        task = asyncio.create_task(work, name="follow")
        running.vital.append(task)
        try:
            yield
        finally:
            running.vital.remove(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _watching(running: loop.Loop, asks: Asks, watched: watch.Watch, *, seconds: float) -> None:
    await running.load()
    while True:
        watched.set_folders(folders(running))
        asked = await asks.wait(seconds)
        await running.load(asked.changed)


async def _fetching(running: loop.Loop, asks: Asks, git: settings.Git, *, backoff: settings.Backoff) -> None:
    """At the interval, sooner after a failure."""
    failures, again = 0, False
    await running.load()
    while True:
        before = running.reconciler.statuses.source
        failures = failures + 1 if before.fetch_error else 0
        pause = min(git.interval, backoff.delay(failures)) if failures else git.interval
        asked = await asks.wait(PUSH_SECONDS if again else pause * random.uniform(1 - SPREAD, 1 + SPREAD))
        await running.load(asked.changed)
        again = asked.pushed and running.reconciler.statuses.source.attempted == before.attempted


def folders(running: loop.Loop) -> set[Path]:
    """The state folder and every content folder, absolute. While the state doesn't load, the state folder alone."""
    contents = (path for app in running.source.apps for path, _ in app.contents) if running.source else ()
    return {*([running.origin.folder.absolute()] if running.origin.folder else []), *contents}
