"""What failed and differs in nothing is sent again after a pause, in a way that harms nothing that works."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.model import observed, tags
from controller.model.kinds import Kind
from controller.plan import actions, planner, steps
from tests.unit.plan import wanted

LATER = timedelta(seconds=600)


def failed(live: observed.Resource | None, *, at: datetime | None = None, **changed: Any) -> observed.Resource:
    """`live` after an operation that failed, long ago unless `at` says when."""
    assert live is not None
    body = wanted.with_properties(live, **({"provisioningState": "Failed"} | changed)).body
    when = (at or wanted.NOW - LATER).isoformat()
    return observed.Resource({**body, "systemData": {"lastModifiedAt": when}})


def planned(seen: observed.Stack, **spec: Any) -> dict[Kind, actions.Step]:
    one = wanted.environment(**spec)
    plan = planner.environment(one, scope=wanted.SCOPE, ids=wanted.ids(one), seen=seen, now=wanted.NOW)
    return {step.kind: step for step in plan.steps}


def sent(action: actions.Action | None) -> tuple[str, str, Any]:
    assert action is not None
    assert action.changes == ()
    assert not action.rolls
    return action.verb, action.reason, action.body


def test_an_environment_that_worked_gets_its_profiles_again() -> None:
    """With those of others; a failed update leaves it usable."""
    seen = replace(wanted.stack(), environment=failed(wanted.stack().environment, staticIp="1.2.3.4"))

    verb, reason, body = sent(planned(seen)[Kind.ENVIRONMENT].ready)

    assert (verb, reason) == ("Update", "failed")
    assert body == {
        "properties": {
            "workloadProfiles": [
                {"name": "Consumption", "workloadProfileType": "Consumption"},
                {"name": "GPU", "workloadProfileType": "NC24-A100", "minimumCount": 0, "maximumCount": 2},
            ]
        }
    }


def test_an_environment_of_the_old_kind_has_no_profiles_to_send() -> None:
    """Then nothing is."""
    one = {"containerApps": wanted.profiles()}
    live = failed(wanted.stack(wanted.environment(**one)).environment, staticIp="1.2.3.4", workloadProfiles=None)

    assert planned(replace(wanted.stack(), environment=live), **one)[Kind.ENVIRONMENT].action is None


def test_an_environment_that_never_came_to_be_is_created_again() -> None:
    """With the tags it has."""
    live = wanted.with_tags(failed(wanted.stack().environment, staticIp=None), by_hand="stays")

    verb, reason, body = sent(planned(replace(wanted.stack(), environment=live))[Kind.ENVIRONMENT].ready)

    assert (verb, reason) == ("Create", "failed")
    assert body["properties"]["appLogsConfiguration"]["destination"] == "log-analytics"
    assert body["tags"] == live.tags


def test_what_somebody_else_began_is_not_created_again() -> None:
    """A PUT over it could take something away."""
    live = wanted.with_tags(failed(wanted.stack().environment, staticIp=None), acaops_origin=tags.ADOPTED)

    assert planned(replace(wanted.stack(), environment=live))[Kind.ENVIRONMENT].action is None


def test_an_account_gets_its_tags_again() -> None:
    """One that worked, that is; all of it for one that never came to be."""
    live = wanted.stack().account
    assert live is not None
    worked, never = failed(live), failed(live, primaryEndpoints=None)

    updated = sent(planned(replace(wanted.stack(), account=worked))[Kind.ACCOUNT].ready)
    created = sent(planned(replace(wanted.stack(), account=never))[Kind.ACCOUNT].ready)

    assert updated == ("Update", "failed", {"tags": live.tags})
    assert created[:2] == ("Create", "failed")
    assert created[2]["location"] == "westus3"
    assert created[2]["tags"] == live.tags


def test_a_workspace_is_created_again() -> None:
    """Nothing tells whether it ever worked; what somebody set of it stays."""
    live = failed(wanted.stack().workspace, retentionInDays=90)

    verb, reason, body = sent(planned(replace(wanted.stack(), workspace=live))[Kind.WORKSPACE].ready)

    assert (verb, reason) == ("Create", "failed")
    assert (body["location"], body["tags"]) == ("westus3", live.tags)
    assert body["properties"]["retentionInDays"] == 90
    assert body["properties"]["sku"]["name"].lower() == "pergb2018"


def test_an_app_gets_all_that_is_owned_again() -> None:
    """But for secrets, which would have to be read; foreign containers stay in the array, and the suffix is cleared."""
    secret = [{"name": "k", "fromEnv": "K"}]
    user = {"type": "SystemAssigned"}
    app, made = wanted.app(secrets=secret, identity=user), wanted.release({"k": "hunter2"})
    live = wanted.created(app, made=made)
    ours = live.properties["template"]["containers"]
    both = [{"name": "side", "image": "s"}, *ours]
    live = failed(live, template={"containers": both, "revisionSuffix": "v1"})

    action = wanted.plan_app(app, wanted.workload_of(live), made=made).steps[1].ready

    verb, reason, body = sent(action)
    assert (verb, reason) == ("Update", "failed")
    assert set(body) == {"identity", "properties"}
    assert set(body["properties"]) == {"workloadProfileName", "configuration", "template"}
    assert set(body["properties"]["configuration"]) == {"activeRevisionsMode", "ingress", "maxInactiveRevisions"}
    assert [one["name"] for one in body["properties"]["template"]["containers"]] == ["side", "phi3"]
    assert body["properties"]["template"]["revisionSuffix"] is None


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(failed(wanted.created(wanted.app()), at=wanted.NOW - LATER + timedelta(seconds=1)), id="lately"),
        pytest.param(wanted.with_properties(wanted.created(wanted.app()), provisioningState="Succeeded"), id="fine"),
        pytest.param(failed(wanted.created(wanted.app()), provisioningState="InProgress"), id="under way"),
        pytest.param(observed.Resource({**failed(wanted.created(wanted.app())).body, "systemData": None}), id="unsaid"),
        pytest.param(
            wanted.with_tags(failed(wanted.created(wanted.app())), acaops_owner="theirs/InferenceApp/a"), id="theirs"
        ),
    ],
)
def test_nothing_is_sent_again(live: observed.Resource) -> None:
    """Too soon, without need, or when the service doesn't say since when; and never to somebody else's."""
    assert wanted.plan_app(wanted.app(), wanted.workload_of(live)).ready == ()


def test_a_difference_goes_before() -> None:
    """It is sent at once, as ever."""
    action = wanted.plan_app(wanted.app(image="b"), wanted.workload_of(failed(wanted.created(wanted.app())))).steps[1]

    assert action.ready is not None
    assert action.ready.reason == steps.CHANGED
