"""What keeps an object's writes back although nothing is wrong: mode Observe, suspend, drift Report.

A difference becomes the step's `left`, and the step has no action. What stands only in the action's way goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from controller.model import desired, moments, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, steps

REPORT = "drift Report"


@dataclass(frozen=True)
class Restraint:
    """Why nothing at all is written for an object: `says` in the words of the YAML. What isn't there is reported with
    `reason`, and that `so` it isn't made."""

    says: str
    reason: str
    so: str


def of(wanted: desired.Environment | desired.InferenceApp, *, now: datetime) -> Restraint | None:
    """The object's restraint at `now` (aware), None where it may be written."""
    if wanted.spec.mode == "Observe":
        return Restraint("mode Observe", Reason.NOT_FOUND, "mode Observe creates nothing")
    paused = wanted.spec.suspend if isinstance(wanted, desired.InferenceApp) else None
    if paused is None or not paused.in_force(now):
        return None
    says = f"suspended: {paused.reason}" + (f", until {moments.rfc3339(paused.until)}" if paused.until else "")
    return Restraint(says, Reason.SUSPENDED, f"the app is {says}")


def held(made: Iterable[actions.Step], why: Restraint) -> tuple[actions.Step, ...]:
    """The steps without any action."""
    return tuple(_held(step, why) for step in made)


def reported(made: Iterable[actions.Step]) -> tuple[actions.Step, ...]:
    """The steps without the updates that only put drift back."""
    return tuple(
        _left(step, REPORT, step.action.changes) if step.action and step.action.reason == steps.DRIFT else step
        for step in made
    )


def _held(step: actions.Step, why: Restraint) -> actions.Step:
    action = step.action
    if action is None:
        return replace(step, blocked=None) if isinstance(step.blocked, outcome.Waiting) else step
    if action.verb == "Create" and action.reason != steps.FAILED:
        message = f"{step.kind.label} {step.name} isn't there, and {why.so}"
        return replace(step, action=None, blocked=outcome.Stalled(why.reason, message, slowly=True))
    return _left(step, why.says, _differences(step, action))


def _differences(step: actions.Step, action: actions.Action) -> tuple[actions.Change, ...]:
    """The action's own; content and what would be removed as one. Content that can't be seen may differ or not, and
    what failed differs in nothing."""
    if action.changes or action.reason == steps.FAILED or (step.kind is Kind.CONTENT and step.blocked):
        return action.changes
    return (actions.Change(step.kind.label, None, f"{action.verb}: {action.reason}"),)


def _left(step: actions.Step, says: str, left: tuple[actions.Change, ...]) -> actions.Step:
    """An operation in flight, another owner and an immutable field are still told of."""
    kept = step.blocked if _of_the_resource(step) else None
    return replace(step, action=None, blocked=kept, left=left, left_for=says if left else "")


def _of_the_resource(step: actions.Step) -> bool:
    return step.kind is not Kind.CONTENT and not isinstance(step.blocked, outcome.Waiting)
