"""Desired objects, what was seen of them, and the service's answers to what the controller sends."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from controller.model import content, desired, identity, kinds, observed
from controller.plan import actions, planner, rollout, workload
from tests.unit import answers

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-phi3"
KEYS = ("aaaaaaaa11111111", "bbbbbbbb22222222")
SCOPE = planner.Scope("prod", commit="0123abc")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FILE = content.File("inference/serve.py", Path("/src/serve.py"), 5, "5" * 64, executable=False)
CONTENT = content.Content((FILE,), ("inference",))
PROFILE = {"name": "GPU", "type": "NC24-A100", "minimumCount": 0, "maximumCount": 2}
T4 = {"name": "T4", "type": "Consumption-GPU-NC8as-T4"}


def environment(**spec: Any) -> desired.Environment:
    """An Environment with names of its own; `spec` replaces whole fields."""
    whole = {
        "subscriptionId": SUBSCRIPTION,
        "resourceGroup": "rg-phi3",
        "location": "westus3",
        "storage": {"accountName": "phi3storage", "shareName": "phi3share"},
        "logAnalytics": {"workspaceName": "phi3logs"},
        "containerApps": {"environmentName": "phi3-env", "storageName": "phi3mount", "workloadProfiles": [PROFILE]},
    }
    body = {"apiVersion": "acaops/v1", "kind": "Environment", "metadata": {"name": "gpu-west"}, "spec": whole | spec}
    return desired.Environment.model_validate(body)


def profiles(*wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`containerApps` with these workload profiles."""
    return {"environmentName": "phi3-env", "storageName": "phi3mount", "workloadProfiles": list(wanted)}


def app(**spec: Any) -> desired.InferenceApp:
    whole = {
        "environmentRef": "gpu-west",
        "appName": "phi3",
        "image": "docker.io/pytorch/pytorch:2.9.0",
        "commands": ["pip install -r inference/requirements.txt", "python -m inference"],
        "content": [{"path": "../inference", "target": "inference"}],
        "env": [{"name": "BASE_MODEL_DIR", "value": "/mount/model-cache"}],
    }
    body = {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": "phi3-chat"}, "spec": whole | spec}
    return desired.InferenceApp.model_validate(body)


def ids(wanted: desired.Environment | None = None) -> identity.Ids:
    return identity.ids(wanted or environment())


def live(kind: str, name: str, **body: Any) -> observed.Resource:
    """A settled resource."""
    whole = {"id": f"{GROUP_ID}/providers/{kind}/{name}", "name": name, "location": "westus3", "properties": {}}
    return observed.Resource(whole | body)


def answered(wanted: desired.Environment, plan: actions.Plan) -> observed.Stack:
    """The stack after every Create of the plan, as the service answers a GET of each."""
    bodies = {step.kind.label: step.action.body for step in plan.steps if step.action and step.action.verb == "Create"}
    at = ids(wanted)
    account = answers.storage_account()
    account |= {"id": at.account, "name": at.names.account, **_top(bodies["storageAccount"])}
    account["sku"] = bodies["storageAccount"]["sku"] | {"tier": "Standard"}
    share = answers.file_share()
    share["properties"] |= bodies["fileShare"]["properties"]
    workspace = answers.workspace_accepted()
    workspace |= _top(bodies["workspace"])
    workspace["properties"]["provisioningState"] = "Succeeded"
    storage = answers.environment_storage()
    facts = bodies["environmentStorage"]["properties"]["azureFile"]
    storage |= {"name": at.names.storage}
    storage["properties"]["azureFile"] = {key: value for key, value in facts.items() if key != "accountKey"}
    return observed.Stack(
        group=observed.Resource({"id": at.group, "name": "rg-phi3", **bodies["resourceGroup"]}),
        account=observed.Resource(account),
        file_service=observed.Resource({"name": "default", "properties": {}}),
        share=observed.Resource(share),
        workspace=observed.Resource(workspace),
        environment=answered_environment(at, bodies["managedEnvironment"]),
        storage=observed.Resource(storage),
        keys=KEYS,
    )


def answered_environment(at: identity.Ids, sent: Mapping[str, Any]) -> observed.Resource:
    """What a GET gives after a PUT: the region's display name, no shared key, enableFips added, Consumption first."""
    body = answers.environment()
    body |= {"id": at.environment, "name": at.names.environment, **_top(sent), "location": "West US 3"}
    logs = sent["properties"]["appLogsConfiguration"]
    customer = logs["logAnalyticsConfiguration"]["customerId"]
    body["properties"]["appLogsConfiguration"] = logs | {
        "logAnalyticsConfiguration": {"customerId": customer, "sharedKey": None}
    }
    body["properties"]["workloadProfiles"] = [
        {**profile, "enableFips": False} for profile in sent["properties"]["workloadProfiles"]
    ]
    return observed.Resource(body)


def stack(wanted: desired.Environment | None = None) -> observed.Stack:
    """The stack as acaops has made it, settled."""
    one = wanted or environment()
    first = planner.environment(one, scope=SCOPE, ids=ids(one), seen=observed.Stack(keys=KEYS), now=NOW)
    seen = answered(one, first)
    assert seen.account is not None
    second = planner.environment(one, scope=SCOPE, ids=ids(one), seen=seen, now=NOW)
    sent = {step.kind: step.action.body for step in second.steps if step.action}
    account = observed.Resource({**seen.account.body, **sent[kinds.Kind.ACCOUNT]})
    assert sent.keys() == {kinds.Kind.ACCOUNT}
    return observed.Stack(**{**vars(seen), "account": account})


def release(secrets: Mapping[str, str] | None = None, *, files: content.Content = CONTENT) -> workload.Release:
    return workload.Release(files, {name: SecretStr(value) for name, value in (secrets or {}).items()})


def subject(
    wanted: desired.InferenceApp,
    seen: observed.Workload,
    *,
    made: workload.Release | None = None,
    scope: planner.Scope = SCOPE,
    now: datetime = NOW,
) -> workload.App:
    one = environment()
    return planner.subject(
        wanted, stands_on=one, scope=scope, ids=ids(one), seen=seen, release=made or release(), now=now
    )


def plan_app(
    wanted: desired.InferenceApp,
    seen: observed.Workload,
    *,
    made: workload.Release | None = None,
    scope: planner.Scope = SCOPE,
    now: datetime = NOW,
    judged: rollout.Judged | None = None,
) -> actions.Plan:
    one = subject(wanted, seen, made=made, scope=scope, now=now)
    return planner.app(one, scope=scope, course=one.course(judged))


def answered_app(sent: Mapping[str, Any], *, name: str = "phi3") -> observed.Resource:
    """What a GET gives after a PUT, normalised as the service does: secrets by name, falsy members of traffic dropped,
    memory and ephemeral storage rewritten, enum words and regions in the service's casing, absent booleans false."""
    body = answers.app()
    given = copy.deepcopy(dict(sent))
    properties, config = given["properties"], given["properties"]["configuration"]
    body |= {"id": f"{GROUP_ID}/providers/Microsoft.App/containerapps/{name}", "name": name, **_top(given)}
    body["location"] = "West US 3"
    body["properties"] |= {key: properties[key] for key in ("environmentId", "workloadProfileName")}
    held = [{"name": secret["name"]} for secret in config.get("secrets") or ()]
    body["properties"]["configuration"] |= {"secrets": held or None}
    body["properties"]["configuration"]["ingress"] |= {
        **config["ingress"],
        "traffic": [{k: v for k, v in one.items() if v} for one in config["ingress"]["traffic"]],
        "transport": "Auto",
    }
    body["properties"]["configuration"] |= {
        key: config[key] for key in ("activeRevisionsMode", "maxInactiveRevisions") if key in config
    }
    template = properties["template"]
    for container in template["containers"]:
        container["imageType"] = "ContainerImage"
        amount = float(container["resources"]["memory"].removesuffix("Gi"))
        container["resources"] |= {"memory": f"{amount:g}Gi", "ephemeralStorage": "8Gi"}
    template["scale"] = {"cooldownPeriod": 300, "pollingInterval": 30, **template["scale"]}
    body["properties"]["template"] |= template
    return observed.Resource(body)


def created(
    wanted: desired.InferenceApp, *, seen: observed.Stack | None = None, made: workload.Release | None = None
) -> observed.Resource:
    """The app as the service answers it after the controller's own PUT."""
    there = observed.Workload(seen or stack(), published=observed.Published(release=True, mirror=published(made)))
    action = plan_app(wanted, there, made=made).steps[1].ready
    assert action is not None
    return answered_app(action.body)


def published(made: workload.Release | None = None) -> dict[str, str]:
    """Every file of the content, as a mirror's manifest has it."""
    return {file.path: file.sha256 for file in (made or release()).content.files}


def workload_of(
    app: observed.Resource | None, *, seen: observed.Stack | None = None, **facts: Any
) -> observed.Workload:
    """The app beside its settled stack, with its content on the share."""
    there = {"published": observed.Published(release=True, mirror=published())} | facts
    return observed.Workload(seen or stack(), app=app, **there)


def revision(app: observed.Resource, name: str, **properties: Any) -> observed.Resource:
    """A healthy revision with the app's template."""
    first = answers.revisions_starting()[0]
    first |= {"name": name}
    first["properties"] |= {"template": app.properties["template"]} | properties
    return observed.Resource(first)


def with_properties(resource: observed.Resource, **changed: Any) -> observed.Resource:
    """`changed` is merged into the properties, object by object; arrays are replaced."""
    return observed.Resource({**resource.body, "properties": _laid(resource.properties, changed)})


def with_tags(resource: observed.Resource, **changed: str | None) -> observed.Resource:
    """Tag names with underscores for hyphens; None removes."""
    new = {**resource.tags, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return observed.Resource({**resource.body, "tags": {name: value for name, value in new.items() if value}})


def _laid(base: Any, over: Any) -> Any:
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    return {**base, **{key: _laid(base.get(key), value) for key, value in over.items()}}


def _top(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sent.items() if key in ("location", "tags", "kind", "identity")}
