"""The stock asynchronous SDK drives an environment, a storage and an app from nothing to nothing."""

from typing import Any

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.mgmt.appcontainers import models

GROUP = "rg"


@pytest.fixture
async def environment(clients: Any, local: Any) -> str:
    await clients.resources.resource_groups.create_or_update(GROUP, {"location": "westus3"})
    profiles = [models.WorkloadProfile(name="gpu", workload_profile_type="NC24-A100", minimum_count=0, maximum_count=1)]
    sent = models.ManagedEnvironment(
        location="westus3", properties=models.ManagedEnvironmentProperties(workload_profiles=profiles)
    )
    poller = await clients.apps.managed_environments.begin_create_or_update(GROUP, "env", sent)
    made = await poller.result()
    assert made.properties.provisioning_state == "Succeeded"
    assert [item.name for item in made.properties.workload_profiles] == ["gpu", "Consumption"]
    return str(made.id)


def container_app(environment: str, *, image: str = "python:3.12") -> models.ContainerApp:
    return models.ContainerApp(
        location="westus3",
        properties=models.ContainerAppProperties(
            environment_id=environment,
            configuration=models.Configuration(
                ingress=models.Ingress(external=True, target_port=8000),
                secrets=[models.Secret(name="key", value="hidden")],
            ),
            template=models.Template(containers=[models.Container(name="web", image=image)]),
        ),
    )


async def test_an_app_from_creation_to_deletion(clients: Any, environment: str) -> None:
    """Every poller ends, every answer deserialises, and errors come as the SDK's exceptions."""
    apps = clients.apps.container_apps
    created = await (await apps.begin_create_or_update(GROUP, "web", container_app(environment))).result()
    assert created.properties.provisioning_state == "Succeeded"
    assert created.properties.workload_profile_name == "Consumption"
    update = container_app(environment, image="python:3.13")
    updated = await (await apps.begin_update(GROUP, "web", update)).result()
    assert updated.properties.latest_revision_name == "web--0000001"
    listed = [item async for item in clients.apps.container_apps_revisions.list_revisions(GROUP, "web")]
    assert [item.name for item in listed][-1] == "web--0000001"
    replicas = await clients.apps.container_apps_revision_replicas.list_replicas(GROUP, "web", "web--0000001")
    assert replicas.value[0].containers[0].name == "web"
    await clients.apps.container_apps_revisions.restart_revision(GROUP, "web", "web--0000001")
    secrets = await apps.list_secrets(GROUP, "web")
    assert [(item.name, item.value) for item in secrets.value] == [("key", "hidden")]
    token = await apps.get_auth_token(GROUP, "web")
    assert token.token.count(".") == 2
    stopped = await (await apps.begin_stop(GROUP, "web")).result()
    assert stopped.properties.running_status == "Stopped"
    await (await apps.begin_start(GROUP, "web")).result()
    await (await apps.begin_delete(GROUP, "web")).result()
    with pytest.raises(ResourceNotFoundError):
        await apps.get(GROUP, "web")


async def test_a_storage_and_the_environments_end(clients: Any, environment: str) -> None:
    """Synchronous storage calls, a PATCH by Location, a refused and a granted delete."""
    storages, environments = clients.apps.managed_environments_storages, clients.apps.managed_environments
    file = models.AzureFileProperties(
        account_name="account1", account_key="a2V5", access_mode="ReadWrite", share_name="models"
    )
    sent = models.ManagedEnvironmentStorage(properties=models.ManagedEnvironmentStorageProperties(azure_file=file))
    stored = await storages.create_or_update(GROUP, "env", "models", sent)
    assert stored.properties.azure_file.account_key is None
    assert [item.name for item in (await storages.list(GROUP, "env")).value] == ["models"]
    await (await clients.apps.container_apps.begin_create_or_update(GROUP, "web", container_app(environment))).result()
    with pytest.raises(ResourceExistsError):
        await environments.begin_delete(GROUP, "env")
    await (await clients.apps.container_apps.begin_delete(GROUP, "web")).result()
    await storages.delete(GROUP, "env", "models")
    patch = models.ManagedEnvironment(location="westus3", tags={"a": "b"})
    patched = await (await environments.begin_update(GROUP, "env", patch)).result()
    assert patched.tags == {"a": "b"}
    await (await environments.begin_delete(GROUP, "env")).result()
    with pytest.raises(ResourceNotFoundError):
        await environments.get(GROUP, "env")
