"""The Bicep that starts a stack by hand, and its parameters files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.model import content, desired, identity, observed, tags
from controller.model.kinds import Kind
from controller.plan import actions, planner, template, workload
from tests.unit.infra import bicep

INFRA = Path(__file__).parents[3] / "infra"
PROVISION = INFRA / "provision"
FILES = sorted(INFRA.rglob("*.bicep"))
GROUP = bicep.Group("00000000-0000-0000-0000-000000000000", "rg-phi3")
ANSWERS: dict[str, dict[str, Any]] = {
    "account": {"listKeys()": {"keys": [{"value": "key one"}]}},
    "workspace": {"properties": {"customerId": "a guid"}, "listKeys()": {"primarySharedKey": "a key"}},
    "app": {"properties": {"configuration": {"ingress": {"fqdn": "app.example"}}}},
}
SCOPE = planner.Scope("default")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENVIRONMENT = desired.Environment.model_validate(
    {
        "apiVersion": "acaops/v1",
        "kind": "Environment",
        "metadata": {"name": "e"},
        "spec": {
            "subscriptionId": GROUP.subscription,
            "resourceGroup": GROUP.name,
            "location": "westus3",
            "containerApps": {
                "workloadProfiles": [{"name": "GPU", "type": "NC24-A100", "minimumCount": 0, "maximumCount": 2}]
            },
        },
    }
)


def parameters(name: str) -> dict[str, Any]:
    document = json.loads((PROVISION / f"{name}.parameters.json").read_text())
    return {key: given["value"] for key, given in document["parameters"].items()}


def provisioned(**changed: Any) -> bicep.Deployment:
    given = parameters("inference") | {"location": "westus3"} | changed
    return bicep.deploy(bicep.read(PROVISION / "inference.bicep"), group=GROUP, parameters=given, answers=ANSWERS)


def live(deployment: bicep.Deployment, symbol: str, *, resource_id: str) -> observed.Resource:
    """What ARM would answer for the resource, in the id that the plan looks it up by."""
    made = deployment.resource(symbol)
    properties = dict(made.body.get("properties", {})) | {"provisioningState": "Succeeded"}
    assert made.body["name"] == resource_id.rsplit("/", 1)[-1]
    assert f"/{made.type.rsplit('/', 1)[-1]}/" in resource_id
    return observed.Resource({"id": resource_id, **made.body, "properties": properties})


def stack(deployment: bicep.Deployment, ids: identity.Ids) -> observed.Stack:
    return observed.Stack(
        group=observed.Resource({"id": ids.group, "name": GROUP.name, "location": "westus3"}),
        account=live(deployment, "account", resource_id=ids.account),
        file_service=live(deployment, "fileService", resource_id=ids.file_service),
        share=live(deployment, "share", resource_id=ids.share),
        workspace=live(deployment, "workspace", resource_id=ids.workspace),
        environment=live(deployment, "managedEnvironment", resource_id=ids.environment),
        storage=live(deployment, "environmentStorage", resource_id=ids.storage(ids.names.storage)),
        keys=("digest one", "digest two"),
    )


def app(**spec: Any) -> desired.InferenceApp:
    head = {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": "a"}}
    image = "docker.io/pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime"
    needed = {"environmentRef": "e", "image": image, "commands": parameters("inference")["defaultCommands"]}
    return desired.InferenceApp.model_validate(head | {"spec": needed | spec})


def plain(value: Any) -> Any:
    """With a mark in place of what is known only in Azure: keys, and the workspace's id."""
    if isinstance(value, Mapping):
        unknown = ("accountKey", "sharedKey", "customerId")
        return {key: "known in Azure" if key in unknown else plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def paths(changes: tuple[actions.Change, ...]) -> set[str]:
    return {change.path for change in changes}


def created_stack(ids: identity.Ids) -> dict[Kind, Mapping[str, Any]]:
    """What acaops sends for an Environment of which nothing is there."""
    group = observed.Resource({"id": ids.group, "name": GROUP.name, "location": "westus3"})
    plan = planner.environment(ENVIRONMENT, scope=SCOPE, ids=ids, seen=observed.Stack(group=group), now=NOW)
    return {step.kind: step.action.body for step in plan.steps if step.action and step.action.body}


def created_app(deployment: bicep.Deployment, ids: identity.Ids) -> Mapping[str, Any]:
    """What acaops sends for an InferenceApp without content on that stack."""
    seen = observed.Workload(stack(deployment, ids), published=observed.Published())
    nothing = workload.Release(content.Content((), ()), {})
    one = planner.subject(app(), stands_on=ENVIRONMENT, scope=SCOPE, ids=ids, seen=seen, release=nothing, now=NOW)
    plan = planner.app(one, scope=SCOPE, course=one.course(None))
    (body,) = (step.action.body for step in plan.steps if step.action and step.kind is Kind.APP)
    assert body is not None
    return body


SYMBOLS = {
    Kind.ACCOUNT: "account",
    Kind.SHARE: "share",
    Kind.WORKSPACE: "workspace",
    Kind.ENVIRONMENT: "managedEnvironment",
    Kind.STORAGE: "environmentStorage",
}


def test_both_make_the_same_resources() -> None:
    """Every resource of the file is one that acaops creates, and the other way round; the file service is every
    account's own."""
    ids, deployment = identity.ids(ENVIRONMENT), provisioned()
    declared = {each.type: each.existing for each in deployment.resources}
    assert len(declared) == len(deployment.resources)
    assert declared == dict.fromkeys([*SYMBOLS, Kind.APP], False) | {Kind.FILE_SERVICE: True}
    assert created_stack(ids).keys() == {*SYMBOLS, Kind.FILE_SERVICE}
    assert created_app(deployment, ids)


@pytest.mark.parametrize("kind", SYMBOLS, ids=lambda kind: kind.label)
def test_stack_is_what_acaops_creates(kind: Kind) -> None:
    """Property by property, none more and none less, but for acaops' own tags."""
    made = provisioned().resource(SYMBOLS[kind])
    assert made.type == kind
    body = {key: value for key, value in created_stack(identity.ids(ENVIRONMENT))[kind].items() if key != "tags"}
    assert plain(made.body) == plain({"name": made.body["name"], **body})


def test_app_is_what_acaops_creates() -> None:
    """Property by property, but for acaops' own tags, the release in the environment, and the command, which acaops
    makes for its own way of publishing."""
    deployment = provisioned()
    wanted = json.loads(json.dumps(created_app(deployment, identity.ids(ENVIRONMENT))))
    declared = json.loads(json.dumps(deployment.resource("app").body))
    (ours,), (theirs,) = (body["properties"]["template"]["containers"] for body in (wanted, declared))
    assert [each["name"] for each in ours.pop("env")] == [template.RELEASE]
    for container in (ours, theirs):
        shell, flag, text = container.pop("command")
        assert (shell, flag) == ("/bin/bash", "-c")
        assert "python -m inference" in text
    assert wanted.pop("tags").keys() >= {tags.OWNER, tags.ORIGIN}
    assert declared == {"name": declared["name"], **wanted}


def test_environment_is_adopted_by_tags_alone() -> None:
    """Whoever starts by Bicep and goes on with acaops has no other difference in the stack."""
    ids = identity.ids(ENVIRONMENT)
    plan = planner.environment(ENVIRONMENT, scope=SCOPE, ids=ids, seen=stack(provisioned(), ids), now=NOW)
    assert all(step.blocked is None for step in plan.steps)
    changed = {step.kind: paths(step.action.changes) for step in plan.steps if step.action}
    owner = {f"tags.{tags.OWNER}", f"tags.{tags.ORIGIN}"}
    account = owner | {f"tags.{tags.STORAGE_KEY}", f"tags.{tags.DELETION}"}
    assert changed == {Kind.ACCOUNT: account, Kind.WORKSPACE: owner}


def test_app_is_adopted_by_command_release_and_tags() -> None:
    """Probes, scale, ingress, volume and mount are those that acaops gives an app with default settings."""
    ids, deployment = identity.ids(ENVIRONMENT), provisioned()
    wanted = app()
    name = identity.app_name(wanted, group_id=ids.group)
    seen = observed.Workload(
        stack(deployment, ids), app=live(deployment, "app", resource_id=ids.app(name)), published=observed.Published()
    )
    nothing = workload.Release(content.Content((), ()), {})
    one = planner.subject(wanted, stands_on=ENVIRONMENT, scope=SCOPE, ids=ids, seen=seen, release=nothing, now=NOW)
    plan = planner.app(one, scope=SCOPE, course=one.course(None))
    (write,) = (step.action for step in plan.steps if step.action)
    container = f"properties.template.containers[{name}]"
    assert paths(write.changes) == {
        f"{container}.command",
        f"{container}.env[{template.RELEASE}]",
        f"tags.{tags.OWNER}",
        f"tags.{tags.ORIGIN}",
        f"tags.{tags.DELETION}",
    }


def test_outputs_are_ai_toolkit_s() -> None:
    """The six names that AI Toolkit keeps in infra/inference.config.json."""
    names = identity.names(ENVIRONMENT, group_id=GROUP.id)
    assert provisioned().outputs == {
        "SUBSCRIPTION_ID": GROUP.subscription,
        "RESOURCE_GROUP_NAME": GROUP.name,
        "STORAGE_ACCOUNT_NAME": names.account,
        "FILE_SHARE_NAME": names.share,
        "ACA_APP_NAME": identity.app_name(app(), group_id=GROUP.id),
        "ACA_APP_ENDPOINT": "app.example",
    }


def test_the_config_waits_for_the_outputs() -> None:
    """The same names in the same order, without values until an app serves."""
    config = json.loads((INFRA / "inference.config.json").read_text())
    assert list(config) == list(provisioned().outputs)
    assert set(config.values()) == {None}


def test_parameters_are_ai_toolkit_s() -> None:
    """By name, in both files; the template takes no others, but for the suffix that no file gives."""
    named = {
        "defaultCommands",
        "maximumInstanceCount",
        "location",
        "storageAccountName",
        "fileShareName",
        "acaEnvironmentName",
        "acaEnvironmentStorageName",
        "acaLogAnalyticsName",
    }
    assert parameters("inference").keys() == named | {"acaAppName"}
    assert parameters("finetuning").keys() == named | {"acaJobName", "timeout"}
    declared = {each.name for each in bicep.read(PROVISION / "inference.bicep") if each.kind == "param"}
    assert declared - parameters("inference").keys() == {"resourceSuffix"}


@pytest.mark.parametrize(
    ("parameter", "symbol"),
    [
        ("storageAccountName", "account"),
        ("fileShareName", "share"),
        ("acaEnvironmentName", "managedEnvironment"),
        ("acaEnvironmentStorageName", "environmentStorage"),
        ("acaAppName", "app"),
        ("acaLogAnalyticsName", "workspace"),
    ],
)
def test_a_name_in_the_parameters_file_is_used(parameter: str, symbol: str) -> None:
    """Instead of AI Toolkit's default."""
    assert provisioned(**{parameter: "given"}).resource(symbol).body["name"] == "given"


def test_finetuning_and_inference_name_the_same_stack() -> None:
    """Else inference would not find what fine-tuning left on the share."""
    inference, finetuning = parameters("inference"), parameters("finetuning")
    shared = inference.keys() & finetuning.keys() - {"defaultCommands", "maximumInstanceCount"}
    assert {name: finetuning[name] for name in shared} == {name: inference[name] for name in shared}


def test_the_last_command_may_be_any_shell(tmp_path: Path) -> None:
    """Quotes and all; the ones before must succeed."""
    line = """GREETING="it's"; printf '%s %s' "$GREETING" "$PWD" """
    deployment = provisioned(defaultCommands=["true", line])
    body: Mapping[str, Any] = deployment.resource("app").body
    bash, flag, text = body["properties"]["template"]["containers"][0]["command"]
    here = text.replace("cd /mount", f"cd {tmp_path}", 1)
    done = subprocess.run([bash, flag, here], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == f"it's {tmp_path}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_bicep_declares_what_it_uses(path: Path) -> None:
    """Every parameter and variable is used; a parameter's default uses parameters only, as Bicep demands."""
    declared = bicep.read(path)
    used = frozenset[str]().union(*(each.uses for each in declared))
    named = {each.name: each.kind for each in declared if each.kind != "output"}
    assert used <= named.keys()
    assert {name for name, kind in named.items() if kind in ("param", "var")} <= used
    defaults = frozenset[str]().union(*(each.uses for each in declared if each.kind == "param"))
    assert {named[name] for name in defaults} <= {"param"}


def test_one_stable_version_per_provider() -> None:
    """No preview, and no two versions of one API."""
    kinds = [each.type for path in FILES for each in bicep.read(path) if each.kind == "resource"]
    versions = {(kind.split("/")[0], kind.partition("@")[2]) for kind in kinds}
    assert versions == {
        ("Microsoft.App", "2025-01-01"),
        ("Microsoft.Authorization", "2022-04-01"),
        ("Microsoft.ContainerRegistry", "2023-07-01"),
        ("Microsoft.ManagedIdentity", "2023-01-31"),
        ("Microsoft.OperationalInsights", "2023-09-01"),
        ("Microsoft.Storage", "2024-01-01"),
    }


def test_a_stack_of_other_names_is_adopted_too() -> None:
    """Names given to both sides."""
    spec = ENVIRONMENT.spec
    named = spec.model_copy(update={"storage": spec.storage.model_copy(update={"share_name": "models"})})
    wanted = ENVIRONMENT.model_copy(update={"spec": named})
    ids = identity.ids(wanted)
    seen = replace(stack(provisioned(fileShareName="models"), ids), keys=None)
    plan = planner.environment(wanted, scope=SCOPE, ids=ids, seen=seen, now=NOW)
    assert {step.kind for step in plan.steps if step.action} == {Kind.ACCOUNT, Kind.WORKSPACE}
