"""What changed between two statuses of an object, for logs.

Pure: no clock, environment, network, log or SDK. An event is a change, never a state: the same status twice gives none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from controller.model import conditions, outcome
from controller.status import store, summarize

Phase = Literal["condition", "begun", "ended"]


@dataclass(frozen=True)
class Event:
    """A change of one object.

    phase      condition: `about` is the condition's type, `reason` its reason
               begun, ended: `about` is the step's name, `reason` its verb, e.g. Create
    resource   the step's resource id, "" for a condition
    warning    True where somebody has to do something
    """

    kind: str
    name: str
    phase: Phase
    about: str
    reason: str
    message: str
    resource: str = ""
    warning: bool = False


def changes(before: store.ObjectStatus | None, after: store.ObjectStatus) -> tuple[Event, ...]:
    """The events between two statuses: of the steps first, in their order, then at most one of the conditions.

    A changed message alone is no event: messages carry elapsed times.
    """
    return (*_steps(before, after), *_conditions(before, after))


def _conditions(before: store.ObjectStatus | None, after: store.ObjectStatus) -> Iterator[Event]:
    """One event for what are two conditions: Ready repeats the reason of Stalled or Reconciling."""
    if before is not None and _signature(before) == _signature(after):
        return
    told = (after.condition(kind) for kind in (conditions.STALLED, conditions.RECONCILING, conditions.READY))
    headline = next((condition for condition in told if condition is not None), None)
    if headline is not None:
        warning = headline.type == conditions.STALLED
        yield Event(
            after.kind, after.name, "condition", headline.type, headline.reason, headline.message, warning=warning
        )


def _signature(status: store.ObjectStatus) -> frozenset[tuple[str, str, str]]:
    return frozenset((condition.type, condition.status, condition.reason) for condition in status.conditions)


def _steps(before: store.ObjectStatus | None, after: store.ObjectStatus) -> Iterator[Event]:
    earlier = {(step.name, step.resource): step for step in (before.resources if before else ())}
    for step in after.resources:
        phase, verb = _phase(earlier.get((step.name, step.resource)), step)
        if phase is not None:
            yield Event(after.kind, after.name, phase, step.name, verb, step.outcome.message, step.resource)


def _phase(before: summarize.StepReport | None, after: summarize.StepReport) -> tuple[Phase | None, str]:
    """Whether a write began or ended, and which. A write that failed is told by the conditions.

    A pass that only watches a write reports it with no verb, so the verb may be known from the pass before alone.
    """
    working = before is not None and isinstance(before.outcome, outcome.InProgress)
    verb = after.verb or (before.verb if before is not None and working else "")
    if isinstance(after.outcome, outcome.Done):
        return ("ended" if after.verb or working else None), verb
    if isinstance(after.outcome, outcome.InProgress) and after.verb:
        begun = before is None or not working or before.verb != after.verb
        return ("begun" if begun else None), verb
    return None, verb
