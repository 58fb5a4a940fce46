"""Owns time: which object is looked at when, one worker each, until a signal.

A request is only a name ("look again at phi3-chat"). Requests for an object that is being looked at come to one
more look; requests while it waits end the wait. Workers keep nothing but the count of failures in a row.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from controller import objects, reconcile, settings
from controller.model import conditions
from controller.sources import manifest
from controller.status import store, summarize
from controller.telemetry import log as logs

log = structlog.get_logger()

SPREAD = 0.05
"""Pauses vary by this share, so that objects that once met don't stay together."""

SIDE_BY_SIDE = 32
"""Passes at a time."""

OVERDUE = 60.0
"""Seconds past its own time limit after which a pass counts as stuck."""

SAME_MOMENT = 0.5
"""Seconds within which signals count as one."""

Look = Callable[[reconcile.Key], Awaitable[summarize.Requeue]]


def pause(requeue: summarize.Requeue, failures: int, *, backoff: settings.Backoff, chance: float) -> float | None:
    """Seconds to wait before the next look; None for "until asked". `failures` in a row, this one included;
    `chance` in 0..1 sets the jitter. What Azure told to wait is never cut short."""
    swing = 2 * chance - 1
    if requeue.kind == "interval" and requeue.after is not None:
        return requeue.after * (1 + SPREAD * swing)
    if requeue.kind == "told" and requeue.after is not None:
        return requeue.after * (1 + SPREAD * chance)
    return requeue.pause(backoff=backoff.delay(max(1, failures)) * (1 + backoff.jitter * swing))


class Worker:
    """Looks at one object, again and again, whenever it is due or asked for. `turns` limits how many look at a time."""

    def __init__(self, key: reconcile.Key, look: Look, *, backoff: settings.Backoff, turns: asyncio.Semaphore) -> None:
        self.key = key
        self.queued = False
        self._look = look
        self._backoff = backoff
        self._turns = turns
        self._asked = asyncio.Event()
        self._failures = 0
        self._looking = False
        self._ending = False
        self._task = asyncio.create_task(self._run(), name="/".join(key))

    @property
    def stopped(self) -> bool:
        """Whether it ended without being told to."""
        return self._task.done() and not self._ending

    def ask(self) -> None:
        """Look as soon as possible."""
        self._asked.set()

    def end(self) -> asyncio.Task[None]:
        """Let the look in hand end, begin no other; gives what to wait for."""
        self._ending = True
        if not self._looking:
            self._task.cancel()
        return self._task

    async def _run(self) -> None:
        while not self._ending:
            requeue = await self._one_look()
            self._failures = self._failures + 1 if requeue.kind == "backoff" else 0
            wait = pause(requeue, self._failures, backoff=self._backoff, chance=random.random())
            # Not wait_for: Python 3.11's loses a cancellation that comes in the same turn as the event.
            if not self._ending:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._asked.wait()

    async def _one_look(self) -> summarize.Requeue:
        """A look that breaks is tried again like any failure: a worker lives as long as its object."""
        self.queued = True
        try:
            await self._turns.acquire()
        finally:
            self.queued = False
        self._looking = True
        self._asked.clear()
        try:
            return await self._look(self.key)
        except Exception:
            log.exception("look failed", kind=self.key[0], name=self.key[1])
            return summarize.Requeue("backoff", None)
        finally:
            self._looking = False
            self._turns.release()


@dataclass
class Loop:
    """All workers over one source folder. `reconciler.statuses` is where the outcome shows. `only` picks the objects
    to work on; after a change of it, `load` again."""

    folder: Path
    reconciler: reconcile.Reconciler
    backoff: settings.Backoff = field(default_factory=settings.Backoff)
    source: manifest.Source | None = None
    only: Callable[[reconcile.Key], bool] = lambda _: True
    _workers: dict[reconcile.Key, Worker] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SIDE_BY_SIDE))
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _overdue: dict[reconcile.Key, float] = field(default_factory=dict)
    _closed: bool = False

    @property
    def alive(self) -> bool:
        """Whether every object still has its worker and no pass is stuck."""
        now = asyncio.get_running_loop().time()
        return not any(worker.stopped for worker in self._workers.values()) and all(
            now < latest for latest in self._overdue.values()
        )

    @property
    def queued(self) -> int:
        """How many objects wait for their turn."""
        return sum(worker.queued for worker in self._workers.values())

    async def load(self, changed: frozenset[Path] | None = None) -> None:
        """Read the source and look at what may be concerned: everything, or, where `changed` names the folders below
        which something changed, the objects that differ and those whose content lies there.

        One that doesn't load whole stops every worker: nothing is written for it, nothing is deleted, and every
        status says so.
        """
        async with self._loading:
            try:
                source = await asyncio.to_thread(manifest.load, self.folder)
            except manifest.LoadError as error:
                await self._refuse(tuple(str(problem) for problem in error.problems))
            except Exception as error:
                log.exception("the desired state can't be read", folder=str(self.folder))
                await self._refuse((f"{self.folder}: {type(error).__name__}: {error}",))
            else:
                await self._accept(source, changed)

    def ask(self, keys: Iterable[reconcile.Key]) -> None:
        """Ask for a look at those of `keys` that are worked on."""
        for key in keys:
            if key in self._workers:
                self._workers[key].ask()

    async def close(self) -> None:
        """Let every look in hand end, then leave."""
        self._closed = True
        await self._drop(tuple(self._workers))

    async def _accept(self, source: manifest.Source, changed: frozenset[Path] | None) -> None:
        statuses, known = self.reconciler.statuses, self.source
        self.source = source
        statuses.source = replace(
            statuses.source, revision=source.revision, loaded_at=self.reconciler.now(), problems=()
        )
        self.reconciler.metrics.loaded(problems=0)
        if known is None or known.digest != source.digest:
            log.info("desired state loaded", revision=source.revision, objects=len(source.keys))
        wanted = {key for key in source.keys if self.only(key)}
        await self._forget(({status.key for status in statuses.snapshot().objects} | set(self._workers)) - wanted)
        if not self._closed:
            self._hire(wanted)
            self.ask(wanted if known is None or changed is None else self._concerned(known, source, changed))

    def _concerned(
        self, known: manifest.Source, source: manifest.Source, changed: frozenset[Path]
    ) -> set[reconcile.Key]:
        """Objects that differ, what stands on them, and apps with content or a secret's file in `changed`. A new
        commit concerns every object, because its status names the commit."""
        if source.commit and source.commit != known.commit:
            return set(source.keys)
        old = set(known.keys)
        differ = {key for key in source.keys if key in old and known.find(*key) != source.find(*key)}
        differ.update([dependent for key in differ for dependent in source.dependents(*key)])
        state = self.folder.absolute() in changed
        return differ | {(app.object.kind, app.name) for app in source.apps if _reads(app, changed, state=state)}

    async def _refuse(self, problems: tuple[str, ...]) -> None:
        """The statuses say it twice: at once, and again over what the looks in hand reported in the meantime."""
        statuses = self.reconciler.statuses
        if statuses.source.problems != problems:
            log.error("desired state refused", problems=problems)
        self.source = None
        statuses.source = replace(statuses.source, problems=problems)
        self.reconciler.metrics.loaded(problems=len(problems))
        self._tell(problems)
        await self._drop(tuple(self._workers))
        self._tell(problems)

    def _tell(self, problems: tuple[str, ...]) -> None:
        statuses, now = self.reconciler.statuses, self.reconciler.now()
        for status in statuses.snapshot().objects:
            verdict = summarize.load_error(
                problems, revision=status.source_revision, now=now, previous=status.conditions
            )
            statuses.replace(replace(status, conditions=verdict.conditions, last_error="\n".join(problems)))
            self.reconciler.metrics.told(*status.key, current=verdict.conditions)

    def _hire(self, wanted: Iterable[reconcile.Key]) -> None:
        for key in wanted:
            if key not in self._workers:
                self._workers[key] = Worker(key, self._look, backoff=self.backoff, turns=self._turns)

    async def _forget(self, gone: set[reconcile.Key]) -> None:
        """End the work on objects that aren't wanted any more. What they stand for in Azure stays as it is."""
        await self._drop(tuple(gone))
        for key in gone:
            self.reconciler.statuses.forget(key)
            self.reconciler.metrics.forget(*key)

    async def _drop(self, keys: tuple[reconcile.Key, ...]) -> None:
        """End workers and wait for their looks in hand; those of others go on. One that is cut short can be
        repeated: a worker is forgotten only when it has ended."""
        tasks = [self._workers[key].end() for key in keys if key in self._workers]
        if tasks:
            await asyncio.wait(tasks)
        for key in keys:
            self._workers.pop(key, None)

    async def _look(self, key: reconcile.Key) -> summarize.Requeue:
        source = self.source
        if source is None:
            return summarize.Requeue("never", None)
        limit = objects.timeout(source.find(*key).object)
        self._overdue[key] = asyncio.get_running_loop().time() + limit + OVERDUE
        before = self.reconciler.statuses.get(key)
        try:
            with logs.reconciling(*key):
                requeue = await self.reconciler.reconcile(source, key)
        finally:
            del self._overdue[key]
        if _moved(before, self.reconciler.statuses.get(key)):
            self.ask(source.dependents(*key))
        return requeue


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
    """SIGINT and SIGTERM call `stop`; the second one calls `force`. Two at the same moment are one: a terminal and the
    program that started this may both pass on a Ctrl-C."""
    loop = asyncio.get_running_loop()
    first: float | None = None

    def handle() -> None:
        nonlocal first
        if first is None:
            first = loop.time()
            stop()
        elif loop.time() - first > SAME_MOMENT:
            force()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _reads(app: manifest.LoadedApp, changed: frozenset[Path], *, state: bool) -> bool:
    """Whether the app's content changed or, with the state folder, the file of a secret may have."""
    secrets = state and any(secret.from_file for secret in app.object.spec.secrets)
    return secrets or any(path in changed for path, _ in app.contents)


def _moved(before: store.ObjectStatus | None, after: store.ObjectStatus | None) -> bool:
    """Whether a step's outcome changed its kind: then what depends on the object may go on."""

    def words(status: store.ObjectStatus | None) -> list[tuple[str, type]]:
        return [(step.name, type(step.outcome)) for step in status.resources] if status else []

    return words(before) != words(after)
