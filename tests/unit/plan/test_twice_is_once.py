"""Whatever is wanted and whatever somebody did: one update makes it so, and there is nothing left to write."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model import observed
from tests.unit.plan import wanted

IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull"
STACK = wanted.stack()
POINTERS = (
    "/properties/template/scale/maxReplicas",
    "/properties/template/scale",
    "/properties/template/containers/phi3/env/A",
    "/properties/template/containers/0/env/THEIRS",
    "/properties/template/containers/0/image",
    "/properties/template/containers/0/probes",
    "/properties/configuration/ingress/external",
    "/properties/configuration/ingress/traffic/0",
    "/tags/team",
    "/identity",
)

SPECS = st.fixed_dictionaries(
    {},
    optional={
        "image": st.sampled_from(["a:1", "b:2"]),
        "env": st.dictionaries(st.sampled_from("ABC"), st.sampled_from(["1", "2", ""])).map(
            lambda named: [{"name": name, "value": value} for name, value in named.items()]
        ),
        "scale": st.sampled_from([{"maxReplicas": 3}, {"minReplicas": 0}, {"concurrentRequests": None}]),
        "ingress": st.sampled_from([{"external": False}, {"targetPort": 8000}]),
        "tags": st.dictionaries(st.sampled_from(["team", "Cost"]), st.sampled_from(["x", "y"])),
        "identity": st.sampled_from([{"type": "SystemAssigned"}, {"type": "UserAssigned", "userAssigned": [IDENTITY]}]),
        "probes": st.just("Keep"),
        "rollout": st.just({"check": {}}),
        "mountPath": st.just("/data"),
        "ignore": st.lists(st.sampled_from(POINTERS), max_size=3),
    },
)

EDITS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"tags": {"team": "theirs", "more": "1"}},
        {"tags": {"TEAM": "theirs"}},
        {"tags": {"acaops-applied": None}},
        {"identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY.upper(): {}, "/other": {}}}},
        {"properties": {"template": {"scale": {"maxReplicas": 9, "rules": None}}}},
        {"properties": {"template": {"scale": None}}},
        {"properties": {"template": {"containers": [{"name": "one", "image": "x"}, {"name": "two", "image": "y"}]}}},
        {"properties": {"template": {"volumes": None, "revisionSuffix": "v1"}}},
        {"properties": {"configuration": {"ingress": {"external": False, "traffic": None, "transport": "Http2"}}}},
        {"properties": {"configuration": {"ingress": None}}},
        {"properties": {"configuration": {"registries": [{"server": "theirs.io", "username": "u"}]}}},
        {"properties": {"workloadProfileName": None}},
        "env",
    ]
)


def laid(body: Any, patch: Any) -> Any:
    """A merge patch, as the service applies it."""
    if not isinstance(patch, Mapping):
        return patch
    base = dict(body) if isinstance(body, Mapping) else {}
    base |= {key: laid(base.get(key), value) for key, value in patch.items()}
    return {key: value for key, value in base.items() if value is not None or key in ("scale", "ingress")}


def edited(live: observed.Resource, edit: Any) -> observed.Resource:
    body = copy.deepcopy(dict(live.body))
    if edit != "env":
        return observed.Resource(laid(body, edit))
    for container in body["properties"]["template"]["containers"]:
        container["env"] = [{"name": "THEIRS", "value": "1"}, *container.get("env", [])[1:]]
    return observed.Resource(body)


@settings(deadline=None)
@given(SPECS, SPECS, EDITS, EDITS)
def test_one_update_is_enough(before: dict[str, Any], after: dict[str, Any], one: Any, two: Any) -> None:
    """From any spec to any other, over two edits of somebody else."""
    live = edited(edited(wanted.created(wanted.app(**before), seen=STACK), one), two)
    app = wanted.app(**after)

    first = wanted.plan_app(app, wanted.workload_of(live, seen=STACK)).steps[1]
    there = observed.Resource(laid(live.body, first.ready.body if first.ready else {}))
    second = wanted.plan_app(app, wanted.workload_of(there, seen=STACK)).steps[1]

    assert first.blocked is None
    assert second.action is None
