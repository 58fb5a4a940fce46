"""A stack that somebody made before, with other settings: used as it is, tagged, updated where the YAML says so."""

from __future__ import annotations

from typing import Any

import pytest
from azure.mgmt.appcontainers import models as apps
from azure.mgmt.loganalytics import models as logs
from azure.mgmt.storage import models as storage

from tests.local_azure.conftest import stock
from tests.reconcile.stack import APP, ENVIRONMENT, GROUP, Stack, app, environment

CONTAINER = "aiacaapp-container"


async def made_by_hand(stack: Stack) -> None:
    """As the AI Toolkit's template would, but for what people change: quota 5120, ZRS, the container's name."""
    ids, names = stack.ids, stack.ids.names
    async with stock(stack.local) as sdk:
        await sdk.resources.resource_groups.create_or_update(GROUP, {"location": "westus3"})
        account = storage.StorageAccountCreateParameters(
            sku=storage.Sku(name="Standard_ZRS"), kind="StorageV2", location="westus3", tags={"made": "by hand"}
        )
        await (await sdk.storage.storage_accounts.begin_create(GROUP, names.account, account)).result()
        await sdk.storage.file_shares.create(GROUP, names.account, names.share, storage.FileShare(share_quota=5120))
        workspace = logs.Workspace(location="westus3")
        await (await sdk.logs.workspaces.begin_create_or_update(GROUP, names.workspace, workspace)).result()
        profile = apps.WorkloadProfile(name="GPU", workload_profile_type="NC24-A100", minimum_count=0, maximum_count=8)
        properties = apps.ManagedEnvironmentProperties(workload_profiles=[profile])
        managed = apps.ManagedEnvironment(location="westus3", properties=properties)
        await (await sdk.apps.managed_environments.begin_create_or_update(GROUP, names.environment, managed)).result()
        keys = await sdk.storage.storage_accounts.list_keys(GROUP, names.account)
        azure_file = apps.AzureFileProperties(
            account_name=names.account,
            account_key=keys.keys_property[0].value,
            access_mode="ReadWrite",
            share_name=names.share,
        )
        mount = apps.ManagedEnvironmentStorage(
            properties=apps.ManagedEnvironmentStorageProperties(azure_file=azure_file)
        )
        await sdk.apps.managed_environments_storages.create_or_update(GROUP, names.environment, names.storage, mount)
        await (await sdk.apps.container_apps.begin_create_or_update(GROUP, "chat", by_hand(ids.environment))).result()


def by_hand(environment_id: str) -> apps.ContainerApp:
    return apps.ContainerApp(
        location="westus3",
        tags={"made": "by hand"},
        properties=apps.ContainerAppProperties(
            environment_id=environment_id,
            workload_profile_name="GPU",
            configuration=apps.Configuration(ingress=apps.Ingress(external=True, target_port=7860)),
            template=apps.Template(
                revision_suffix="byhand",
                containers=[apps.Container(name=CONTAINER, image="python:3.12")],
                scale=apps.Scale(min_replicas=1, max_replicas=1),
            ),
        ),
    )


@pytest.fixture
async def found(stack: Stack) -> Stack:
    await made_by_hand(stack)
    return stack


def paths(stack: Stack, *, since: int) -> list[tuple[str, str]]:
    """(method, last part of the path) of ARM's writes."""
    return [
        (method, path.rpartition("/")[2])
        for method, path in stack.writes()[since:]
        if path.startswith("/subscriptions")
    ]


async def tags(stack: Stack, resource_id: str) -> dict[str, Any]:
    return dict((await stack.arm("GET", resource_id)).get("tags") or {})


async def test_what_is_there_is_adopted(found: Stack) -> None:
    """No creation and no replacement: tags on account and workspace, one update of the app, nothing else."""
    since = len(found.writes())
    await found.converge()
    assert {("PATCH", "accountone"), ("PATCH", "logs-one"), ("PATCH", "chat")} == set(paths(found, since=since))
    assert (await tags(found, found.ids.account)).items() >= {"made": "by hand", "acaops-origin": "adopted"}.items()
    assert (await tags(found, found.ids.app("chat")))["acaops-origin"] == "adopted"
    assert "acaops-owner" not in await tags(found, found.ids.environment)


async def test_defaults_do_not_fight(found: Stack) -> None:
    """Quota and sku, which the YAML doesn't name, stay as they were."""
    await found.converge()
    assert (await found.arm("GET", found.ids.share))["properties"]["shareQuota"] == 5120
    assert (await found.arm("GET", found.ids.account))["sku"]["name"] == "Standard_ZRS"


async def test_the_container_keeps_its_name_and_loses_its_suffix(found: Stack) -> None:
    """One container still, called as it was; the next revision gets a name of the service's choice."""
    await found.converge()
    live = await found.live_app()
    assert [one["name"] for one in live["properties"]["template"]["containers"]] == [CONTAINER]
    assert not live["properties"]["template"]["revisionSuffix"]
    assert (await found.revisions())[0]["name"] == "chat--byhand"
    assert len(await found.revisions()) == 2


async def test_what_the_yaml_names_is_owned(found: Stack) -> None:
    """A quota that is written down is set; a sku that is written down and differs is refused."""
    spec = environment()["spec"]["storage"]
    found.write(environment(storage={**spec, "shareQuotaGiB": 2048}), app())
    await found.converge()
    assert (await found.arm("GET", found.ids.share))["properties"]["shareQuota"] == 2048
    found.write(environment(storage={**spec, "sku": "Standard_LRS"}), app())
    await found.one_pass(ENVIRONMENT)
    assert found.told(ENVIRONMENT)[1] == "ImmutableField"
    assert (await found.one_pass(APP)).endpoint
