"""What counts as a change of an object."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.model import conditions, outcome
from controller.model.conditions import Condition, Reason
from controller.status import events
from controller.status.events import Event
from controller.status.store import ObjectStatus
from controller.status.summarize import StepReport

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RESOURCE = "/subscriptions/s/account"

WORKING = outcome.InProgress(Reason.PROVISIONING, "Creating")
DONE = outcome.Done("there")
WAITING = outcome.Waiting(Reason.THROTTLED, "429", 3.0)
STALLED = outcome.Stalled(Reason.INVALID_REQUEST, "400")


def status(*told: tuple[str, str, str, str], steps: tuple[StepReport, ...] = ()) -> ObjectStatus:
    """A status with conditions (type, status, reason, message)."""
    all_told = tuple(Condition(*each, "r", NOW) for each in told)
    return ObjectStatus("Environment", "gpu-west", conditions=all_told, resources=steps)


def step(verb: str, verdict: outcome.Outcome) -> StepReport:
    return StepReport("storageAccount", RESOURCE, verb, verdict)


def condition_event(about: str, reason: str, *, message: str, warning: bool = False) -> Event:
    return Event("Environment", "gpu-west", "condition", about, reason, message, warning=warning)


RECONCILING = status(
    (conditions.READY, "Unknown", Reason.PROVISIONING, "one"),
    (conditions.RECONCILING, "True", Reason.PROVISIONING, "one"),
)
READY = status((conditions.READY, "True", Reason.READY, "serves"))
STUCK = status(
    (conditions.READY, "False", Reason.FORBIDDEN, "403"), (conditions.STALLED, "True", Reason.FORBIDDEN, "403")
)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, RECONCILING, condition_event("Reconciling", "Provisioning", message="one")),
        (RECONCILING, READY, condition_event("Ready", "Ready", message="serves")),
        (RECONCILING, STUCK, condition_event("Stalled", "Forbidden", message="403", warning=True)),
        (READY, RECONCILING, condition_event("Reconciling", "Provisioning", message="one")),
    ],
)
def test_a_change_of_conditions_is_one_event(before: ObjectStatus | None, after: ObjectStatus, expected: Event) -> None:
    """The most telling condition gives the event; only Stalled is a warning."""
    assert events.changes(before, after) == (expected,)


def test_a_changed_message_alone_is_no_event() -> None:
    """Messages carry elapsed times; they must not fill the log."""
    later = status(
        (conditions.READY, "Unknown", Reason.PROVISIONING, "two"),
        (conditions.RECONCILING, "True", Reason.PROVISIONING, "two"),
    )
    assert events.changes(RECONCILING, later) == ()


def test_an_object_without_conditions_is_no_event() -> None:
    """An object that had no pass yet has nothing to say."""
    assert events.changes(None, status()) == ()
    assert events.changes(READY, status()) == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, step("Create", WORKING), ("begun", "Create")),
        (step("", DONE), step("Update", WORKING), ("begun", "Update")),
        (step("Create", WORKING), step("Update", WORKING), ("begun", "Update")),
        (step("Create", WORKING), step("Create", WORKING), None),
        (step("Create", WORKING), step("", WORKING), None),
        (None, step("", WORKING), None),
        (step("Create", WORKING), step("", DONE), ("ended", "Create")),
        (step("", WORKING), step("", DONE), ("ended", "")),
        (None, step("Upload", DONE), ("ended", "Upload")),
        (step("Upload", DONE), step("Upload", DONE), ("ended", "Upload")),
        (step("Upload", DONE), step("", DONE), None),
        (step("", WAITING), step("", DONE), None),
        (None, step("", DONE), None),
        (None, step("Update", STALLED), None),
        (None, step("Update", WAITING), None),
    ],
)
def test_writes_are_told_when_they_begin_and_end(
    before: StepReport | None, after: StepReport, expected: tuple[str, str] | None
) -> None:
    """Each write begins once and ends once, also where passes between only watch; failures are the conditions'."""
    earlier = status(steps=(before,) if before else ())
    found = events.changes(earlier, status(steps=(after,)))
    assert [(event.phase, event.reason) for event in found] == ([expected] if expected else [])
    assert all(event.about == "storageAccount" and event.resource == RESOURCE for event in found)


def test_steps_come_before_conditions() -> None:
    """The log reads in the order things happened."""
    after = ObjectStatus("Environment", "gpu-west", READY.conditions, resources=(step("Create", DONE),))
    assert [event.phase for event in events.changes(None, after)] == ["ended", "condition"]
