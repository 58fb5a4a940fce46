"""`ignore`: what is left to other writers is sent once, then neither compared nor lost nor counted."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model import observed, tags
from controller.plan import actions, ignoring, template
from tests.unit.plan import wanted

CONTAINER = "/properties/template/containers/phi3"


def step(app: Any, live: observed.Resource) -> actions.Step:
    return wanted.plan_app(app, wanted.workload_of(live)).steps[1]


def container(body: Any) -> dict[str, Any]:
    return dict(body["properties"]["template"]["containers"][0])


def env(body: Any) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(body)["env"]}


def edited(live: observed.Resource, **changed: Any) -> observed.Resource:
    """Somebody changed parts of the only container."""
    (one,) = live.properties["template"]["containers"]
    return wanted.with_properties(live, template={"containers": [{**one, **changed}]})


def test_an_ignored_field_is_sent_at_creation() -> None:
    """Somebody must begin."""
    app = wanted.app(scale={"maxReplicas": 5}, ignore=["/properties/template/scale/maxReplicas"])

    assert wanted.created(app).properties["template"]["scale"]["maxReplicas"] == 5


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/properties/template/scale/maxReplicas", {"template": {"scale": {"maxReplicas": 9}}}),
        ("/properties/template/scale", {"template": {"scale": {"maxReplicas": 9, "minReplicas": 3}}}),
        ("/properties/template/scale/rules/http/http", {"template": {"scale": {"rules": [{"name": "http"}]}}}),
        ("/properties/template/scale/rules/0", {"template": {"scale": {"rules": None}}}),
        ("/properties/configuration/ingress", {"configuration": {"ingress": {"external": False, "targetPort": 1}}}),
        (
            "/properties/configuration/ingress/traffic/0/weight",
            {"configuration": {"ingress": {"traffic": [{"weight": 50, "latestRevision": True}]}}},
        ),
        ("/properties/configuration/ingress/traffic/0", {"configuration": {"ingress": {"traffic": []}}}),
        ("/properties/workloadProfileName", {"workloadProfileName": "T4"}),
    ],
)
def test_what_somebody_changes_there_stays(pointer: str, change: dict[str, Any]) -> None:
    """No drift, no write; without the pointer it would be both."""
    app = wanted.app(ignore=[pointer])
    live = wanted.with_properties(wanted.created(app), **change)

    assert step(app, live).action is None
    assert step(wanted.app(), wanted.with_properties(wanted.created(wanted.app()), **change)).action is not None


def test_tags_are_left_by_name() -> None:
    """Azure's casing or ours; a removed one stays away."""
    app = wanted.app(tags={"team": "chat", "cost": "1"}, ignore=["/tags/TEAM", "/tags/other"])
    live = wanted.created(app)

    assert live.tags["team"] == "chat"
    assert step(app, wanted.with_tags(live, team="other")).action is None
    assert step(app, wanted.with_tags(live, team=None)).action is None
    assert step(app, wanted.with_tags(live, cost=None)).action is not None


@pytest.mark.parametrize("pointer", [f"{CONTAINER}/env/LOG", "/properties/template/containers/0/env/1/value"])
def test_a_variable_keeps_its_live_value_when_another_changes(pointer: str) -> None:
    """The array around it goes out whole, with what is live in it."""
    spec = [{"name": "A", "value": "1"}, {"name": "LOG", "value": "info"}]
    live = wanted.created(wanted.app(env=spec, ignore=[pointer]))
    there = [
        {"name": "LOG", "value": "debug"} if one["name"] == "LOG" else one
        for one in live.properties["template"]["containers"][0]["env"]
    ]
    live = edited(live, env=there)

    assert step(wanted.app(env=spec, ignore=[pointer]), live).action is None
    action = step(wanted.app(env=[{"name": "A", "value": "2"}, spec[1]], ignore=[pointer]), live).ready
    assert action is not None
    assert {**env(action.body), "ACAOPS_RELEASE": ""} == {"A": "2", "LOG": "debug", "ACAOPS_RELEASE": ""}


def test_a_variable_of_others_stays() -> None:
    """The container's env is wholly ours but for what is ignored, whether the YAML has it or not."""
    app = wanted.app(ignore=[f"{CONTAINER}/env/AGENT_KEY", f"{CONTAINER}/env/GONE"])
    live = wanted.created(app)
    there = live.properties["template"]["containers"][0]["env"]
    live = edited(live, env=[*there, {"name": "AGENT_KEY", "value": "k"}])

    assert step(app, live).action is None
    assert step(wanted.app(), live).action is not None
    changed = step(wanted.app(image="b", ignore=list(app.spec.ignore)), live).ready
    assert changed is not None
    assert env(changed.body)["AGENT_KEY"] == "k"


def test_a_variable_is_ignored_as_a_whole() -> None:
    """Who owns its value may keep it in a secret."""
    app = wanted.app(env=[{"name": "LOG", "value": "info"}], ignore=[f"{CONTAINER}/env/LOG/value"])
    live = wanted.created(app)
    there = live.properties["template"]["containers"][0]["env"]
    live = edited(live, env=[{"name": "LOG", "secretRef": "theirs"}, *there[1:]])

    assert step(app, live).action is None


def test_an_ignored_variable_that_was_removed_stays_away() -> None:
    """Who owns it took it away."""
    app = wanted.app(env=[{"name": "LOG", "value": "info"}], ignore=[f"{CONTAINER}/env/LOG"])
    live = wanted.created(app)
    there = [one for one in live.properties["template"]["containers"][0]["env"] if one["name"] != "LOG"]

    assert step(app, edited(live, env=there)).action is None


def test_the_image_may_be_somebody_elses() -> None:
    """One who deploys images by hand: what is live goes out with a change of the rest."""
    app = wanted.app(ignore=[f"{CONTAINER}/image"])
    live = edited(wanted.created(app), image="docker.io/theirs:2")

    assert step(app, live).action is None
    action = step(wanted.app(ignore=list(app.spec.ignore), resources={"cpu": 12, "memory": "110Gi"}), live).ready
    assert action is not None
    assert container(action.body)["image"] == "docker.io/theirs:2"


def test_what_is_made_anew_is_made_whole() -> None:
    """A container or an object that isn't there at all has nothing of others in it."""
    app = wanted.app(ignore=[f"{CONTAINER}/image", "/properties/configuration/ingress/external"])
    live = wanted.with_properties(
        wanted.created(app),
        template={"containers": [{"name": "one", "image": "x"}, {"name": "two", "image": "y"}]},
        configuration={"ingress": None},
    )

    action = step(app, live).ready

    assert action is not None
    ours = action.body["properties"]["template"]["containers"][2]
    assert (ours["name"], ours["image"]) == ("phi3", app.spec.image)
    assert action.body["properties"]["configuration"]["ingress"]["external"] is True


@pytest.mark.parametrize(
    ("pointer", "one", "other"),
    [
        ("/properties/template/scale/maxReplicas", {"scale": {"maxReplicas": 2}}, {"scale": {"maxReplicas": 3}}),
        (f"{CONTAINER}/env/A", {"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}),
        (f"{CONTAINER}/env/A", {"env": [{"name": "A", "value": "1"}]}, {"env": []}),
        ("/tags/team", {"tags": {"team": "a"}}, {"tags": {"team": "b"}}),
        (
            f"{CONTAINER}/resources/cpu",
            {"resources": {"cpu": 1, "memory": "9Gi"}},
            {"resources": {"cpu": 2, "memory": "9Gi"}},
        ),
    ],
)
def test_changing_it_alone_changes_nothing(pointer: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Neither the release nor the record of what is owned; so no revision and no write."""
    before, after = wanted.app(**one, ignore=[pointer]), wanted.app(**other, ignore=[pointer])
    live, fresh = wanted.created(before), wanted.created(after)

    assert step(after, live).action is None
    assert live.tags[tags.APPLIED] == fresh.tags[tags.APPLIED]
    assert template.release_of(live.properties["template"]) == template.release_of(fresh.properties["template"])


def test_what_is_drift_stays_drift() -> None:
    """An ignored field that differs doesn't turn it into a change, nor into what is sent."""
    app = wanted.app(ignore=["/properties/template/scale/maxReplicas"])
    live = wanted.with_properties(
        wanted.created(app), template={"scale": {"maxReplicas": 9}}, configuration={"ingress": {"external": False}}
    )

    action = step(app, live).ready

    assert action is not None
    assert action.reason == "drift"
    assert action.body["properties"] == {"configuration": {"ingress": {"external": True}}}


BODY = {
    "properties": {
        "template": {
            "containers": [{"name": "one", "args": ["a", "b"]}, {"name": "two"}],
            "volumeMounts": [{"mountPath": "/a", "volumeName": "v"}],
        }
    }
}


@pytest.mark.parametrize(
    "pointer",
    [
        "/properties/template/nothing/deeper",
        "/properties/template/containers/2/image",
        "/properties/template/containers/three/image",
        "/properties/template/containers/one/args/x",
        "/properties/template/containers/one/args/0/deeper",
        "/properties/template/containers/one/name/deeper",
        "/identity/type",
    ],
)
def test_a_pointer_to_nothing_of_ours_has_no_effect(pointer: str) -> None:
    """Nothing is added and nothing is lost."""
    path = tuple(pointer.split("/")[1:])
    live = {"identity": {"type": "SystemAssigned"}, "properties": {"template": {"containers": BODY}}}

    assert ignoring.laid(BODY, live, [path]) == BODY
    assert ignoring.without(BODY, [path]) == BODY


def test_positions_are_those_of_the_wanted_list() -> None:
    """Also after an earlier one is gone; an entry that is ignored twice is ignored."""
    at = ("properties", "template", "containers")
    args = [(*at, "0", "args", "0"), (*at, "0", "args", "1"), (*at, "two"), (*at, "1"), (*at, "1", "name")]

    left = ignoring.without(BODY, args)["properties"]["template"]

    assert left["containers"] == [{"name": "one", "args": []}]


def test_entries_are_paired_as_they_are_compared() -> None:
    """By any name they have, whatever the position."""
    live = {
        "properties": {
            "template": {
                "containers": [{"name": "TWO", "image": "t"}, {"name": "one", "args": ["x"]}],
                "volumeMounts": [{"mountPath": "/b", "volumeName": "v"}],
            }
        }
    }
    at = ("properties", "template")
    paths = [(*at, "containers", "one", "args", "1"), (*at, "volumeMounts", "v"), (*at, "containers", "0", "args", "0")]

    laid = ignoring.laid(BODY, live, paths)["properties"]["template"]

    assert laid["containers"] == [{"name": "one", "args": ["x"]}, {"name": "two"}]
    assert laid["volumeMounts"] == [{"mountPath": "/b", "volumeName": "v"}]
