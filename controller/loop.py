"""Owns time: which object is looked at when, one worker each, until a signal; and none while another controller leads.

A request is only a name ("look again at phi3-chat"). Requests for an object that is being looked at come to one
more look; requests while it waits end the wait. Workers keep nothing but the count of failures in a row.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from controller import election as elections
from controller import objects, reconcile, settings, worker
from controller.model import conditions, outcome
from controller.model.commit import Commit
from controller.model.kinds import Kind
from controller.sources import git, manifest, origin
from controller.status import store, summarize
from controller.telemetry import log as logs

log = structlog.get_logger()

SIDE_BY_SIDE = 32
"""Passes at a time."""

OVERDUE = 60.0
"""Seconds past its own time limit after which a pass counts as stuck."""

WAITED_FOR = frozenset(kind.label for kind in (Kind.SHARE, Kind.ENVIRONMENT, Kind.STORAGE))
"""The steps of an Environment that apps wait for."""

APP = "InferenceApp"

LOADING = 900.0
"""Seconds after which a load counts as stuck."""


@dataclass
class Loop:
    """All workers over one desired state. `reconciler.statuses` is where the outcome shows. `only` picks the objects
    to work on; after a change of it, `load` again. `source` is None while the desired state doesn't load. `vital` tasks
    must not end by themselves; `on_load` is called after each load, whatever it came to."""

    origin: origin.Origin
    reconciler: reconcile.Reconciler
    backoff: settings.Backoff = field(default_factory=settings.Backoff)
    election: elections.Election = field(default_factory=elections.Election)
    source: manifest.Source | None = None
    vital: list[asyncio.Task[None]] = field(default_factory=list)
    on_load: list[Callable[[], None]] = field(default_factory=list)
    only: Callable[[reconcile.Key], bool] = lambda _: True
    _workers: dict[reconcile.Key, worker.Worker] = field(default_factory=dict)
    _seats: worker.Seats = field(default_factory=lambda: worker.Seats(SIDE_BY_SIDE))
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _overdue: dict[tuple[str, ...], float] = field(default_factory=dict)
    _looking: dict[reconcile.Key, manifest.Source] = field(default_factory=dict)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.reconciler.metrics.workers(limit=SIDE_BY_SIDE)
        self.reconciler.called = self._call

    @property
    def alive(self) -> bool:
        """Whether every object still has its worker and no pass is stuck."""
        now = asyncio.get_running_loop().time()
        return (
            not any(one.stopped for one in self._workers.values())
            and not any(task.done() for task in self.vital)
            and all(now < latest for latest in self._overdue.values())
        )

    @property
    def leading(self) -> bool:
        """Whether this controller may write, now."""
        return self.election.leading

    async def load(self, changed: frozenset[Path] | None = None) -> None:
        """Read the source and look at what may be concerned: everything, or, where `changed` names the folders below
        which something changed, the objects that differ and those whose content lies there.

        One that doesn't load whole stops every worker: nothing is written for it, nothing is deleted, and every
        status says so. Where a repository can't be reached, the work goes on at the last commit that it gave.
        """
        async with self._loading:
            try:
                with self._due("load", within=LOADING):
                    source = await self.origin.load()
            except git.FetchError as error:
                self._unreached(error)
            except manifest.LoadError as error:
                self._fetched()
                await self._refuse(tuple(str(problem) for problem in error.problems), commit=error.commit)
            except Exception as error:
                log.exception("the desired state can't be read", source=self.origin.label)
                await self._refuse((f"{self.origin.label}: {type(error).__name__}: {error}",), commit=None)
            else:
                self._fetched()
                await self._accept(source, changed)
            self._loaded()
            await self._tidy()

    async def accept(self, source: manifest.Source) -> None:
        """Work on a state that was loaded already."""
        async with self._loading:
            await self._accept(source, None)
            self._loaded()
            await self._tidy()

    def ask(self, keys: Iterable[reconcile.Key]) -> None:
        """Ask for a look at those of `keys` that are worked on."""
        for key in keys:
            if key in self._workers:
                self._workers[key].ask()

    def _call(self, keys: Iterable[reconcile.Key]) -> None:
        """Ask for a look at those whose turn to write has come, before others that only look."""
        for key in keys:
            if key in self._workers:
                self._workers[key].ask(first=True)

    def asked(self, key: reconcile.Key) -> int | None:
        """As `ask`, for one object, by somebody who wants to know how it is: nothing rests on earlier looks. Gives how
        many passes it has had once one that began after this ended; None where it isn't worked on."""
        if key not in self._workers:
            return None
        status, refresh = self.reconciler.statuses.get(key), self.reconciler.refresh
        self.reconciler.memory.stir(key[1])
        if status and refresh:
            refresh(step.resource for step in status.resources)
        self.ask([key])
        return (status.passes if status else 0) + (2 if key in self._looking else 1)

    def lead(self) -> None:
        """Look at everything from now on."""
        if self.source is not None and not self._closed:
            wanted = self._wanted(self.source)
            self._hire(wanted)
            self.ask(wanted)

    async def stand_by(self) -> None:
        """Begin no look any more; ends when those in hand have. Each status says who leads in place of what was found
        here."""
        await self._drop(tuple(self._workers))
        if self.source is not None:
            self._stand(self.source, self._wanted(self.source))

    async def close(self) -> None:
        """Let every look in hand end, then leave."""
        self._closed = True
        await self._drop(tuple(self._workers))

    def tell(self, source: manifest.Source) -> None:
        """Put into the status what was loaded."""
        statuses, now = self.reconciler.statuses, self.reconciler.now()
        statuses.source = replace(
            statuses.source,
            revision=source.revision,
            commit=source.commit,
            attempted=source.commit,
            loaded_at=now,
            notice=self.origin.notice,
            problems=(),
        )

    async def _accept(self, source: manifest.Source, changed: frozenset[Path] | None) -> None:
        statuses, known = self.reconciler.statuses, self.source
        self.source = source
        self.tell(source)
        committed = source.commit.time.timestamp() if source.commit else None
        self.reconciler.metrics.loaded(problems=0)
        self.reconciler.metrics.applied(timestamp=self.reconciler.now().timestamp(), committed=committed)
        self.reconciler.memory.keep([path for app in source.apps for path, _ in app.contents])
        if known is None or known.digest != source.digest or known.commit != source.commit:
            log.info("desired state loaded", revision=source.revision, objects=len(source.keys))
        wanted = self._wanted(source)
        await self._forget(({status.key for status in statuses.snapshot().objects} | set(self._workers)) - wanted)
        if not self.leading:
            self._stand(source, wanted)
        elif not self._closed:
            self._hire(wanted)
            self.ask(wanted if known is None or changed is None else self._concerned(known, source, changed))

    async def _tidy(self) -> None:
        """Last: whoever is told of a load is told before the looks that it brings about."""
        if self.source is not None:
            await self.origin.tidy([self.source, *self._looking.values()])

    def _wanted(self, source: manifest.Source) -> set[reconcile.Key]:
        return {key for key in source.keys if self.only(key)}

    def _stand(self, source: manifest.Source, wanted: Iterable[reconcile.Key]) -> None:
        """What an object is like is the leader's to say, and to count."""
        statuses, now = self.reconciler.statuses, self.reconciler.now()
        waiting = outcome.Waiting(conditions.Reason.NOT_LEADER, self.election.standing())
        for key in wanted:
            status = statuses.get(key) or store.ObjectStatus(*key)
            step = summarize.StepReport("pass", "", "", waiting)
            verdict = summarize.fold(
                [step],
                revision=source.revision,
                now=now,
                previous=status.conditions,
                interval=objects.INTERVAL,
                retry_interval=None,
            )
            told = replace(status, conditions=verdict.conditions, source_revision=source.revision, resources=())
            if told != status:
                statuses.replace(told)
            self.reconciler.metrics.forget(*key)

    def _concerned(
        self, known: manifest.Source, source: manifest.Source, changed: frozenset[Path]
    ) -> set[reconcile.Key]:
        """Objects that differ, what stands on them, and apps with content or a secret's file in `changed`. A new
        commit concerns every object, because its status names the commit."""
        if source.commit != known.commit:
            return set(source.keys)
        old = set(known.keys)
        differ = {key for key in source.keys if key in old and known.find(*key) != source.find(*key)}
        differ.update([dependent for key in differ for dependent in source.dependents(*key)])
        folder = self.origin.folder
        state = folder is not None and folder.absolute() in changed
        return differ | {(app.object.kind, app.name) for app in source.apps if _reads(app, changed, state=state)}

    def _loaded(self) -> None:
        for call in self.on_load:
            call()

    def _fetched(self) -> None:
        """A remote repository gave its newest commit, whatever that comes to."""
        if self.origin.folder is None:
            statuses = self.reconciler.statuses
            statuses.source = replace(statuses.source, fetched_at=self.reconciler.now(), fetch_error=None)
            self.reconciler.metrics.fetched("success")

    def _unreached(self, error: git.FetchError) -> None:
        """What is known is kept: the remote's trouble is not the apps'."""
        statuses, message = self.reconciler.statuses, str(error)
        if statuses.source.fetch_error != message:
            log.error("the repository can't be fetched", reason=error.reason, problem=message)
        statuses.source = replace(statuses.source, fetch_error=message)
        self.reconciler.metrics.fetched("error")

    async def _refuse(self, problems: tuple[str, ...], *, commit: Commit | None) -> None:
        """The statuses say it twice: at once, and again over what the looks in hand reported in the meantime."""
        statuses = self.reconciler.statuses
        if statuses.source.problems != problems:
            log.error("desired state refused", problems=problems)
        self.source = None
        statuses.source = replace(statuses.source, problems=problems, attempted=commit)
        self.reconciler.metrics.loaded(problems=len(problems))
        self._tell(problems, commit)
        await self._drop(tuple(self._workers))
        self._tell(problems, commit)

    def _tell(self, problems: tuple[str, ...], commit: Commit | None) -> None:
        statuses, now = self.reconciler.statuses, self.reconciler.now()
        for status in statuses.snapshot().objects:
            revision = manifest.revision(commit, "") if commit else status.source_revision
            verdict = summarize.load_error(problems, revision=revision, now=now, previous=status.conditions)
            told = replace(
                status,
                conditions=verdict.conditions,
                source_revision=revision,
                attempted=commit,
                last_error="\n".join(problems),
            )
            statuses.replace(told)
            self.reconciler.metrics.told(*status.key, current=verdict.conditions)

    def _hire(self, wanted: Iterable[reconcile.Key]) -> None:
        for key in wanted:
            if key not in self._workers:
                queue = self.reconciler.metrics.queue
                self._workers[key] = worker.Worker(
                    key, self._look, backoff=self.backoff, seats=self._seats, queue=queue
                )

    async def _forget(self, gone: set[reconcile.Key]) -> None:
        """End the work on objects that aren't wanted any more. What they stand for in Azure stays as it is."""
        await self._drop(tuple(gone))
        for key in gone:
            self.reconciler.statuses.forget(key)
            self.reconciler.metrics.forget(*key)
            self.reconciler.memory.forget(*key)
            self.ask(self.reconciler.turns.leave(key))

    async def _drop(self, keys: tuple[reconcile.Key, ...]) -> None:
        """End workers and wait for their looks in hand; those of others go on. One that is cut short can be
        repeated: a worker is forgotten only when it has ended."""
        tasks = [self._workers[key].end() for key in keys if key in self._workers]
        if tasks:
            await asyncio.wait(tasks)
        for key in keys:
            self._workers.pop(key, None)
            self.reconciler.metrics.queue.dropped(key)

    @contextlib.contextmanager
    def _due(self, *what: str, within: float) -> Iterator[None]:
        """What lasts longer than so many seconds counts as stuck."""
        self._overdue[what] = asyncio.get_running_loop().time() + within
        try:
            yield
        finally:
            del self._overdue[what]

    async def _look(self, key: reconcile.Key) -> summarize.Requeue:
        source = self.source
        if source is None or not self.leading:
            return summarize.Requeue("never", None)
        limit = objects.timeout(source.find(*key).object)
        self._looking[key] = source
        before = self.reconciler.statuses.get(key)
        try:
            with self._due(*key, within=limit + OVERDUE), logs.reconciling(*key):
                requeue = await self.reconciler.reconcile(source, key)
        finally:
            del self._looking[key]
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


def _reads(app: manifest.LoadedApp, changed: frozenset[Path], *, state: bool) -> bool:
    """Whether the app's content changed or, with the state folder, the file of a secret may have."""
    secrets = state and any(secret.from_file for secret in app.object.spec.secrets)
    return secrets or any(path in changed for path, _ in app.contents)


def _moved(before: store.ObjectStatus | None, after: store.ObjectStatus | None) -> bool:
    """Whether something that others wait for came to be done, or is no longer: then they may go on, or have to wait.
    Of an Environment that is a step, of an app that it is Ready."""

    def done(status: store.ObjectStatus | None) -> set[str]:
        steps = status.resources if status else ()
        found = {step.name for step in steps if step.name in WAITED_FOR and isinstance(step.outcome, outcome.Done)}
        ready = status is not None and status.kind == APP and settled(status) is True
        return found | ({f"{conditions.READY} at {status.source_revision}"} if status and ready else set())

    return done(before) != done(after)
