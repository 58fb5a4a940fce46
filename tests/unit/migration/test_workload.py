"""A container app as the spec of an InferenceApp: what is carried over, what stays, what can't be said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from controller.migration import workload
from controller.migration.migrated import Told
from tests.unit.plan.wanted import _laid as laid

SHARE = {"name": "v", "storageType": "AzureFile", "storageName": "mount"}
CONTAINER: Mapping[str, Any] = {
    "name": "chat",
    "image": "docker.io/library/python:3.12",
    "command": ["/bin/bash", "-c", "cd /mount && python app.py"],
    "resources": {"cpu": 0.5, "memory": "1Gi"},
    "volumeMounts": [{"volumeName": "v", "mountPath": "/mount"}],
}


def app(*, containers: Any = None, **properties: Any) -> dict[str, Any]:
    """An app's answer, with `containers`, and with `properties` laid over its others."""
    body = {
        "workloadProfileName": "GPU",
        "configuration": {"activeRevisionsMode": "Single", "ingress": {"external": True, "targetPort": 7860}},
        "template": {"volumes": [SHARE], "scale": None, "terminationGracePeriodSeconds": None},
    }
    body = laid(body, properties)
    body["template"]["containers"] = [CONTAINER] if containers is None else containers
    return {"name": "chat", "properties": body}


def read(body: Mapping[str, Any]) -> tuple[dict[str, Any], Told]:
    told = Told(where=lambda field: field)
    found = workload.read("chat", body, told)
    assert found is not None
    assert told.problems == []
    return found.spec, told


def container(**changed: Any) -> list[dict[str, Any]]:
    return [{**CONTAINER, **changed}]


def test_what_the_service_has_by_default_is_written_down() -> None:
    """No scale, no grace period, no profile: their effective values, and the live scale rules left alone."""
    spec, _ = read(app(workloadProfileName=None))
    assert spec["scale"] == {"minReplicas": 0, "maxReplicas": 10, "concurrentRequests": None}
    assert spec["terminationGracePeriod"] == "30s"
    assert spec["workloadProfileName"] == "Consumption"
    assert (spec["release"], spec["probes"]) == ("Mirror", "Keep")
    assert "env" not in spec
    assert "rollout" not in spec


@pytest.mark.parametrize(
    ("rules", "requests"),
    [
        ([{"name": "a", "http": {"metadata": {"concurrentRequests": "7"}}}], 7),
        ([{"name": "a", "http": {"metadata": {"concurrentRequests": "many"}}}], None),
        ([{"name": "a", "custom": {"type": "cron"}}], None),
    ],
)
def test_only_an_http_rule_is_taken_over(rules: list[Any], requests: int | None) -> None:
    """Others stay as they are, and so does one that can't be said."""
    spec, _ = read(app(template={"scale": {"minReplicas": 1, "maxReplicas": 2, "rules": rules}}))
    assert spec["scale"] == {"minReplicas": 1, "maxReplicas": 2, "concurrentRequests": requests}


def test_secrets_become_references_that_do_not_clash() -> None:
    """Names and variables that a state may have; reserved variables go."""
    env = [
        {"name": "A", "secretRef": "the.key"},
        {"name": "B", "secretRef": "the-key"},
        {"name": "C", "secretRef": "the.key"},
        {"name": "D", "secretRef": "2fa"},
        {"name": "ACAOPS_RELEASE", "value": "x"},
    ]
    spec, told = read(app(containers=container(env=env)))
    assert spec["secrets"] == [
        {"name": "the-key", "fromEnv": "THE_KEY"},
        {"name": "the-key2", "fromEnv": "THE_KEY2"},
        {"name": "2fa", "fromEnv": "_2FA"},
    ]
    assert [one["secretRef"] for one in spec["env"]] == ["the-key", "the-key2", "the-key", "2fa"]
    assert [note for note in told.notes if "ACAOPS_RELEASE is left out" in note]
    assert "set THE_KEY where the controller runs, to the value of the app's secret the.key" in told.warnings


def test_what_the_yaml_can_not_say_yet_is_noted() -> None:
    """It isn't owned, so it stays."""
    ingress = {"ipSecurityRestrictions": [{"name": "office"}]}
    body = app(
        configuration={"registries": [{"server": "x.azurecr.io"}], "ingress": ingress, "dapr": {"enabled": True}},
        template={"initContainers": [{"name": "first"}]},
    )
    _, told = read(body | {"identity": {"type": "SystemAssigned"}})
    kept = [note.partition(":")[0] for note in told.notes]
    assert kept == ["identity", "registries", "ingress.ipSecurityRestrictions", "dapr", "initContainers"]


def test_of_several_shares_one_is_taken() -> None:
    """The first; the warning says that the others stay."""
    volumes = [SHARE, {**SHARE, "name": "w"}, {"name": "tmp", "storageType": "EmptyDir"}]
    mounts = [{"volumeName": name, "mountPath": f"/{name}"} for name in ("tmp", "v", "w")]
    spec, told = read(app(containers=container(volumeMounts=mounts), template={"volumes": volumes}))
    assert spec["mountPath"] == "/v"
    assert [warning for warning in told.warnings if "of 2 mounted shares /v is taken" in warning]


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (app(containers=[]), "containers", "no container"),
        (app(containers=[{"name": "a"}, {"name": "b"}]), "containers", "2 containers (a, b), and none is called chat"),
        (app(containers=container(volumeMounts=[])), "volumeMounts", "no Azure Files share is mounted"),
        (
            app(containers=container(volumeMounts=[{"volumeName": "v", "mountPath": "/m", "subPath": "x"}])),
            "subPath",
            "shows only 'x' of the share",
        ),
        (app(template={"volumes": [{**SHARE, "storageType": "NfsAzureFile"}]}), "volumeMounts", "no Azure Files share"),
        (app(containers=container(command=None, args=["serve"])), "command", "the image's own command"),
        (app(configuration={"ingress": None}), "ingress", "has no ingress"),
        (app(configuration={"ingress": {"targetPort": 0}}), "targetPort", "has the target port 0"),
        (app(configuration={"activeRevisionsMode": "Multiple"}), "activeRevisionsMode", "the revision mode Multiple"),
        (
            app(configuration={"ingress": {"traffic": [{"weight": 100, "revisionName": "chat--1"}]}}),
            "traffic",
            "traffic goes by revision",
        ),
        (
            app(
                containers=container(env=[{"name": "A", "secretRef": "vaulted"}]),
                configuration={"secrets": [{"name": "vaulted", "keyVaultUrl": "https://x"}]},
            ),
            "secretRef",
            "secret vaulted lies in a Key Vault",
        ),
        (app(containers=container(resources={})), "cpu", "cpu isn't known"),
        (app(containers=container(image="")), "image", "image isn't known"),
    ],
)
def test_what_acaops_could_not_run_is_refused(body: Mapping[str, Any], field: str, says: str) -> None:
    """With the field and the reason."""
    told = Told(where=lambda field: field)
    workload.read("chat", body, told)
    assert told.problems
    assert told.problems[0].startswith(f"{field}: ")
    assert says in told.problems[0]


def test_the_container_called_as_the_app_is_taken() -> None:
    """Beside others, which stay as they are."""
    spec, _ = read(app(containers=[{"name": "proxy"}, *container(name="Chat")]))
    assert spec["image"] == CONTAINER["image"]
