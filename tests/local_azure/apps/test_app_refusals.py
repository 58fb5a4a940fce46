"""What a request for an app may not say: status, code, and that nothing is stored."""

from typing import Any

import pytest


def container(**parts: Any) -> dict[str, Any]:
    return {"containers": [{"name": "web", "image": "i", **parts}]}


def probe(**parts: Any) -> dict[str, Any]:
    return container(probes=[{"type": "Startup", "httpGet": {"port": 80}, **parts}])


FIELD = "InvalidParameterValueInContainerTemplate"


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ({"containers": []}, "ContainerAppContainersRequired"),
        ({"containers": {}}, "InvalidRequestContent"),
        (container(image=None), FIELD),
        (container(name="Web"), FIELD),
        ({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}, FIELD),
        (container(env=[{"name": "A", "secretRef": "no"}]), "ContainerAppSecretRefNotFound"),
        (container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]), FIELD),
        (container(volumeMounts=[{"volumeName": "no", "mountPath": "/m"}]), FIELD),
        (
            {"volumes": [{"name": "v", "storageType": "AzureFile", "storageName": "no"}]},
            "ManagedEnvironmentStorageNotFound",
        ),
        ({"volumes": [{"name": "v", "storageType": "NfsAzureFile", "storageName": "no"}]}, FIELD),
        (probe(periodSeconds=241), FIELD),
        (probe(initialDelaySeconds=61), FIELD),
        (probe(failureThreshold=241), FIELD),
        (probe(timeoutSeconds=0), FIELD),
        (probe(successThreshold=2), FIELD),
        (probe(httpGet=None), FIELD),
        (container(probes=[{"type": "Liveness", "tcpSocket": {"port": 80}}] * 2), FIELD),
        (container(resources={"cpu": 0.5, "memory": "2Gi"}), "ContainerAppInvalidResourceTotal"),
        (container(resources={"cpu": 4.25, "memory": "8.5Gi"}), "ContainerAppInvalidResourceTotal"),
        (container(resources={"cpu": 0.3, "memory": "0.6Gi"}), "ContainerAppInvalidResourceTotal"),
        (container(resources={"cpu": "many", "memory": "1Gi"}), FIELD),
        (container(resources={"cpu": 0.5, "memory": "1024Mi"}), FIELD),
        ({"scale": {"minReplicas": 1001}}, FIELD),
        ({"scale": {"minReplicas": 3, "maxReplicas": 2}}, FIELD),
        ({"terminationGracePeriodSeconds": 601}, FIELD),
        ({"revisionSuffix": "Bad"}, "ContainerAppInvalidRevisionSuffix"),
        ({"revisionSuffix": "a" * 60}, "ContainerAppInvalidRevisionSuffix"),
        ({"initContainers": [{"name": "init", "image": "i"}]}, FIELD),
    ],
)
async def test_templates(azure: Any, app_body: Any, template: dict[str, Any], code: str) -> None:
    """400 each."""
    await refused(azure, app_body(template=template), 400, code)


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ({"activeRevisionsMode": "Both"}, FIELD),
        ({"ingress": {"targetPort": 70000}}, FIELD),
        ({"ingress": {"targetPort": 80, "transport": "udp"}}, FIELD),
        ({"ingress": {"targetPort": 80, "traffic": [{"latestRevision": True, "weight": 90}]}}, FIELD),
        (
            {
                "activeRevisionsMode": "Multiple",
                "ingress": {"targetPort": 80, "stickySessions": {"affinity": "sticky"}},
            },
            FIELD,
        ),
        ({"secrets": [{"name": "Upper", "value": "x"}]}, "ContainerAppInvalidSecretName"),
        ({"secrets": [{"name": "a"}]}, "ContainerAppSecretInvalid"),
        ({"secrets": [{"name": "a", "value": "x"}] * 2}, FIELD),
        (
            {"secrets": [{"name": "a", "keyVaultUrl": "https://v.vault.azure.net/secrets/a", "identity": "system"}]},
            "ContainerAppSecretKeyVaultUrlInvalid",
        ),
        (
            {"registries": [{"server": "r", "username": "u", "passwordSecretRef": "no"}]},
            "ContainerAppRegistriesPasswordSecretRefNotFound",
        ),
        ({"registries": [{"username": "u"}]}, FIELD),
        ({"registries": [{"server": "r", "identity": "system"}]}, FIELD),
        ({"registries": [{"server": "r", "identity": "/subscriptions/s/id"}]}, FIELD),
    ],
)
async def test_configurations(azure: Any, app_body: Any, configuration: dict[str, Any], code: str) -> None:
    """400 each."""
    await refused(azure, app_body(configuration=configuration), 400, code)


@pytest.mark.parametrize(
    "identity", [{"type": "Mine"}, {"type": "None, SystemAssigned"}, {"type": "UserAssigned"}, {"type": "None, None"}]
)
async def test_identities(azure: Any, app_body: Any, identity: Any) -> None:
    """An unknown type, and one without what it needs (assumed)."""
    await refused(azure, app_body() | {"identity": identity}, 400, "InvalidIdentityType")


@pytest.mark.parametrize("name", ["a", "Web", "1web", "web-", "we--b", "a" * 33])
async def test_names(azure: Any, app_body: Any, name: str) -> None:
    """2 to 32 lower-case letters, digits and single hyphens, a letter first."""
    answer = await azure.ask("PUT", f"containerApps/{name}", app_body())
    assert (answer.status, answer.body["error"]["code"]) == (400, "ContainerAppInvalidName")


async def test_environments_and_profiles(azure: Any, app_body: Any) -> None:
    """An unknown environment is a 404 of the provider, an unknown profile a 400."""
    missing = (
        f"/subscriptions/{azure.local.subscription}/resourceGroups/rg/providers/Microsoft.App/managedEnvironments/x"
    )
    await refused(azure, app_body(environment=missing), 404, "ManagedEnvironmentNotFound")
    await refused(azure, app_body(workloadProfileName="no"), 400, "WorkloadProfileNotFound")
    big = container(resources={"cpu": 25, "memory": "200Gi"})
    await refused(azure, app_body(template=big, workloadProfileName="gpu"), 400, "ContainerAppInvalidResourceTotal")


async def test_a_dedicated_profile_takes_any_size_up_to_a_node(azure: Any, app_body: Any) -> None:
    """Recorded: cpu 0.1 with 0.1Gi on a GPU profile."""
    small = container(resources={"cpu": 0.1, "memory": "0.1Gi"})
    assert (await azure.put(app_body(template=small, workloadProfileName="gpu"))).status == 201


async def test_the_environment_must_be_provisioned(slow: Any, azure: Any, app_body: Any) -> None:
    """400 and the recorded words while it is Waiting, and again while it updates."""
    path = f"/subscriptions/{slow.subscription}/resourceGroups/rg/providers/Microsoft.App/managedEnvironments/new"
    await azure.ask("PUT", "managedEnvironments/new", {"location": "westus3", "properties": {}})
    answer = await azure.ask("PUT", "containerApps/web", app_body(environment=path))
    assert (answer.status, answer.body["error"]) == (
        400,
        {
            "code": "ManagedEnvironmentNotProvisioned",
            "message": f"The environment '{path}' has not been provisioned successfully.",
        },
    )
    azure.advance(104)
    assert (await azure.put(app_body(environment=path))).status == 201


async def test_an_app_stays_where_it_is(azure: Any, app_body: Any) -> None:
    """Neither region nor environment can change."""
    await azure.put(app_body())
    moved = await azure.ask("PUT", "containerApps/web", app_body() | {"location": "eastus"})
    assert (moved.status, moved.body["error"]["code"]) == (409, "InvalidResourceLocation")
    properties = {
        "environmentId": f"{'/subscriptions/s/resourceGroups/rg'}/providers/Microsoft.App/managedEnvironments/x"
    }
    answer = await azure.ask("PATCH", "containerApps/web", {"properties": properties})
    assert answer.status == 400


async def refused(azure: Any, body: dict[str, Any], status: int, code: str) -> None:
    answer = await azure.ask("PUT", "containerApps/web", body)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert (await azure.ask("GET", "containerApps/web")).status == 404
