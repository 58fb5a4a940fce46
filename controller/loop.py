"""Owns time: which object is looked at when, one worker each, until a signal.

A request is only a name ("look again at phi3-chat"). Requests for an object that is being looked at come to one
more look; requests while it waits end the wait. Workers keep nothing but the count of failures in a row.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import structlog

from controller import reconcile, settings
from controller.model import conditions
from controller.sources import manifest
from controller.status import store, summarize
from controller.telemetry import log as logs

log = structlog.get_logger()

SPREAD = 0.05
"""Intervals vary by this share, so that objects loaded together don't stay together."""

SIDE_BY_SIDE = 32
"""Passes at a time."""

Look = Callable[[reconcile.Key], Awaitable[summarize.Requeue]]


def pause(requeue: summarize.Requeue, failures: int, *, backoff: settings.Backoff, chance: float) -> float | None:
    """Seconds to wait before the next look; None for "until asked". `failures` in a row, this one included;
    `chance` in 0..1 sets the jitter."""
    swing = 2 * chance - 1
    if requeue.kind == "interval" and requeue.after is not None:
        return requeue.after * (1 + SPREAD * swing)
    return requeue.pause(backoff=backoff.delay(max(1, failures)) * (1 + backoff.jitter * swing))


class Worker:
    """Looks at one object, again and again, whenever it is due or asked for."""

    def __init__(self, key: reconcile.Key, look: Look, backoff: settings.Backoff) -> None:
        self.key = key
        self._look = look
        self._backoff = backoff
        self._asked = asyncio.Event()
        self._asked.set()
        self._failures = 0

    def ask(self) -> None:
        """Look as soon as possible."""
        self._asked.set()

    async def run(self) -> None:
        """Look until cancelled; a cancellation in the middle of a look is the second signal's."""
        while True:
            self._asked.clear()
            requeue = await self._look(self.key)
            self._failures = self._failures + 1 if requeue.kind == "backoff" else 0
            wait = pause(requeue, self._failures, backoff=self._backoff, chance=random.random())
            # Not wait_for: Python 3.11's loses a cancellation that comes in the same turn as the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._asked.wait()


@dataclass
class Loop:
    """All workers over one source folder. `reconciler.statuses` is where the outcome shows. `only` picks the objects
    to work on; after a change of it, `load` again."""

    folder: Path
    reconciler: reconcile.Reconciler
    backoff: settings.Backoff = field(default_factory=settings.Backoff)
    source: manifest.Source | None = None
    only: Callable[[reconcile.Key], bool] = lambda _: True
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _workers: dict[reconcile.Key, tuple[Worker, asyncio.Task[None]]] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SIDE_BY_SIDE))

    async def load(self) -> None:
        """Read the source. One that doesn't load whole stops every worker: nothing is written for it, nothing is
        deleted, and every status says so."""
        statuses, now = self.reconciler.statuses, self.reconciler.now()
        try:
            source = await asyncio.to_thread(manifest.load, self.folder)
        except manifest.LoadError as error:
            problems = tuple(str(problem) for problem in error.problems)
            self.source = None
            statuses.source = replace(statuses.source, problems=problems)
            self.reconciler.metrics.loaded(problems=len(problems))
            self._refuse(problems, now=now)
            await self._drop(tuple(self._workers))
            log.error("desired state refused", problems=problems)
            return
        known = self.source
        self.source = source
        statuses.source = replace(statuses.source, revision=source.revision, loaded_at=now, problems=())
        self.reconciler.metrics.loaded(problems=0)
        if known is None or known.digest != source.digest:
            log.info("desired state loaded", revision=source.revision, objects=len(source.keys))
        await self._hire(source)

    def ask(self, *keys: reconcile.Key) -> None:
        """Ask for a look at `keys`, all objects without any."""
        for key in keys or tuple(self._workers):
            if key in self._workers:
                self._workers[key][0].ask()

    async def close(self) -> None:
        """Let every look in hand end, then leave."""
        self.stopping.set()
        await self._drop(tuple(self._workers))

    async def _hire(self, source: manifest.Source) -> None:
        wanted = tuple(key for key in source.keys if self.only(key))
        gone = tuple(key for key in self._workers if key not in wanted)
        await self._drop(gone)
        for key in gone:
            self.reconciler.statuses.forget(key)
            self.reconciler.metrics.forget(*key)
        for key in wanted:
            if key in self._workers:
                self._workers[key][0].ask()
            else:
                worker = Worker(key, self._look, self.backoff)
                self._workers[key] = (worker, asyncio.create_task(worker.run(), name="/".join(key)))

    async def _drop(self, keys: tuple[reconcile.Key, ...]) -> None:
        """Take all turns, so that no look is in hand, then end the workers."""
        tasks = [self._workers.pop(key)[1] for key in keys]
        if not tasks:
            return
        async with _all(self._turns, SIDE_BY_SIDE):
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, key: reconcile.Key) -> summarize.Requeue:
        async with self._turns:
            if self.source is None or key not in self.source.keys or self.stopping.is_set():
                return summarize.Requeue("never", None)
            before = self.reconciler.statuses.get(key)
            with logs.reconciling(*key):
                requeue = await self.reconciler.reconcile(self.source, key)
            if _moved(before, self.reconciler.statuses.get(key)):
                for dependent in self.source.dependents(*key):
                    self.ask(dependent)
            return requeue

    def _refuse(self, problems: tuple[str, ...], *, now: datetime) -> None:
        statuses = self.reconciler.statuses
        for status in statuses.snapshot().objects:
            verdict = summarize.load_error(
                problems, revision=status.source_revision, now=now, previous=status.conditions
            )
            statuses.replace(replace(status, conditions=verdict.conditions, last_error="\n".join(problems)))


def settled(status: store.ObjectStatus | None) -> bool | None:
    """True when the object is Ready, False when it is Stalled, None while it may yet become either."""
    if status is None or not status.passes:
        return None
    words = {condition.type: condition.status for condition in status.conditions}
    if words.get(conditions.STALLED) == "True":
        return False
    return True if words.get(conditions.READY) == "True" else None


@contextlib.contextmanager
def signals(stop: Callable[[], None], force: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `stop`; the second one calls `force`."""
    loop = asyncio.get_running_loop()
    came = 0

    def handle() -> None:
        nonlocal came
        came += 1
        (stop if came == 1 else force)()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _moved(before: store.ObjectStatus | None, after: store.ObjectStatus | None) -> bool:
    """Whether a step's outcome changed its kind: then what depends on the object may go on."""

    def words(status: store.ObjectStatus | None) -> list[tuple[str, type]]:
        return [(step.name, type(step.outcome)) for step in status.resources] if status else []

    return words(before) != words(after)


@contextlib.asynccontextmanager
async def _all(turns: asyncio.Semaphore, count: int) -> AsyncIterator[None]:
    for _ in range(count):
        await turns.acquire()
    try:
        yield
    finally:
        for _ in range(count):
            turns.release()
