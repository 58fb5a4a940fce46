"""What a rollout's course comes to in writes: the template, the traffic, the tags, the revisions that end."""

from __future__ import annotations

import copy
from typing import Any

from controller.model import desired, moments, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, rollout, template
from tests.unit.plan import wanted

OLD, NEW = wanted.app(env=[{"name": "MODE", "value": "old"}]), wanted.app(env=[{"name": "MODE", "value": "new"}])
FAILED = rollout.Judged(outcome.Stalled(Reason.OUT_OF_MEMORY, "it needs more", slowly=True))


def revision(app: observed.Resource, name: str, **properties: Any) -> observed.Resource:
    """As the service lists one of the app's template: with empty probes, without what it computes."""
    body = copy.deepcopy(dict(app.properties["template"]))
    for container in body["containers"]:
        container["resources"].pop("ephemeralStorage", None)
    facts = {"active": True, "healthState": "Healthy", "runningState": "Running", "createdTime": "2026-11-20T08:00:00Z"}
    return observed.Resource(
        {"name": name, "id": f"{app.id}/revisions/{name}", "properties": {**facts, "template": body} | properties}
    )


def rolled_out(*revisions: observed.Resource, app: observed.Resource, **config: Any) -> observed.Workload:
    """The last one is the latest."""
    whole = {**app.properties["configuration"], **config}
    live = wanted.with_properties(app, latestRevisionName=revisions[-1].name, configuration=whole)
    return observed.Workload(wanted.stack(), live, revisions, published=observed.Published(release=True))


def planned(app: desired.InferenceApp, seen: observed.Workload, judged: rollout.Judged | None = None) -> dict[str, Any]:
    """The steps by verb; the container app's also by its kind."""
    made = wanted.plan_app(app, seen, judged=judged).steps
    return {"app": next(step for step in made if step.kind is Kind.APP)} | {
        step.action.verb: step for step in made if step.action and step.kind is Kind.REVISION
    }


def test_a_rejected_release_makes_room_for_the_one_before() -> None:
    """Its listed template is sent whole, with the tag that says why, and nothing of the failed one stays."""
    old, new = wanted.created(OLD), wanted.created(NEW)
    seen = rolled_out(revision(old, "r1"), revision(new, "r2", healthState="None", runningState="Activating"), app=new)
    action = planned(NEW, seen, FAILED)["app"].ready
    assert isinstance(action, actions.Action)
    run = template.run_of(new.properties["template"])
    assert run is not None
    assert action.reason == f"release {run.release} rejected: OutOfMemory"
    assert action.body["tags"][tags.REJECTED] == f"{run}:OutOfMemory"
    sent = action.body["properties"]["template"]
    assert template.run_of(sent) == template.run_of(old.properties["template"])
    assert sent["revisionSuffix"] is None
    assert action.changes[0].before == f"release {run.release}"
    assert action.rolls


def test_what_was_gone_back_to_is_not_written_again() -> None:
    """The service's own spelling of it is no difference; a foreign change of it is drift."""
    old, new = wanted.created(OLD), wanted.created(NEW)
    run = template.run_of(new.properties["template"])
    told = {**new.tags, tags.REJECTED: f"{run}:OutOfMemory"}
    back = observed.Resource({**old.body, "tags": told})
    seen = rolled_out(revision(old, "r1"), revision(new, "r2", active=False), revision(old, "r3"), app=back)
    good = rollout.Judged(outcome.Done())
    assert planned(NEW, seen, good)["app"].action is None
    assert seen.app is not None
    edited = copy.deepcopy(dict(seen.app.properties["template"]))
    edited["containers"][0]["image"] = "another"
    edited["initContainers"] = [{"name": "foreign"}]
    app = wanted.with_properties(seen.app, template=edited)
    action = planned(NEW, observed.Workload(**{**vars(seen), "app": app}), good)["app"].ready
    assert isinstance(action, actions.Action)
    assert action.body["properties"]["template"]["initContainers"] is None


def test_what_is_left_to_others_stays_when_it_goes_back() -> None:
    """An ignored part of the template is as it is live."""
    ignore = ["/properties/template/scale/maxReplicas"]
    kept = wanted.app(env=[{"name": "MODE", "value": "new"}], ignore=ignore)
    old, new = wanted.created(OLD), wanted.created(kept)
    scaled = wanted.with_properties(
        new, template={**new.properties["template"], "scale": {"minReplicas": 1, "maxReplicas": 7}}
    )
    seen = rolled_out(
        revision(old, "r1"), revision(new, "r2", healthState="None", runningState="Activating"), app=scaled
    )
    action = planned(kept, seen, FAILED)["app"].ready
    assert isinstance(action, actions.Action)
    assert action.body["properties"]["template"]["scale"]["maxReplicas"] == 7


def test_recreate_writes_when_the_old_one_has_stopped() -> None:
    """One write after the other."""
    recreate = wanted.app(rollout={"strategy": "Recreate"}, image="b")
    app = wanted.created(wanted.app(rollout={"strategy": "Recreate"}))
    found = planned(recreate, rolled_out(revision(app, "r1"), app=app))
    assert found["Deactivate"].ready
    assert found["app"].blocked == outcome.Waiting(Reason.ROLLING_OUT, "waiting for the old revision to stop")
    found = planned(recreate, rolled_out(revision(app, "r1", active=False), app=app))
    assert found.keys() == {"app"}
    assert found["app"].ready
    busy = rolled_out(revision(app, "r1"), app=wanted.with_properties(app, provisioningState="InProgress"))
    assert planned(recreate, busy)["Deactivate"].ready is None


def test_revisions_end_when_nothing_is_left_to_write() -> None:
    """Not while the app is written, nor before its traffic moved."""
    app = wanted.created(OLD)
    hung = revision(app, "r1", healthState="None", runningState="Activating")
    seen = rolled_out(hung, revision(app, "r2"), app=app)
    assert planned(OLD, seen)["Deactivate"].ready
    assert planned(NEW, seen)["Deactivate"].ready is None


def test_what_somebody_stopped_is_started() -> None:
    """It is drift."""
    app = wanted.created(OLD)
    action = planned(OLD, rolled_out(revision(app, "r1", active=False), app=app))["Activate"].ready
    assert action.reason == "drift"


def test_a_canary_step_is_on_record() -> None:
    """With the traffic, in one write; at the end the record goes."""
    canary = wanted.app(rollout={"strategy": "Canary", "steps": [{"weight": 10, "hold": "1m"}]})
    app = wanted.created(canary)
    older = wanted.created(OLD)
    good = rollout.Judged(outcome.Done())
    pinned = {
        "activeRevisionsMode": "Multiple",
        "ingress": {**app.properties["configuration"]["ingress"], "traffic": [{"revisionName": "r1", "weight": 100}]},
    }
    seen = rolled_out(revision(older, "r1"), revision(app, "r2"), app=app, **pinned)
    action = planned(canary, seen, good)["app"].ready
    assert action.reason == "10 % of the traffic to the new revision"
    run = template.run_of(app.properties["template"])
    assert action.body["tags"][tags.ROLLOUT] == f"{run}:0:{moments.rfc3339(wanted.NOW)}"
    assert action.body["properties"] == {
        "configuration": {
            "ingress": {"traffic": [{"revisionName": "r1", "weight": 90}, {"revisionName": "r2", "weight": 10}]}
        }
    }
    recorded = observed.Resource(
        {
            **seen.app.body,
            "tags": {
                **action.body["tags"],
                tags.ROLLOUT: f"{run}:0:2020-01-01T00:00:00Z",
            },
        }
    )
    moved = {
        "ingress": {**pinned["ingress"], "traffic": action.body["properties"]["configuration"]["ingress"]["traffic"]}
    }
    later = rolled_out(
        revision(older, "r1"), revision(app, "r2"), app=recorded, activeRevisionsMode="Multiple", **moved
    )
    last = planned(canary, later, good)["app"].ready
    assert last.body["tags"][tags.ROLLOUT] is None


def test_a_change_of_mode_leaves_the_template() -> None:
    """It waits for the next pass, which is still the same change, and no drift."""
    app = wanted.created(OLD)
    other = wanted.app(rollout={"strategy": "BlueGreen"}, image="b")
    action = planned(other, rolled_out(revision(app, "r1"), app=app))["app"].ready
    assert action.reason == "revision mode Single becomes Multiple"
    assert action.body["properties"].keys() == {"configuration"}
    assert action.body["tags"][tags.APPLIED] == app.tags[tags.APPLIED]
    ingress = {**app.properties["configuration"]["ingress"], "traffic": [{"revisionName": "r1", "weight": 100}]}
    switched = observed.Resource({**app.body, "tags": action.body["tags"]})
    pinned = rolled_out(revision(app, "r1"), app=switched, activeRevisionsMode="Multiple", ingress=ingress)
    following = planned(other, pinned)["app"].ready
    assert (following.reason, following.rolls) == ("changed", True)
    assert following.body["tags"][tags.APPLIED] != app.tags[tags.APPLIED]


def test_what_is_to_serve_is_judged_by_a_revision() -> None:
    """The wanted release, or what was gone back to from it."""
    old, new = wanted.created(OLD), wanted.created(NEW)
    run = template.run_of(new.properties["template"])
    for told, serving, name in (({}, new, "r2"), ({tags.REJECTED: f"{run}:OutOfMemory"}, old, None)):
        live = observed.Resource({**new.body, "tags": {**new.tags, **told}})
        seen = rolled_out(revision(old, "r1"), revision(new, "r2"), app=live)
        one = wanted.subject(NEW, seen)
        assert one.serving == template.run_of(serving.properties["template"])
        assert (one.candidate.name if one.candidate else None) == name


def test_a_failed_write_is_sent_again_as_the_course_has_it() -> None:
    """Beside another revision without a template, and in its place with the one that was gone back to."""
    run = template.run_of(wanted.created(NEW).properties["template"])
    old, told = wanted.created(OLD), {tags.REJECTED: f"{run}:OutOfMemory"}
    failed = {"provisioningState": "Failed"}
    beside = wanted.app(env=[{"name": "MODE", "value": "new"}], rollout={"strategy": "BlueGreen"})
    ingress = {**old.properties["configuration"]["ingress"], "traffic": [{"revisionName": "r1", "weight": 100}]}
    pinned = {"activeRevisionsMode": "Multiple", "ingress": ingress}
    for app, kept, live in ((beside, True, wanted.created(beside)), (NEW, False, old)):
        body = {**wanted.with_properties(live, **failed).body, "systemData": {}, "tags": {**live.tags, **told}}
        body["systemData"] = {"lastModifiedAt": "2026-11-01T00:00:00Z"}
        revisions = (revision(old, "r1"), revision(wanted.created(app), "r2", active=False, healthState="None"))
        order = revisions if kept else revisions[::-1]
        seen = rolled_out(*order, app=observed.Resource(body), **(pinned if kept else {}))
        action = planned(app, seen, rollout.Judged(outcome.Done()))["app"].ready
        assert action.reason == "failed"
        assert ("template" not in action.body["properties"]) is kept
        if not kept:
            assert action.body["properties"]["template"]["revisionSuffix"] is None
