"""One local Azure and one controller over it in virtual time: looked at when due, thrown away and made anew at a crash.

It knows no scenario and judges nothing but what each pass tells of itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from controller import leftovers, loop, memory, objects, pruning, reconcile, settings, worker
from controller.cloud import azure, files, pacing, share_calls, shared
from controller.model import observed, outcome, tags
from controller.model.conditions import Reason
from controller.plan import planner, prune
from controller.sources import manifest
from controller.status import store, summarize
from controller.telemetry import log as logs
from controller.telemetry import metrics
from infra.local_azure import clock, entra, scenario, server
from infra.local_azure import settings as azure_settings
from infra.local_azure.files import sharedkey
from infra.local_azure.runtime import simulated
from tests.faults import seam as seams
from tests.faults import shifts
from tests.faults import watch as watches
from tests.local_azure.conftest import Local, _changes
from tests.reconcile.stack import credentials

INVENTORY = "one"
WARM_UP = 60.0
"""Virtual seconds in which what ran before runs again."""

WIND_DOWN = 300.0
"""Virtual seconds in which what was replaced ends."""

RANGE = 16 * 1024
"""Bytes of a file sent at a time."""

PRUNE = ("Prune", "everything")
"""In place of an object's key: a round of what deletes."""

TROUBLE = (Reason.CONNECTION_FAILED, Reason.AZURE_ERROR, Reason.THROTTLED, Reason.TIMEOUT, Reason.CONFLICT)
"""Reasons that nobody is told of where nothing goes wrong."""

ALLOWED = ("00000000-0000-0000-0000-000000000000/rg-one",)

LONGEST_WAIT = 7200.0
"""A look that is due later than this in virtual seconds is no part of a convergence."""


class Virtual(clock.ManualClock):
    """Time that is moved by hand, and tells when something happens next."""

    def next(self) -> datetime | None:
        """When the next call falls due that wasn't taken back."""
        return min((due for due, _, pending in self._pending if pending._call is not None), default=None)

    def to(self, moment: datetime) -> None:
        self.advance(max(0.0, (moment - self.now()).total_seconds()))


class _Overheard(azure.Azure):
    """What apps answer is noted."""

    shifts: shifts.Shifts

    async def check(self, url: str) -> observed.Check:
        found = await super().check(url)
        self.shifts.asked(str(urlsplit(url).hostname).partition(".")[0], good=found.passed)
        return found


@dataclass
class World:
    """`lines` is the log, `thrown` the text of every exception that left a pass."""

    local: Local
    time: Virtual
    seam: seams.Seam
    watch: watches.Watch
    lines: io.StringIO
    cloud: _Overheard = field(init=False)
    reconciler: reconcile.Reconciler = field(init=False)
    looks: int = 0
    deaths: int = 0
    broken: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    trouble: list[str] = field(default_factory=list)
    called: set[store.Key] = field(default_factory=set)
    _life: int = 0
    _closing: list[azure.Azure | shared.Shared] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A controller that remembers nothing, put together as the daemon's."""
        self._life = self.seam.life
        clock = pacing.Clock(self._seconds, self._rest)
        self.cloud = _Overheard(self.local.url, wrap=self.seam.wrap, pace=share_calls.Pace(0, 0), clock=clock)
        self.cloud.shifts = self.watch.shifts
        reads = shared.Shared(self.cloud, self._seconds)
        self._closing += [reads, self.cloud]
        self.called.clear()
        self.reconciler = reconcile.Reconciler(
            reads,
            store.Store(store.SourceStatus("state")),
            metrics.Metrics(version="test", inventory=INVENTORY),
            planner.Scope(INVENTORY, ()),
            self.time.now,
            memory.Memory(sparing=True),
            called=self.called.update,
            refresh=reads.refresh,
        )

    def _seconds(self) -> float:
        return self.time.now().timestamp()

    async def _rest(self, seconds: float) -> None:
        """A pause within a pass, of a millisecond at least; what else is under way goes on."""
        until = self.time.now() + timedelta(seconds=max(0.001, seconds))
        await asyncio.sleep(0)
        self.time.to(until)

    async def close(self) -> None:
        for one in self._closing:
            await one.close()

    async def look(self, source: manifest.Source, key: store.Key) -> summarize.Requeue | None:
        """One pass; None when the controller died in it."""
        self.looks += 1
        task = asyncio.ensure_future(self.reconciler.reconcile(source, key))
        return await self.carried(task, key)

    async def prune(self, source: manifest.Source) -> summarize.Requeue | None:
        """One round of a pruner that remembers nothing; None when the controller died in it."""
        self.looks += 1
        statuses = self.reconciler.statuses
        one = pruning.Pruner(self.cloud, statuses, lambda: source, inventory=INVENTORY, allow=ALLOWED, mass=True)
        pause = await self.carried(asyncio.ensure_future(one.round()), None)
        if pause is None or isinstance(pause, summarize.Requeue):
            return pause
        self.told.append(json.dumps(statuses.source.as_json()))
        return summarize.Requeue("interval" if pause >= objects.INTERVAL else "poll", pause)

    async def delete(self, owner: tags.Owner) -> summarize.Requeue | None:
        """One look of `acaops delete`, given once more after each failure; None when the controller died in it."""
        self.looks += 1
        pause = await self.carried(asyncio.ensure_future(self._deleted(owner)), None)
        if pause is None or isinstance(pause, summarize.Requeue):
            return pause
        return summarize.Requeue("interval" if pause >= objects.INTERVAL else "poll", pause)

    async def _deleted(self, owner: tags.Owner) -> float:
        def planned(seen: prune.Seen) -> prune.Plan:
            return prune.Plan(prune.steps(owner, seen, policy="Delete"))

        where = leftovers.scopes(ALLOWED)
        sweep = leftovers.Sweep(self.cloud, where, None, planned, policy="Delete", soon=leftovers.SOON)
        try:
            seen, made = await sweep.look()
            results = await sweep.carry_out(seen, made, still=lambda: "")
        except outcome.OutcomeError as error:
            self.told.append(error.outcome.message)
            return leftovers.AGAIN
        self.told += [json.dumps(one.told.as_json()) for one in results]
        return min((one.pause for one in results if one.told.state != "Kept"), default=objects.INTERVAL)

    async def carried(self, task: asyncio.Future[Any], key: store.Key | None) -> Any:
        """What `task` comes to, where it may be cancelled from within or die; None when it died."""
        self.seam.running, self.seam.looking, self.seam.looks = task, key, self.looks
        try:
            result: Any = await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            result = summarize.Requeue("poll", 0.0)
        except BaseException as error:
            if not _deadly(error):
                raise
        finally:
            self.seam.running = None
        if self.seam.life != self._life:
            self.deaths += 1
            self.begin()
            return None
        if key is not None and (status := self.reconciler.statuses.get(key)) is not None:
            self.broken += [f"{key}: {rule}" for rule in summarize.check(status.conditions)]
            self.broken += [f"{key}: {one.message}" for one in status.conditions if one.reason == Reason.INTERNAL_ERROR]
            self.told.append(json.dumps(status.as_json()))
            self.trouble += [f"{key}: {one.reason} {one.message}" for one in status.conditions if one.reason in TROUBLE]
        return result

    def writes(self) -> list[str]:
        """Every request so far that changes something, ARM's and the shares'."""
        return [f"{one.method} {one.path}" for one in self.local.requests if _asks_for_change(one)]

    def secrets(self) -> set[str]:
        """Every secret there is in this Azure now, and was when this was asked before."""
        documents = self.local.server._documents._db.execute("SELECT body FROM documents").fetchall()
        self.known.update(found for (body,) in documents for found in _KEY.findall(body))
        return self.known | {self.local.client_secret}

    def status(self, key: store.Key) -> str:
        """What people see first."""
        if key == PRUNE:
            return f"pruning: {[each.as_json() for each in self.reconciler.statuses.source.pruning]}"
        found = self.reconciler.statuses.get(key)
        worst = found.conditions[-1] if found and found.conditions else None
        return f"{key[1]}: {worst.type} {worst.reason} {worst.message}" if worst else f"{key[1]}: no pass yet"


@dataclass
class Drive:
    """Looks at each object when it is due, as the loop does, but in virtual time and one at a time."""

    world: World
    source: manifest.Source
    prunes: bool = False
    deletes: tags.Owner | None = None
    stalled: Mapping[store.Key, str] = field(default_factory=dict)
    due: dict[store.Key, datetime | None] = field(init=False)
    failures: Counter[store.Key] = field(default_factory=Counter)
    kinds: dict[store.Key, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ask()

    @property
    def keys(self) -> tuple[store.Key, ...]:
        """What is looked at."""
        return (*self.source.keys, PRUNE) if self.prunes or self.deletes else self.source.keys

    def ask(self) -> None:
        """Everything is due now."""
        self.due = dict.fromkeys(self.keys, self.world.time.now())
        self.kinds = {}

    @property
    def ready(self) -> bool:
        """Every object is Ready, or Stalled as it is meant to be, and no look is due but the usual one."""
        statuses = self.world.reconciler.statuses
        told = [loop.settled(statuses.get(key)) is (key not in self.stalled) for key in self.source.keys]
        told += [words in self.world.status(key) for key, words in self.stalled.items()]
        failed = any(one.state == "Failed" for one in statuses.source.pruning)
        usual = all(self.kinds.get(key) == "interval" for key in self.keys if key not in self.stalled)
        return all(told) and not failed and usual

    async def until(self, done: Callable[[], bool], *, most: int) -> bool:
        """Look until `done`; False when it isn't after `most` looks, or when nothing is due any more."""
        for _ in range(most):
            if done():
                return True
            due = [(moment, key) for key, moment in self.due.items() if moment is not None]
            if not due:
                return False
            moment, key = min(due)
            if (moment - self.world.time.now()).total_seconds() > LONGEST_WAIT:
                return False
            self.world.time.to(moment)
            await self.one(key)
        return done()

    async def converge(self, *, most: int) -> bool:
        return await self.until(lambda: self.ready, most=most)

    async def one(self, key: store.Key) -> None:
        """One look, and when the next one is."""
        before = self._outcomes(key)
        requeue = await self._looked(key)
        if requeue is None:
            self.failures.clear()
            self.ask()
            return
        self.kinds[key] = requeue.kind
        self.failures[key] = self.failures[key] + 1 if requeue.kind in ("backoff", "slow") else 0
        wait = worker.pause(requeue, self.failures[key], backoff=settings.Backoff(), chance=0.5)
        self.due[key] = None if wait is None else self._moment(requeue, wait)
        if key != PRUNE and self._outcomes(key) != before:
            self.due |= dict.fromkeys(self.source.dependents(*key), self.world.time.now())
        self.due |= dict.fromkeys(self.world.called & set(self.source.keys), self.world.time.now())
        self.world.called.clear()

    async def _looked(self, key: store.Key) -> summarize.Requeue | None:
        if key != PRUNE:
            return await self.world.look(self.source, key)
        return await (self.world.delete(self.deletes) if self.deletes else self.world.prune(self.source))

    def _moment(self, requeue: summarize.Requeue, wait: float) -> datetime:
        """A look at Azure's work is put off until something can be seen."""
        moment, following = self.world.time.now() + timedelta(seconds=wait), self.world.time.next()
        if requeue.kind == "poll" and wait and following is not None:
            return max(moment, min(following, self.world.time.now() + timedelta(seconds=LONGEST_WAIT / 2)))
        return moment

    def _outcomes(self, key: store.Key) -> list[tuple[str, str]]:
        status = self.world.reconciler.statuses.get(key)
        return [(step.name, type(step.outcome).__name__) for step in status.resources] if status else []


@contextlib.asynccontextmanager
async def opened(
    state: Path,
    seam: seams.Seam,
    *,
    ending: Collection[str] = (),
    pausing: Collection[str] = (),
    plays: Sequence[scenario.Rule] = (),
) -> AsyncIterator[World]:
    """A world over the local Azure in `state`, which runs again what it ran before. The apps in `ending` are meant to
    serve no more, those in `pausing` may stop for a while; `plays` is what goes wrong with replicas."""
    time = Virtual(datetime.now(UTC))
    runtime = simulated.Simulated(time)
    lines = io.StringIO()
    logs.configure(level="debug", form="json", stream=lines, environ={})
    configured = azure_settings.Settings(state=state, port=0, processes=False, throttled=False)
    with _patient():
        async with server.Server(configured, time, runtime=runtime) as running:
            local = Local(running, time)
            seam.rules, seam.now = running.faults.rules, time.now
            running.scenario.play(*plays)
            watch = watches.Watch(running, runtime, ending=ending, pausing=pausing)
            time.advance(WARM_UP)
            with mock.patch.dict(os.environ, credentials(local)):
                world = seam.world = World(local, time, seam, watch, lines)
                try:
                    yield world
                finally:
                    await world.close()


@contextlib.contextmanager
def _patient() -> Any:
    """Only the local Azure's time is virtual: the SDK signs and keeps its tokens by the machine's. And ranges are
    small, so that a small file takes several."""
    with (
        mock.patch.object(sharedkey, "_SKEW", timedelta(days=30)),
        mock.patch.object(entra, "LIFETIME", 30 * 86400),
        mock.patch.object(files, "RANGE", RANGE),
    ):
        yield


def _deadly(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_deadly(one) for one in error.exceptions)
    return isinstance(error, seams.Crashed)


def _asks_for_change(served: server.Served) -> bool:
    if served.path.startswith("/subscriptions"):
        return _changes(served)
    return served.method in ("PUT", "PATCH", "DELETE")


_KEY = re.compile(r"[A-Za-z0-9+/]{86}==")
"""64 bytes in base64, as accounts' and workspaces' keys are."""
