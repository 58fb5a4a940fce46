"""The end of every pass: conditions, events, metrics and history, told once and in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from controller.model import conditions, outcome
from controller.model.commit import Commit
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.status import events, store, summarize
from controller.telemetry import metrics

log = structlog.get_logger()


@dataclass(frozen=True)
class Pass:
    """What one pass came to. `release`, `endpoint`, `serving` (the revision's name) and `drift` are None where the pass
    didn't get as far as to know them; what was told before then stays. `failure` is what was found wrong with a
    release, by this pass or by an earlier controller."""

    key: store.Key
    steps: Sequence[summarize.StepReport]
    source_revision: str
    commit: Commit | None
    started: datetime
    ended: datetime
    interval: float
    retry_interval: float | None
    release: str | None = None
    failure: store.Failure | None = None
    endpoint: str | None = None
    serving: str | None = None
    drift: tuple[store.Drift, ...] | None = None
    suspended: store.Suspended | None = None


AGAIN = summarize.StepReport("pass", "", "", outcome.InProgress(Reason.PROGRESSING, "looking again after a write"))
"""A pass that wrote has not seen what came of it: it is never the one that says Ready."""


def tell(statuses: store.Store, told: metrics.Metrics, result: Pass) -> summarize.Requeue:
    """Put the pass into the store, log what changed, count it; gives when to look again."""
    before = statuses.get(result.key) or store.ObjectStatus(*result.key)
    soon = _soon(before.resources, result.steps)
    verdict = summarize.fold(
        [*result.steps, AGAIN] if soon else result.steps,
        revision=result.source_revision,
        now=result.ended,
        previous=before.conditions,
        interval=result.interval,
        retry_interval=result.retry_interval,
    )
    after = _status(before, result, verdict)
    statuses.replace(after)
    for event in events.changes(before, after):
        _log(event)
    _count(told, result, after)
    return soon or verdict.requeue


def _soon(before: Sequence[summarize.StepReport], steps: Sequence[summarize.StepReport]) -> summarize.Requeue | None:
    """Look again at once after a write that was finished when answered: the next one may depend on it. Not after one
    that only repeats the pass before: somebody puts it back, and a race would be endless."""
    wrote = _written(steps) - _written(before)
    return summarize.Requeue("poll", 0.0) if wrote else None


def _written(steps: Sequence[summarize.StepReport]) -> set[tuple[str, str]]:
    return {(step.resource, step.verb) for step in steps if step.verb and isinstance(step.outcome, outcome.Done)}


def _status(before: store.ObjectStatus, result: Pass, verdict: summarize.Verdict) -> store.ObjectStatus:
    ready = next(one for one in verdict.conditions if one.type == conditions.READY)
    after = replace(
        before,
        conditions=verdict.conditions,
        source_revision=result.source_revision,
        attempted=result.commit,
        applied=result.commit if ready.status == "True" else before.applied,
        release=result.release or before.release,
        endpoint=result.endpoint or before.endpoint,
        resources=tuple(result.steps),
        drift=before.drift if result.drift is None else result.drift,
        suspended=result.suspended,
        failure=result.failure or before.failure,
        last_error=_last_error(before, result, ready),
        last_pass=result.ended,
        passes=before.passes + 1,
    )
    entry = _entry(result, ready)
    return replace(after, history=store.remembered(before.history, entry)) if entry else after


def _last_error(before: store.ObjectStatus, result: Pass, ready: conditions.Condition) -> str | None:
    """What last went wrong, also after it healed. Work under way is no error, nor is waiting for another step."""
    deciding = summarize.worst(result.steps)
    failed = ready.status == "False" and deciding and ready.reason != Reason.DEPENDENCY_NOT_READY
    return ready.message if failed else before.last_error


def _entry(result: Pass, ready: conditions.Condition) -> store.HistoryEntry | None:
    """A release that is Ready, or failed. What stops an object before its release was tried is none."""
    found = result.failure
    if found is not None:
        return store.HistoryEntry(found.release, found.revision, found.when, "Failed", found.message)
    if result.release is None or ready.status != "True":
        return None
    return store.HistoryEntry(result.release, result.serving or "", result.ended, "Ready", ready.message)


def _without_gpu(verdict: outcome.Outcome, *, now: datetime) -> float:
    """The seconds for which a replica has been waiting for a GPU."""
    if not isinstance(verdict, outcome.InProgress) or verdict.reason != Reason.NO_CAPACITY or verdict.since is None:
        return 0.0
    return (now - verdict.since).total_seconds()


def _log(event: events.Event) -> None:
    say = log.warning if event.warning else log.info
    facts = {"reason": event.reason, "message": event.message, "resource": event.resource}
    known = {key: value for key, value in facts.items() if value}
    say(f"{event.phase}: {event.about}", kind=event.kind, name=event.name, **known)


def _count(told: metrics.Metrics, result: Pass, after: store.ObjectStatus) -> None:
    kind, name = result.key
    ready = after.condition(conditions.READY)
    deciding = summarize.worst(result.steps)
    verdict = deciding[0].outcome if deciding else outcome.Done()
    if isinstance(verdict, outcome.Done) and ready and ready.status == "True":
        told.succeeded(kind, name, timestamp=result.ended.timestamp())
        if result.release:
            told.released(name, result.release, timestamp=after.history[-1].when.timestamp())
    elif isinstance(verdict, outcome.Done):
        verdict = AGAIN.outcome
    told.reconciled(kind, verdict, seconds=(result.ended - result.started).total_seconds())
    told.told(kind, name, current=after.conditions)
    told.differs(kind, name, fields=len(after.drift), suspended=after.suspended is not None)
    for step in result.steps:
        if step.name == Kind.REVISION.label:
            told.rollout(name, step.outcome)
            told.gpu_waiting(kind, name, seconds=_without_gpu(step.outcome, now=result.ended))
