"""`import --from-azure`: a live app's own state, which plans nothing but tags and a revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.migration import live, migrated, written
from controller.model import identity
from controller.plan import actions
from tests.migration import provisioned
from tests.migration.provisioned import GROUP, SUBSCRIPTION, Provisioned
from tests.reconcile.stack import Stack, running

APP = "answers"
TEMPLATE = "properties.template"
OWN = provisioned.names(
    account="teamfiles", share="models", environment="team-env", storage="mount", workspace="logs-1"
)


@pytest.fixture
async def azure(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path) as stack:
        (stack.folder / "state.yaml").unlink()
        yield stack


async def imported(azure: Stack, there: Provisioned) -> migrated.Migrated:
    """`there` made, read, and written to the state folder."""
    await there.make(azure.local)
    since = len(azure.writes())
    found = await live.read(azure.cloud, subscription=SUBSCRIPTION, group=GROUP, app=there.app)
    assert len(azure.writes()) == since
    written.write(found, azure.folder, force=False)
    return found


async def changes(azure: Stack) -> dict[str, set[str]]:
    """What the plans would change, by kind, without tags; `verb kind` where it is no update."""
    steps = [step for key in azure.source.keys for step in (await azure.look(key)).plan.steps]
    assert [step.blocked for step in steps if step.blocked] == []
    return {_kind(step): _paths(step.action) for step in steps if step.action}


def _kind(step: actions.Step) -> str:
    assert step.action is not None
    return step.kind.label if step.action.verb == "Update" else f"{step.action.verb} {step.kind.label}"


def _paths(action: actions.Action) -> set[str]:
    return {change.path for change in action.changes if not change.path.startswith("tags.")}


async def test_a_provisioned_app_comes_back_as_it_was(azure: Stack) -> None:
    """The round trip: all names and values of the stack, and a plan without anything but tags and the revision."""
    found = await imported(azure, Provisioned(OWN, APP))

    spec = found.environment["spec"]
    assert spec["location"] == "westus3"
    assert spec["storage"] == {"accountName": "teamfiles", "shareName": "models"}
    assert spec["logAnalytics"] == {"workspaceName": "logs-1"}
    assert spec["containerApps"] == {
        "environmentName": "team-env",
        "storageName": "mount",
        "workloadProfiles": [{"name": "GPU", "type": "NC24-A100", "minimumCount": 0, "maximumCount": 2}],
    }
    assert found.app["spec"]["commands"] == list(provisioned.COMMANDS)
    assert await changes(azure) == {
        "storageAccount": set(),
        "workspace": set(),
        "containerApp": {f"{TEMPLATE}.containers[{APP}].command", f"{TEMPLATE}.containers[{APP}].env[ACAOPS_RELEASE]"},
    }


def customised(body: Any) -> None:
    """What people change: another start, own rules, secrets, a second container, things acaops leaves alone."""
    properties = body["properties"]
    properties["configuration"] |= {
        "secrets": [{"name": "api.key", "value": "s3cret"}, {"name": "unused", "value": "other"}],
        "ingress": {"external": False, "targetPort": 8000, "stickySessions": {"affinity": "sticky"}},
        "maxInactiveRevisions": 5,
    }
    template = properties["template"]
    (own,) = template["containers"]
    own |= {
        "command": ["python"],
        "args": ["-m", "serve", "--title", "two words"],
        "env": [{"name": "MODE", "value": "chat"}, {"name": "EMPTY"}, {"name": "API_KEY", "secretRef": "api.key"}],
        "resources": {"cpu": 8, "memory": "56Gi"},
        "probes": [],
    }
    template["containers"].append({"name": "sidecar", "image": "busybox", "resources": {"cpu": 0.5, "memory": "1Gi"}})
    template["scale"] = {
        "minReplicas": 0,
        "maxReplicas": 3,
        "rules": [{"name": "many", "http": {"metadata": {"concurrentRequests": "25"}}}],
    }
    template["terminationGracePeriodSeconds"] = 90


async def test_what_people_set_is_carried_over(azure: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start, env, ingress, scale, resources, grace; a secret by reference, under the new name that acaops stores."""
    found = await imported(azure, Provisioned(OWN, APP, change=customised))

    spec = found.app["spec"]
    assert spec["commands"] == ['cd "$OLDPWD"', "python -m serve --title 'two words'"]
    assert spec["secrets"] == [{"name": "api-key", "fromEnv": "API_KEY"}]
    assert [warning for warning in found.warnings if "set API_KEY" in warning]
    monkeypatch.setenv("API_KEY", "s3cret")
    container = f"{TEMPLATE}.containers[{APP}]"
    (stored,) = {path for path in (await changes(azure))["containerApp"] if ".secrets[" in path}
    assert stored.startswith("properties.configuration.secrets[api-key-")
    assert (await changes(azure))["containerApp"] - {stored} == {
        f"{container}.command",
        f"{container}.env[API_KEY]",
        f"{container}.env[ACAOPS_RELEASE]",
    }


async def test_no_secret_is_read(azure: Stack) -> None:
    """Neither asked for nor written: the state holds its name alone."""
    found = await imported(azure, Provisioned(OWN, APP, change=customised))

    asked = [each.path for each in azure.local.requests]
    assert not [path for path in asked if path.lower().endswith("/listsecrets")]
    assert "s3cret" not in "".join(path.read_text() for path in azure.folder.iterdir()) + str(found)


async def test_a_volume_of_another_name_is_replaced_by_its_twin(azure: Stack) -> None:
    """The share stays mounted where it was; the plan and a note say so."""

    def renamed(body: Any) -> None:
        template = body["properties"]["template"]
        template["volumes"][0]["name"] = "azure-files"
        template["containers"][0]["volumeMounts"][0]["volumeName"] = "azure-files"

    found = await imported(azure, Provisioned(OWN, APP, change=renamed))

    assert "the share will be mounted by a volume modelsvolume; azure-files stays, unused" in found.notes
    assert (await changes(azure))["containerApp"] >= {f"{TEMPLATE}.volumes[modelsvolume]"}


async def test_an_environment_that_logs_elsewhere_is_told(azure: Stack) -> None:
    """No workspace of the group has its customer id: one would be made, and the warning says it."""
    there = Provisioned(OWN, APP)
    await there.make(azure.local)
    await azure.arm("DELETE", provisioned.ids(OWN).workspace)

    found = await live.read(azure.cloud, subscription=SUBSCRIPTION, group=GROUP, app=APP)

    assert found.environment["spec"]["logAnalytics"] == {"workspaceName": None}
    assert [warning for warning in found.warnings if "logs go to no workspace" in warning]


@pytest.mark.parametrize(
    ("group", "app", "says"),
    [
        ("rg-two", APP, "rg-two: there is no such resource group"),
        (GROUP, "other", "rg-one/other: there is no such container app"),
    ],
)
async def test_what_is_not_there_is_told(azure: Stack, group: str, app: str, says: str) -> None:
    """The group or the app, by the name that was asked for."""
    await Provisioned(OWN, APP).make(azure.local)
    with pytest.raises(migrated.MigrationError, match=says):
        await live.read(azure.cloud, subscription=SUBSCRIPTION, group=group, app=app)


async def test_an_app_that_acaops_has_is_refused(azure: Stack) -> None:
    """Its YAML is somewhere already; the message names the owner."""
    there = Provisioned(OWN, APP, change=lambda body: body.update(tags={"acaops-owner": "prod/InferenceApp/chat"}))
    await there.make(azure.local)
    with pytest.raises(migrated.MigrationError, match="belongs to prod/InferenceApp/chat already"):
        await live.read(azure.cloud, subscription=SUBSCRIPTION, group=GROUP, app=APP)


async def test_resources_of_several_regions_are_held_to_none(azure: Stack) -> None:
    """A location that is written down would be one for all; the note names them."""
    found = await imported(azure, Provisioned(OWN, APP, logs_location="eastus"))

    assert found.environment["spec"]["location"] is None
    assert "location is left out: the resources lie in eastus, westus3" in found.notes
    assert "containerApp" in await changes(azure)


async def test_mount_options_that_would_be_lost_are_refused(azure: Stack) -> None:
    """The new volume would be mounted without them."""

    def optioned(body: Any) -> None:
        template = body["properties"]["template"]
        template["volumes"][0] |= {"name": "files", "mountOptions": "uid=1000"}
        template["containers"][0]["volumeMounts"][0]["volumeName"] = "files"

    assert await refused(azure, Provisioned(OWN, APP, change=optioned)) == [
        "rg-one/answers: mountOptions: volume files has mount options 'uid=1000', which acaops can't set"
    ]


async def test_an_environment_of_another_group_is_refused(azure: Stack) -> None:
    """One Environment is one resource group."""
    there = Provisioned(OWN, APP)
    await there.make(azure.local)
    other = identity.group_id(SUBSCRIPTION, "rg-two")
    await azure.arm("PUT", other, {"location": "westus3"})
    await azure.arm("PUT", identity.Ids(other, OWN).app(APP), there.app_body())
    with pytest.raises(migrated.MigrationError, match="team-env lies in another resource group; acaops has all in one"):
        await live.read(azure.cloud, subscription=SUBSCRIPTION, group="rg-two", app=APP)


@pytest.mark.parametrize(
    ("account", "mode", "says"),
    [
        (OWN.account, "ReadOnly", "environment storage other is read-only; acaops mounts a share to write on"),
        (
            "elsewhere",
            "ReadWrite",
            "its storage account elsewhere lies in another resource group; acaops has all in one",
        ),
    ],
)
async def test_a_share_that_acaops_could_not_use_is_refused(azure: Stack, account: str, mode: str, says: str) -> None:
    """Content must be written to it, and its account is the Environment's."""
    there = Provisioned(OWN, APP, change=lambda body: mounting(body, "other"))
    facts = {"accountName": account, "accountKey": "a2V5", "shareName": OWN.share, "accessMode": mode}
    await Provisioned(OWN, "first").make(azure.local)
    await azure.arm("PUT", provisioned.ids(OWN).storage("other"), {"properties": {"azureFile": facts}})
    assert [problem.rpartition(": ")[2] for problem in await refused(azure, there)] == [says]


def mounting(body: Any, storage: str) -> None:
    body["properties"]["template"]["volumes"][0]["storageName"] = storage


async def refused(azure: Stack, there: Provisioned) -> list[str]:
    """The problems of reading it, once it is made."""
    await there.make(azure.local)
    with pytest.raises(migrated.MigrationError) as caught:
        await live.read(azure.cloud, subscription=SUBSCRIPTION, group=GROUP, app=there.app)
    return list(caught.value.problems)
