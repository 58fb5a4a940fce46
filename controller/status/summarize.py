"""Folds what became of each step of a pass into conditions and the time of the next look.

Pure: no clock, environment, network, log or SDK. It must not decide how a pause is timed; that is the loop's. The
table it carries out, worst first:

    Stalled      Ready False,   Stalled      never, or slowly for what may heal by itself
    Transient    Ready False,   Reconciling  as told, else the growing backoff
    Waiting      Ready False,   Reconciling  as told, else the growing backoff
    InProgress   Ready Unknown, Reconciling  soon: after 0.3 s, then a tenth of the age, 1 to 15 s
    Done         Ready True                  the interval

The worst step decides the conditions; the step that needs a look soonest decides the next look. Two exceptions: where
one step is in progress, waits for an operation or is stalled, those that wait for it have no say; and a throttle that
named a pause is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from controller.model import conditions, outcome

POLL_FIRST, POLL_SOONEST, POLL_LATEST = 0.3, 1.0, 15.0
POLLS_PER_AGE = 10
POLL_AWAITED = 0.5
TOLD_SOONEST, TOLD_LATEST = 1.0, 3600.0
MESSAGE_BYTES = 4096

RequeueKind = Literal["interval", "poll", "told", "backoff", "slow", "never"]

_WHOLE_SUBSCRIPTION = (conditions.Reason.THROTTLED, conditions.Reason.CIRCUIT_OPEN)
_WORST_FIRST = (outcome.Stalled, outcome.Transient, outcome.Waiting, outcome.InProgress, outcome.Done)
_STATUSES = ("True", "False", "Unknown")
_KINDS = frozenset({conditions.READY, conditions.RECONCILING, conditions.STALLED})


@dataclass(frozen=True)
class StepReport:
    """What became of one step. `resource` is its id, `verb` what this pass did: Create, Update, Upload, … or ""."""

    name: str
    resource: str
    verb: str
    outcome: outcome.Outcome


@dataclass(frozen=True)
class Requeue:
    """When to look again; seconds.

    `after` is None for `never`. For `backoff` it is the longest pause another need allows, None for no such limit.
    """

    kind: RequeueKind
    after: float | None

    def pause(self, *, backoff: float) -> float | None:
        """Seconds until the next look where the loop's growing pause stands at `backoff`; None for never."""
        if self.kind != "backoff":
            return self.after
        return backoff if self.after is None else min(backoff, self.after)


@dataclass(frozen=True)
class Verdict:
    """What a pass comes to."""

    conditions: tuple[conditions.Condition, ...]
    requeue: Requeue


def fold(
    steps: Sequence[StepReport],
    *,
    revision: str,
    now: datetime,
    previous: Sequence[conditions.Condition],
    interval: float,
    retry_interval: float | None,
) -> Verdict:
    """The verdict on one pass at source `revision`. An object without steps is Done.

    `interval` is the pause after success; `retry_interval` the longest one after a failure, None where only the
    loop's own limit holds. A condition of `previous` lends its time of change where its status is still the same.
    """
    told = _Teller(revision, now, tuple(previous))
    needs = [_need(step.outcome, now=now, interval=interval, retry=retry_interval) for step in _heard(steps)]
    requeue = _soonest(needs or [Requeue("interval", interval)])
    return Verdict(_conditions(steps, told), _throttled(steps, requeue))


def load_error(
    messages: Sequence[str], *, revision: str, now: datetime, previous: Sequence[conditions.Condition]
) -> Verdict:
    """The verdict on a desired state that doesn't load: stalled with every message, until the source changes."""
    told = _Teller(revision, now, tuple(previous))
    reason, message = conditions.Reason.INVALID_DESIRED_STATE, "\n".join(messages)
    ready = told.condition(conditions.READY, "False", reason=reason, message=message)
    stalled = told.condition(conditions.STALLED, "True", reason=reason, message=message)
    return Verdict((ready, stalled), Requeue("never", None))


def worst(steps: Sequence[StepReport]) -> tuple[StepReport, ...]:
    """The steps whose outcome decides the conditions, in their order; empty without steps."""
    heard = _heard(steps)
    for kind in _WORST_FIRST:
        if found := tuple(step for step in heard if isinstance(step.outcome, kind)):
            return found
    return ()


def _heard(steps: Sequence[StepReport]) -> Sequence[StepReport]:
    """The steps that have a say. One that waits for a dependency knows no more than the step it waits for, and looking
    again on its behalf would send again what was refused for good."""
    held_up = any(_holds_up(step.outcome) for step in steps)
    return [step for step in steps if not (held_up and _waits_for_another(step))]


def _holds_up(verdict: outcome.Outcome) -> bool:
    if isinstance(verdict, outcome.Waiting):
        return verdict.reason == conditions.Reason.OPERATION_IN_PROGRESS
    return isinstance(verdict, outcome.InProgress | outcome.Stalled)


def _waits_for_another(step: StepReport) -> bool:
    verdict = step.outcome
    return isinstance(verdict, outcome.Waiting) and verdict.reason == conditions.Reason.DEPENDENCY_NOT_READY


def bounded(text: str, *, limit: int = MESSAGE_BYTES) -> str:
    """`text`, cut so that it takes at most `limit` bytes of UTF-8."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    mark = " … (cut)"
    return encoded[: limit - len(mark.encode())].decode(errors="ignore") + mark


def check(told: Sequence[conditions.Condition]) -> list[str]:
    """The kstatus rules that `told` breaks, in words; tests run it after every pass."""
    kinds = [condition.type for condition in told]
    status = {condition.type: condition.status for condition in told}
    rules = {
        "Ready is missing": conditions.READY in status,
        "a condition is there twice": len(kinds) == len(set(kinds)),
        "an unknown type": set(kinds) <= _KINDS,
        "Reconciling is there without being True": status.get(conditions.RECONCILING, "True") == "True",
        "Stalled is there without being True": status.get(conditions.STALLED, "True") == "True",
        "Reconciling and Stalled together": not {conditions.RECONCILING, conditions.STALLED} <= set(status),
        "Ready is True beside Reconciling or Stalled": status.get(conditions.READY) != "True" or len(status) == 1,
        "Ready isn't True and nothing says why": status.get(conditions.READY) == "True" or len(status) > 1,
        "Ready is neither True, False nor Unknown": status.get(conditions.READY, "True") in _STATUSES,
        "a reason is empty": all(condition.reason for condition in told),
        "the revisions differ": len({condition.revision for condition in told}) <= 1,
        "a message is too long": all(len(condition.message.encode()) <= MESSAGE_BYTES for condition in told),
    }
    return [rule for rule, kept in rules.items() if not kept]


@dataclass(frozen=True)
class _Teller:
    """Makes the conditions of one pass."""

    revision: str
    now: datetime
    previous: tuple[conditions.Condition, ...]

    def condition(self, kind: str, status: str, *, reason: str, message: str) -> conditions.Condition:
        same = (old.changed for old in self.previous if old.type == kind and old.status == status)
        changed = next(same, self.now)
        return conditions.Condition(kind, status, reason, bounded(message), self.revision, changed)


def _conditions(steps: Sequence[StepReport], told: _Teller) -> tuple[conditions.Condition, ...]:
    deciding = worst(steps)
    message = "; ".join(_sentence(step) for step in deciding if step.outcome.message)
    verdict = deciding[0].outcome if deciding else outcome.Done()
    if isinstance(verdict, outcome.Done):
        return (told.condition(conditions.READY, "True", reason=conditions.Reason.READY, message=message),)
    ready = "Unknown" if isinstance(verdict, outcome.InProgress) else "False"
    also = conditions.STALLED if isinstance(verdict, outcome.Stalled) else conditions.RECONCILING
    return (
        told.condition(conditions.READY, ready, reason=verdict.reason, message=message),
        told.condition(also, "True", reason=verdict.reason, message=message),
    )


def _sentence(step: StepReport) -> str:
    """The step's message, with its name before it where it doesn't begin so itself. A pass as a whole, which has no
    resource, needs no name."""
    message = step.outcome.message
    return message if not step.resource or message.startswith(step.name) else f"{step.name}: {message}"


def _need(verdict: outcome.Outcome, *, now: datetime, interval: float, retry: float | None) -> Requeue:
    if isinstance(verdict, outcome.Done):
        return Requeue("interval", interval)
    if isinstance(verdict, outcome.InProgress):
        return Requeue("poll", POLL_AWAITED if verdict.awaited else _poll(verdict.since, now))
    if isinstance(verdict, outcome.Stalled):
        return Requeue("slow", interval if retry is None else retry) if verdict.slowly else Requeue("never", None)
    if verdict.after is None:
        return Requeue("backoff", retry)
    return Requeue("told", _clamped(verdict.after, TOLD_SOONEST, TOLD_LATEST))


def _poll(since: datetime | None, now: datetime) -> float:
    """Short operations are seen at once, long ones asked about some tens of times in all. One without a beginning has
    just been begun: others may wait for its end."""
    if since is None:
        return POLL_FIRST
    return _clamped((now - since).total_seconds() / POLLS_PER_AGE, POLL_SOONEST, POLL_LATEST)


def _throttled(steps: Sequence[StepReport], requeue: Requeue) -> Requeue:
    """No look before a throttle's pause is over, or an open circuit's: it holds for the whole subscription, and asking
    sooner prolongs it."""
    verdicts = [step.outcome for step in steps if isinstance(step.outcome, outcome.Waiting | outcome.Transient)]
    told = [one.after for one in verdicts if one.reason in _WHOLE_SUBSCRIPTION and one.after is not None]
    if not told:
        return requeue
    least = _clamped(max(told), TOLD_SOONEST, TOLD_LATEST)
    sooner = requeue.kind == "backoff" or (requeue.after is not None and requeue.after < least)
    return Requeue("told", least) if sooner else requeue


def _clamped(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def _soonest(needs: Sequence[Requeue]) -> Requeue:
    """The soonest need. A backoff's length is the loop's to know, so it is kept, limited by the soonest known time.

    A poll wins over a backoff: it is at most 15 s away, and a backoff would delay seeing Azure's work end.
    """
    # Where somebody was told when to come back, the steps that are done are looked at then.
    usual = not any(need.kind == "told" for need in needs)
    timed = [(need.after, need.kind) for need in needs if need.after is not None and (usual or need.kind != "interval")]
    soonest = min(timed, key=lambda pair: pair[0], default=None)
    backing_off = any(need.kind == "backoff" for need in needs)
    if backing_off and not any(need.kind == "poll" for need in needs):
        return Requeue("backoff", None if soonest is None else soonest[0])
    return Requeue("never", None) if soonest is None else Requeue(soonest[1], soonest[0])
