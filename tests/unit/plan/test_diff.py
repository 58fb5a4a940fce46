"""Owned fields against live ones: what differs, what is sent, and what of others stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from controller.plan import actions, diff
from tests.unit import answers

PUT = answers.app_sent()["properties"]
GET = answers.app()["properties"]


def paths(wanted: Any, live: Any) -> dict[str, tuple[Any, Any]]:
    return {change.path: (change.before, change.after) for change in diff.changes(wanted, live)}


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        pytest.param({"location": "eastus"}, {"location": "East US"}, id="region"),
        pytest.param({"location": "northcentralusstage"}, {"location": "North Central US (Stage)"}, id="staged region"),
        pytest.param(
            {"environmentId": "/a/managedEnvironments/E"}, {"environmentId": "/a/managedenvironments/e"}, id="id"
        ),
        pytest.param({"activeRevisionsMode": "single"}, {"activeRevisionsMode": "Single"}, id="mode"),
        pytest.param({"transport": "auto"}, {"transport": "Auto"}, id="transport"),
        pytest.param({"workloadProfileName": "GPU"}, {"workloadProfileName": "gpu"}, id="profile name"),
        pytest.param({"memory": "1.0Gi"}, {"memory": "1Gi"}, id="memory"),
        pytest.param({"cpu": 24}, {"cpu": 24.0}, id="cpu"),
        pytest.param({"cpu": 0.5}, {"cpu": 0.500}, id="cpu of a revision"),
        pytest.param({"secrets": []}, {"secrets": None}, id="no secrets"),
        pytest.param({"registries": None}, {}, id="null and absent"),
        pytest.param({"identity": ""}, {"identity": None}, id="empty and null"),
        pytest.param({"external": False}, {}, id="false and absent"),
        pytest.param({"workloadProfileName": "Consumption"}, {"workloadProfileName": None}, id="no profiles at all"),
        pytest.param({"minReplicas": 0}, {"minReplicas": None}, id="zero and null"),
        pytest.param({"terminationGracePeriodSeconds": 30}, {}, id="the platform's grace period"),
        pytest.param(
            {"tcpSocket": {"port": 80}, "httpGet": None}, {"tcpSocket": {"port": 80}}, id="asked to be absent"
        ),
        pytest.param(
            {"traffic": [{"revisionName": None, "weight": 100, "latestRevision": True, "label": None}]},
            {"traffic": [{"weight": 100, "latestRevision": True}]},
            id="traffic's falsy members",
        ),
        pytest.param(
            {"traffic": [{"revisionName": "a--1", "weight": 100, "latestRevision": False}]},
            {"traffic": [{"revisionName": "a--1", "weight": 100}]},
            id="traffic's false",
        ),
        pytest.param(
            {"workloadProfiles": [{"name": "GPU", "workloadProfileType": "CONSUMPTION-GPU-NC8AS-T4"}]},
            {
                "workloadProfiles": [
                    {"name": "Consumption", "workloadProfileType": "Consumption", "enableFips": False},
                    {"name": "gpu", "workloadProfileType": "Consumption-GPU-NC8as-T4", "enableFips": False},
                ]
            },
            id="profiles",
        ),
        pytest.param(
            {"secrets": [{"name": "a", "value": SecretStr("x")}]}, {"secrets": [{"name": "a"}]}, id="a secret's value"
        ),
        pytest.param({"accountKey": actions.Lookup("account-key", "/a")}, {}, id="a key that is never returned"),
        pytest.param({"env": [{"name": "A", "value": ""}]}, {"env": [{"name": "A"}]}, id="an empty variable"),
        pytest.param({"env": []}, {"env": None}, id="no variables"),
        pytest.param({"probes": []}, {}, id="no probes"),
    ],
)
def test_what_means_the_same_is_no_change(wanted: Any, live: Any) -> None:
    """The service's own spelling of what was sent."""
    assert diff.changes(wanted, live) == ()
    assert diff.patch(wanted, live) == {}


@pytest.mark.parametrize(
    ("wanted", "live", "found"),
    [
        pytest.param({"image": "a:2"}, {"image": "a:1"}, {"image": ("a:1", "a:2")}, id="text"),
        pytest.param({"image": "a:B"}, {"image": "a:b"}, {"image": ("a:b", "a:B")}, id="text keeps its case"),
        pytest.param({"external": False}, {"external": True}, {"external": (True, False)}, id="boolean"),
        pytest.param({"external": True}, {}, {"external": (None, True)}, id="true isn't absent"),
        pytest.param(
            {"workloadProfileName": "Consumption"},
            {"workloadProfileName": "GPU"},
            {"workloadProfileName": ("GPU", "Consumption")},
            id="another profile",
        ),
        pytest.param({"weight": 1}, {"weight": True}, {"weight": (True, 1)}, id="a number is no boolean"),
        pytest.param({"memory": "2Gi"}, {"memory": "1Gi"}, {"memory": ("1Gi", "2Gi")}, id="memory"),
        pytest.param({"failureThreshold": 0}, {}, {"failureThreshold": (None, 0)}, id="zero where it counts"),
        pytest.param(
            {"terminationGracePeriodSeconds": 30},
            {"terminationGracePeriodSeconds": 0},
            {"terminationGracePeriodSeconds": (0, 30)},
            id="a grace period of none",
        ),
        pytest.param(
            {"command": ["a", "b"]}, {"command": ["a"]}, {"command": (["a"], ["a", "b"])}, id="lists by position"
        ),
        pytest.param(
            {"traffic": [{"weight": 100, "latestRevision": True}]},
            {"traffic": [{"weight": 100, "latestRevision": True, "label": "blue"}]},
            {
                "traffic": (
                    [{"weight": 100, "latestRevision": True, "label": "blue"}],
                    [{"weight": 100, "latestRevision": True}],
                )
            },
            id="more than was asked for in a list that is ours",
        ),
        pytest.param(
            {"ingress": {"targetPort": 80}}, {"ingress": None}, {"ingress.targetPort": (None, 80)}, id="nested"
        ),
        pytest.param(
            {"containers": [{"name": "Main", "image": "b"}]},
            {"containers": [{"name": "side", "image": "s"}, {"name": "main", "image": "a"}]},
            {"containers[Main].image": ("a", "b")},
            id="by name, without case",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "storageName": "s"}]},
            {"volumes": None},
            {"volumes[v]": (None, {"name": "v", "storageName": "s"})},
            id="a missing entry",
        ),
        pytest.param(
            {"probes": [{"type": "Readiness", "tcpSocket": {"port": 80}, "httpGet": None}]},
            {"probes": [{"type": "readiness", "httpGet": {"path": "/", "port": 80}}]},
            {
                "probes[Readiness].tcpSocket.port": (None, 80),
                "probes[Readiness].httpGet": ({"path": "/", "port": 80}, None),
            },
            id="the other way to ask",
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "secretRef": "s"}]},
            {"env": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}, {"name": "A", "value": "1"}]},
            {"env[B]": ("2", {"secretRef": "s"}), "env[C]": ("3", None)},
            id="variables: ours alone, in any order",
        ),
        pytest.param({"env": [{"name": "A", "value": ""}]}, {}, {"env[A]": (None, "")}, id="a missing variable"),
    ],
)
def test_what_means_something_else_is_a_change(wanted: Any, live: Any, found: dict[str, Any]) -> None:
    """Path, before and after; nothing that isn't owned is looked at."""
    assert paths(wanted, live) == found
    assert paths({"properties": wanted}, {"properties": live}) == {f"properties.{key}": v for key, v in found.items()}


def test_a_put_is_what_its_get_says() -> None:
    """Sending again what the service was sent changes nothing it keeps."""
    owned = {
        "environmentId": PUT["environmentId"],
        "configuration": {
            **PUT["configuration"],
            "ingress": {k: v for k, v in PUT["configuration"]["ingress"].items() if k != "fqdn"},
        },
        "template": {
            "containers": [{**c, "resources": {"cpu": 1, "memory": "2.0Gi"}} for c in PUT["template"]["containers"]],
            "volumes": PUT["template"]["volumes"],
        },
    }
    del owned["configuration"]["maxInactiveRevisions"], owned["configuration"]["ingress"]["exposedPort"]

    assert diff.changes(owned, GET) == ()


def test_a_patch_is_the_one_field_that_differs() -> None:
    """The mount's sub-path and the volume's options, each in a whole array."""
    sent = answers.app_patch()["properties"]["template"]
    wanted = {
        "containers": [{"name": answers.CONTAINER, "volumeMounts": sent["containers"][0]["volumeMounts"]}],
        "volumes": sent["volumes"],
    }

    assert set(paths(wanted, GET["template"])) == {
        f"containers[{answers.CONTAINER}].volumeMounts[/mount].subPath",
        "volumes[content].mountOptions",
    }
    after = answers.app_rolling_out()["properties"]["template"]
    assert diff.changes(wanted, after) == ()


def test_a_profile_is_added_beside_the_others() -> None:
    """The whole array goes out, live spelling and foreign entries kept."""
    live = answers.environment()["properties"]
    wanted = {
        "workloadProfiles": [
            {"name": "GPU", "workloadProfileType": "NC24-A100"},
            {"name": "t4", "workloadProfileType": "T4"},
        ]
    }

    assert diff.patch(wanted, live) == {
        "workloadProfiles": [
            {"workloadProfileType": "Consumption", "name": "Consumption"},
            {"workloadProfileType": "NC24-A100", "name": "gpu", "minimumCount": 1, "maximumCount": 1},
            {"name": "t4", "workloadProfileType": "T4"},
        ]
    }


@pytest.mark.parametrize(
    ("key", "wanted", "live", "sent"),
    [
        pytest.param(
            "containers",
            [{"name": "main", "image": "b", "env": [{"name": "A", "value": "1"}], "args": None}],
            [
                {"name": "side", "image": "s", "resources": {"cpu": 1}},
                {
                    "name": "main",
                    "image": "a",
                    "imageType": "ContainerImage",
                    "args": ["x"],
                    "env": [{"name": "B", "value": "2"}],
                    "resources": {"cpu": 2.0, "ephemeralStorage": "8Gi"},
                },
            ],
            [
                {"name": "side", "image": "s", "resources": {"cpu": 1}},
                {
                    "name": "main",
                    "image": "b",
                    "env": [{"name": "A", "value": "1"}],
                    "resources": {"cpu": 2.0, "ephemeralStorage": "8Gi"},
                },
            ],
            id="a sidecar and unowned fields stay, foreign variables go",
        ),
        pytest.param(
            "workloadProfiles",
            [{"name": "a", "workloadProfileType": "D4"}],
            [{"name": "a", "workloadProfileType": "D4", "enableFips": True}],
            [{"name": "a", "workloadProfileType": "D4", "enableFips": True}],
            id="what somebody set stays",
        ),
        pytest.param(
            "volumeMounts",
            [{"mountPath": "/mount", "volumeName": "v", "subPath": None}],
            [
                {"mountPath": "/models", "volumeName": "v", "subPath": "models"},
                {"mountPath": "/mount", "volumeName": "other", "subPath": "x"},
            ],
            [
                {"mountPath": "/models", "volumeName": "v", "subPath": "models"},
                {"mountPath": "/mount", "volumeName": "v"},
            ],
            id="one mount to a path, the volume's others stay",
        ),
        pytest.param(
            "volumeMounts",
            [{"mountPath": "/data", "volumeName": "v"}],
            [{"mountPath": "/mount", "volumeName": "v"}],
            [{"mountPath": "/data", "volumeName": "v"}],
            id="a mount that moves leaves nothing behind",
        ),
        pytest.param(
            "volumeMounts",
            [{"mountPath": "/Mount", "volumeName": "v"}],
            [{"mountPath": "/mount", "volumeName": "w"}],
            [{"mountPath": "/mount", "volumeName": "w"}, {"mountPath": "/Mount", "volumeName": "v"}],
            id="paths have case",
        ),
        pytest.param("secrets", [{"name": "a"}], None, [{"name": "a"}], id="nothing there"),
        pytest.param(
            "volumes",
            [{"name": "a"}],
            ["odd", {"storageName": "n"}],
            ["odd", {"storageName": "n"}, {"name": "a"}],
            id="odd entries stay",
        ),
        pytest.param("rules", ["odd"], [{"name": "a"}], ["odd"], id="without names a list is replaced"),
        pytest.param(
            "secrets",
            [{"name": "a", "x": 1}, {"name": "a", "x": 1}],
            [{"name": "a", "x": 2}, {"name": "a", "x": 3}, {"name": "a", "x": 4}],
            [{"name": "a", "x": 1}, {"name": "a", "x": 1}, {"name": "a", "x": 4}],
            id="one for one",
        ),
    ],
)
def test_a_list_goes_out_whole(key: str, wanted: Any, live: Any, sent: Any) -> None:
    """Laid over what is there, in its order; and then there is nothing left to change."""
    assert diff.merged(wanted, live, key=key) == sent
    assert diff.changes({key: wanted}, {key: sent}) == ()


def test_no_secret_is_shown() -> None:
    """Neither a value nor what stands for one."""
    wanted = {
        "secrets": [{"name": "a", "value": SecretStr("hunter2")}],
        "list": [SecretStr("hunter2"), actions.Lookup("account-key", "/a", "hunter2")],
    }

    shown = repr(diff.changes(wanted, {}))

    assert "hunter2" not in shown
    assert paths(wanted, {}) == {
        "secrets[a]": (None, {"name": "a", "value": "(secret)"}),
        "list": (None, ["(secret)", "(secret)"]),
    }


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(0, 9), st.sampled_from(["", "a", "A", "1.0Gi", "West US"])
)
KEYS = st.sampled_from(
    [
        *diff.KEYED,
        "env",
        "name",
        "type",
        "mountPath",
        "volumeName",
        "value",
        "memory",
        "location",
        "weight",
        "imageType",
        "x",
    ]
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
NAMED = st.builds(
    lambda names, more: {**more, **names},
    st.fixed_dictionaries(
        {key: st.sampled_from(["a", "A", "b"]) for key in ("name", "type", "mountPath", "volumeName")}
    ),
    st.dictionaries(KEYS, JSON, max_size=3),
)
OBJECTS = st.dictionaries(KEYS, JSON | st.lists(NAMED, max_size=4), max_size=5)


@given(wanted=OBJECTS, live=OBJECTS)
def test_what_was_written_needs_no_second_write(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    """For any two JSON objects: the merged value has no change left, and neither has what a merge patch makes."""
    assert diff.changes(wanted, diff.merged(wanted, live)) == ()
    assert diff.changes(wanted, patched(live, diff.patch(wanted, live))) == ()


@given(wanted=OBJECTS, live=OBJECTS)
def test_a_patch_is_empty_exactly_where_nothing_differs(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    """No write for nothing, and no change without a write."""
    assert bool(diff.patch(wanted, live)) == bool(diff.changes(wanted, live))


def patched(live: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    base = {**live} if isinstance(live, dict) else {}
    for key, value in patch.items():
        base[key] = patched(base.get(key), value)
        if value is None:
            del base[key]
    return base
