"""One pass over one object, as a table of contents: load, observe, plan, apply, judge, report.

Nothing in memory is needed to go on: kill the process anywhere, start another, and the next pass finds in Azure
where this one was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from controller import apply, failures, memory, objects, turns
from controller.cloud import port
from controller.model import conditions, desired, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import planner, restraint
from controller.sources import manifest
from controller.status import report, store, summarize
from controller.telemetry import log as logs
from controller.telemetry import metrics

log = structlog.get_logger()

Key = store.Key

TURN = 1200.0
"""Seconds after which one that waits for its turn looks again, though it is called when the turn comes."""


@dataclass
class Reconciler:
    """Runs passes. `now` tells the time, aware; `called` is given the objects whose turn has come; `refresh` sees to it
    that the next read of these ids goes to Azure itself, None where every read does."""

    cloud: port.Cloud
    statuses: store.Store
    metrics: metrics.Metrics
    scope: planner.Scope
    now: Callable[[], datetime]
    memory: memory.Memory = field(default_factory=memory.Memory)
    turns: turns.Turns = field(default_factory=turns.Turns)
    called: Callable[[Iterable[Key]], None] = lambda _: None
    refresh: Callable[[Iterable[str]], None] | None = None
    journal: failures.Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = failures.Journal(self.cloud)

    async def reconcile(self, source: manifest.Source, key: Key) -> summarize.Requeue:
        """One pass; always reports, whatever happened on the way."""
        return await self._pass(source, key, write=True)

    async def observe(self, source: manifest.Source, key: Key) -> summarize.Requeue:
        """A pass that writes nothing: what is pending is reported as waiting."""
        return await self._pass(source, key, write=False)

    async def look(self, source: manifest.Source, key: Key) -> objects.View:
        """Observe and plan, writing nothing: what `acaops plan` shows."""
        loaded, scope = source.find(*key), replace(self.scope, commit=source.commit.sha if source.commit else None)
        if isinstance(loaded.object, desired.Environment):
            return await objects.environment(self.cloud, loaded.object, scope=scope, now=self.now())
        stands_on = source.environment(loaded.object.spec.environment_ref)
        return await objects.app(
            self.cloud, loaded, stands_on=stands_on, scope=scope, known=self.memory, now=self.now()
        )

    async def _pass(self, source: manifest.Source, key: Key, *, write: bool) -> summarize.Requeue:
        """A cancelled pass reports nothing: it found nothing out."""
        started, view = self.now(), None
        limit = objects.timeout(source.find(*key).object)
        try:
            async with asyncio.timeout(limit):
                looked = await self.look(source, key)
                view = await self._writable(source, key, looked) if write else looked
                applied = await self._applied(view, key) if write else {}
            judged = objects.judge(view, applied)
            notes = objects.notes(source.find(*key).object, now=started)
            self._remember(looked, judged, key, paused=bool(notes))
            steps = (*notes, *judged)
        except Exception as error:
            steps = (summarize.StepReport("pass", "", "", _became(error, limit=limit)),)
            self._broke_off(steps[0].outcome, key)
        failure = await self._failure(source, key, view) if view else None
        requeue = self._report(source, key, view=view, steps=steps, started=started, failure=failure)
        if write and view:
            await self._enter(source, key, view)
        return requeue

    async def _writable(self, source: manifest.Source, key: Key, view: objects.View) -> objects.View:
        """What may be written now. What is about to be changed is looked at again where reads are shared: what somebody
        else changed a moment ago would be lost."""
        view = self._held(source, key, view)
        changed = [step.resource_id for step in view.plan.ready if step.action and step.action.verb == "Update"]
        if not changed or self.refresh is None:
            return view
        self.refresh(changed)
        return self._held(source, key, await self.look(source, key))

    def _held(self, source: manifest.Source, key: Key, view: objects.View) -> objects.View:
        """What must wait for another object is held back."""
        if waiting := self._dependency(source, key):
            view = objects.held(view, waiting)
        environment = view.ids.environment
        if not objects.in_turn(view):
            if not objects.moving(view):
                self.called(self.turns.leave(key))
            return view
        if self.turns.enter(environment, key):
            return view
        writer, name = "/".join(self.turns.holder(environment) or ()), view.ids.names.environment
        told = f"waits for its turn in environment {name}: {writer} is being written"
        return objects.out_of_turn(view, outcome.Waiting(Reason.OPERATION_IN_PROGRESS, told, after=TURN))

    def _remember(
        self, looked: objects.View, judged: Sequence[summarize.StepReport], key: Key, *, paused: bool
    ) -> None:
        """A pause ends by the clock, so nothing rests on it."""
        if looked.basis is None or looked.seen is None or looked.trial is None:
            return
        if objects.rests(looked, judged) and not paused:
            self.memory.rest(key[1], looked.basis, seen=looked.seen, plan=looked.plan, by=looked.trial)
        else:
            self.memory.stir(key[1])

    def _broke_off(self, became: outcome.Outcome, key: Key) -> None:
        """One that can't go on holds nobody up."""
        if isinstance(became, outcome.Stalled):
            self.called(self.turns.leave(key))

    def _dependency(self, source: manifest.Source, key: Key) -> outcome.Waiting | None:
        """The app that this one must wait for: it isn't Ready at this state yet. Only writes wait."""
        for name in objects.depends_on(source.find(*key).object):
            status = self.statuses.get(("InferenceApp", name))
            ready = status.condition(conditions.READY) if status else None
            if ready is None or ready.status != "True" or ready.revision != source.revision:
                return outcome.Waiting(Reason.DEPENDENCY_NOT_READY, f"waiting for {name} to be Ready (dependsOn)")
        return None

    async def _applied(self, view: objects.View, key: Key) -> Mapping[str, outcome.Outcome]:
        account, share = view.stack.account, view.ids.names.share
        applied = await apply.apply(view.plan, view.cloud, account=account, share=share, pack=view.pack)
        for step in view.plan.ready:
            if (
                step.action
                and step.action.reason == "drift"
                and isinstance(applied[step.resource_id], outcome.Done | outcome.InProgress)
            ):
                self.metrics.drifted(*key)
        if not all(isinstance(applied[each], outcome.InProgress | outcome.Done) for each in objects.in_turn(view)):
            self.called(self.turns.leave(key))
        return applied

    async def _failure(self, source: manifest.Source, key: Key, view: objects.View) -> store.Failure | None:
        """What was found wrong with the release that is judged; of one that was rejected before this controller knew of
        it, what its share says."""
        found = objects.failure(view, now=self.now())
        rejection = view.trial.course.rejection if view.trial else None
        if found or rejection is None:
            return found
        status, at = self.statuses.get(key), self._place(source, key, view)
        if at is None or (status and status.failure and status.failure.run == rejection.run):
            return None
        kept = await self.journal.recall(at, rejection.run)
        return replace(kept, rejected=True) if kept else None

    async def _enter(self, source: manifest.Source, key: Key, view: objects.View) -> None:
        """Put the failure that is told on record, where the object may be written. Last: nobody waits for it."""
        status, wanted = self.statuses.get(key), source.find(*key).object
        if status is None or status.failure is None or not isinstance(wanted, desired.InferenceApp):
            return
        if (at := self._place(source, key, view)) is None:
            return
        app, guarded = view.live[Kind.APP], self.scope.guard(source.environment(wanted.spec.environment_ref))
        theirs = app is not None and tags.other_owner(self.scope.owner(wanted), app.tags)
        if not (guarded or theirs or restraint.of(wanted, now=self.now())):
            secrets = view.basis.secrets.values() if view.basis else ()
            await self.journal.enter(at, status.failure, secrets=secrets)

    def _place(self, source: manifest.Source, key: Key, view: objects.View) -> failures.Place | None:
        """Where the app's failures are kept."""
        return failures.place(self.scope.owner(source.find(*key).object), view.stack, share=view.ids.names.share)

    def _report(
        self,
        source: manifest.Source,
        key: Key,
        *,
        view: objects.View | None,
        steps: Sequence[summarize.StepReport],
        started: datetime,
        failure: store.Failure | None,
    ) -> summarize.Requeue:
        wanted, ended = source.find(*key).object, self.now()
        spec = wanted.spec
        result = report.Pass(
            key,
            steps,
            source_revision=source.revision,
            commit=source.commit,
            started=started,
            ended=ended,
            interval=objects.interval(wanted, view, now=ended),
            retry_interval=spec.retry_interval if isinstance(spec, desired.AppSpec) else None,
            release=view.trial.serving.release if view and view.trial and view.trial.serving else None,
            failure=failure,
            endpoint=view.endpoint if view else None,
            serving=objects.serving(view) if view else None,
            drift=objects.drift(view) if view else None,
            suspended=objects.suspended(wanted, now=ended),
        )
        return report.tell(self.statuses, self.metrics, result)


def _became(error: Exception, *, limit: float) -> outcome.Outcome:
    """What a pass that broke off came to. Only what nobody foresaw is logged here, with its traceback."""
    match error:
        case outcome.OutcomeError():
            return error.outcome
        case TimeoutError():
            return outcome.Transient(Reason.TIMEOUT, f"not done after {limit:g} s, the most a pass may take")
    return logs.unforeseen("pass failed", error)
