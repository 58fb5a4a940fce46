"""Mode Observe, suspend and drift Report: what differs is seen and told, and nothing is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.model import desired, observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, planner
from tests.unit.plan import wanted

OBSERVE = {"mode": "Observe"}
SUSPENDED = {"suspend": {"reason": "load test", "until": "2026-11-22T18:00:00Z"}}
DRIFT = actions.Change("properties.configuration.ingress.external", False, True)


def drifted() -> observed.Resource:
    return wanted.with_properties(wanted.created(wanted.app()), configuration={"ingress": {"external": False}})


def planned(app: desired.InferenceApp, seen: observed.Workload) -> tuple[actions.Step, actions.Step]:
    """Content and container app."""
    plan = wanted.plan_app(app, seen)
    assert not plan.pending
    content, made = plan.steps
    return content, made


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (OBSERVE, "mode Observe"),
        (SUSPENDED, "suspended: load test, until 2026-11-22T18:00:00Z"),
        ({"suspend": {"reason": "load test"}}, "suspended: load test"),
        (OBSERVE | SUSPENDED, "mode Observe"),
        ({"drift": "Report"}, "drift Report"),
    ],
)
def test_drift_is_left(spec: dict[str, Any], says: str) -> None:
    """With what differs, and why it stays."""
    _, made = planned(wanted.app(**spec), wanted.workload_of(drifted()))

    assert (made.left, made.left_for, made.blocked) == ((DRIFT,), says, None)


@pytest.mark.parametrize("spec", [OBSERVE, SUSPENDED])
def test_a_change_is_left_too(spec: dict[str, Any]) -> None:
    """Field by field."""
    _, made = planned(wanted.app(image="b", **spec), wanted.workload_of(wanted.created(wanted.app())))

    assert [change.path for change in made.left] == [
        "properties.template.containers[phi3].image",
        "properties.template.containers[phi3].env[ACAOPS_RELEASE]",
    ]


def test_a_change_is_no_drift() -> None:
    """drift Report applies what the YAML says, and puts the drift back along with it."""
    app = wanted.app(drift="Report", image="b")

    (_, made) = wanted.plan_app(app, wanted.workload_of(drifted())).steps

    assert made.ready is not None
    assert made.ready.reason == "changed"
    assert set(made.ready.body["properties"]) == {"configuration", "template"}


def test_report_makes_what_is_missing() -> None:
    """An app that isn't there is no drift, and a bundle that isn't neither."""
    seen = wanted.workload_of(None, published=observed.Published())

    publish, made = wanted.plan_app(wanted.app(drift="Report"), seen).steps

    assert publish.ready is not None
    assert made.action is not None


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (OBSERVE, Reason.NOT_FOUND, "containerApp phi3 isn't there, and mode Observe creates nothing"),
        (
            SUSPENDED,
            Reason.SUSPENDED,
            "containerApp phi3 isn't there, and the app is suspended: load test, until 2026-11-22T18:00:00Z",
        ),
    ],
)
def test_what_is_missing_stays_missing(spec: dict[str, Any], reason: str, message: str) -> None:
    """Whatever else the creation would have to wait for."""
    gone = replace(wanted.stack(), environment=None, storage=None)

    for seen in (wanted.workload_of(None), observed.Workload(gone)):
        _, made = planned(wanted.app(**spec), seen)
        assert made.blocked == outcome.Stalled(reason, message, slowly=True)


@pytest.mark.parametrize(
    ("release", "there", "left"),
    [
        ("Bundle", observed.Published(), "Upload: 1 files, 5 bytes"),
        ("Mirror", observed.Published(mirror={}), "Mirror: 1 files to write, 0 to remove"),
        ("Bundle", None, None),
    ],
)
def test_content_is_compared_as_far_as_it_can_be_seen(
    release: str, there: observed.Published | None, left: str | None
) -> None:
    """By a reader, who may not list the account's keys, nothing is known of it; that stops nobody."""
    app = wanted.app(**OBSERVE, release=release)
    seen = wanted.workload_of(wanted.created(wanted.app(release=release)), published=there)

    content, _ = planned(app, seen)

    assert content.left == ((actions.Change("content", None, left),) if left else ())
    assert content.blocked is None


def test_a_reader_may_observe() -> None:
    """Whoever can't list the account's keys sees no difference there."""
    stack = replace(wanted.stack(), keys=None)
    seen = observed.Workload(stack, wanted.created(wanted.app()))

    content, made = planned(wanted.app(**OBSERVE), seen)

    assert [(step.left, step.blocked) for step in (content, made)] == [((), None)] * 2


def test_what_is_wrong_with_the_resource_is_still_told() -> None:
    """Another owner, an operation in flight; but not what the update would have had to wait for."""
    theirs = wanted.with_tags(drifted(), acaops_owner="theirs/InferenceApp/x")
    busy = wanted.with_properties(drifted(), provisioningState="InProgress")
    waiting = wanted.workload_of(drifted(), seen=replace(wanted.stack(), environment=None))
    app = wanted.app(**OBSERVE)

    _, one = planned(app, wanted.workload_of(theirs))
    _, two = planned(app, wanted.workload_of(busy))
    _, three = planned(app, waiting)

    assert isinstance(one.blocked, outcome.Stalled)
    assert one.blocked.reason == Reason.OWNED_BY_OTHER
    assert isinstance(two.blocked, outcome.InProgress)
    assert (three.blocked, three.left) == (None, (DRIFT,))


def test_a_suspension_ends() -> None:
    """At its moment."""
    seen, end = wanted.workload_of(drifted()), wanted.NOW + timedelta(hours=6)

    before = wanted.plan_app(wanted.app(**SUSPENDED), seen, now=end - timedelta(seconds=1))
    after = wanted.plan_app(wanted.app(**SUSPENDED), seen, now=end)

    assert (bool(before.ready), bool(after.ready)) == (False, True)


def test_a_failure_differs_in_nothing() -> None:
    """It isn't sent again, and its state says enough."""
    failed = wanted.with_properties(wanted.created(wanted.app()), provisioningState="Failed")

    _, made = planned(wanted.app(**OBSERVE), wanted.workload_of(failed))

    assert (made.left, made.left_for, made.blocked) == ((), "", None)


def test_a_stack_is_observed() -> None:
    """What is missing and what differs, down to the storage of an earlier key; and nothing is written."""
    one = wanted.environment(mode="Observe", tags={"team": "chat"})
    seen = wanted.stack()
    (old,) = [replace_name(seen.storage, "phi3mount-99999999")]
    seen = replace(seen, workspace=None, storages=(old,), mounted=frozenset())

    plan = planner.environment(one, scope=wanted.SCOPE, ids=wanted.ids(one), seen=seen, now=wanted.NOW)

    assert not plan.pending
    told = {step.resource_id.rsplit("/", 1)[-1]: (step.left, step.blocked) for step in plan.steps}
    assert told["phi3storage"] == ((actions.Change("tags.team", None, "chat"),), None)
    message = "workspace phi3logs isn't there, and mode Observe creates nothing"
    assert told["phi3logs"] == ((), outcome.Stalled(Reason.NOT_FOUND, message, slowly=True))
    left = actions.Change("environmentStorage", None, "Delete: no listed revision mounts it")
    assert told["phi3mount-99999999"] == ((left,), None)
    assert [step.kind for step in plan.steps][-1] is Kind.STORAGE


def replace_name(storage: observed.Resource | None, name: str) -> observed.Resource:
    assert storage is not None
    return observed.Resource({**storage.body, "name": name})
