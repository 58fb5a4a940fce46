"""What a plan is made of, and what it tells of itself."""

from __future__ import annotations

import pytest

from controller.model import outcome, tags
from controller.model.kinds import Kind
from controller.plan import actions, planner, steps, template
from tests.unit.plan import wanted

CREATE = actions.Action("Create", "missing")
WAITING = outcome.Waiting("DependencyNotReady", "waiting for the group")
OTHER = outcome.Stalled("Guarded", "out of bounds")


@pytest.mark.parametrize(
    ("action", "blocked", "ready", "pending"),
    [
        (None, None, False, False),
        (CREATE, None, True, True),
        (CREATE, WAITING, False, True),
        (None, OTHER, False, False),
    ],
)
def test_a_step_is_ready_unless_it_is_blocked(
    action: actions.Action | None, blocked: outcome.Outcome | None, ready: bool, pending: bool
) -> None:
    """What is held back is still pending."""
    plan = actions.Plan((actions.Step(Kind.GROUP, "g", "/g", action, blocked),))

    assert (bool(plan.ready), plan.pending) == (ready, pending)
    assert (plan.steps[0].ready is action) is (ready or action is None)


def test_the_first_reason_stays() -> None:
    """It is the one nearest to the resource."""
    step = actions.Step(Kind.GROUP, "g", "/g", CREATE)

    assert steps.block(steps.block(step, WAITING), OTHER).blocked == WAITING
    assert steps.block(step, None) is step


def test_owner_and_release_of_an_object() -> None:
    """The owner tag names inventory, kind and object; the release is the one the template will say."""
    app, at = wanted.app(), wanted.ids()

    seen = wanted.workload_of(None)
    one = planner.subject(
        app,
        stands_on=wanted.environment(),
        scope=wanted.SCOPE,
        ids=at,
        seen=seen,
        release=wanted.release(),
        now=wanted.NOW,
    )
    plan = planner.app(one, scope=wanted.SCOPE, course=one.course(None))

    assert str(wanted.SCOPE.owner(app)) == "prod/InferenceApp/phi3-chat"
    action = plan.steps[1].ready
    assert action is not None
    assert action.verb == "Create"
    assert one.run.release == template.release_of(action.body["properties"]["template"])
    assert action.body["location"] == "West US 3"
    assert action.body["properties"]["environmentId"] == at.environment
    assert action.body["tags"].keys() == {tags.OWNER, tags.ORIGIN, tags.APPLIED, tags.COMMIT, tags.DELETION}
