"""An app on the wire: the half-filled answer to a PUT, the GET after it, and how a request is normalised."""

from typing import Any

import pytest

# As a client of the service sends it: every member it doesn't set is null.
SENT_INGRESS = {
    "fqdn": None,
    "external": True,
    "targetPort": 80,
    "exposedPort": None,
    "transport": "auto",
    "traffic": [{"revisionName": None, "weight": 100, "latestRevision": True, "label": None}],
    "customDomains": None,
    "allowInsecure": True,
    "ipSecurityRestrictions": None,
    "stickySessions": None,
    "clientCertificateMode": None,
    "corsPolicy": None,
    "additionalPortMappings": None,
    "targetPortHttpScheme": None,
}
SENT_TEMPLATE = {
    "revisionSuffix": None,
    "terminationGracePeriodSeconds": None,
    "initContainers": None,
    "containers": [
        {
            "image": "mcr.microsoft.com/k8se/quickstart:latest",
            "name": "aiacaappokxj5",
            "command": None,
            "args": None,
            "env": None,
            "resources": {"cpu": 0.5, "memory": "1Gi", "ephemeralStorage": "1Gi", "gpu": None},
            "probes": None,
        }
    ],
    "scale": None,
    "volumes": None,
    "serviceBinds": None,
}


async def test_the_answer_to_a_put_is_half_filled(azure: Any, app_body: Any) -> None:
    """Recorded 2025: traffic as sent, fqdn, scale and exposedPort null, no latestRevision, times with a Z."""
    configuration = {"secrets": None, "activeRevisionsMode": "Single", "ingress": SENT_INGRESS}
    answer = await azure.ask(
        "PUT", "containerApps/app1", app_body(configuration=configuration, template=SENT_TEMPLATE) | {"identity": None}
    )
    body = answer.body
    assert answer.status == 201
    assert answer.headers["x-ms-async-operation-timeout"] == "PT15M"
    status = "/providers/Microsoft.App/locations/westus3/containerappOperationStatuses/"
    assert status in answer.headers["Azure-AsyncOperation"]
    assert answer.headers["Azure-AsyncOperation"].endswith("&azureAsyncOperation=true")
    assert "Location" not in answer.headers
    assert body["id"].endswith("/providers/Microsoft.App/containerapps/app1")
    assert (body["type"], body["location"]) == ("Microsoft.App/containerApps", "West US 3")
    assert body["identity"] == {"type": "None"}
    assert body["systemData"]["createdAt"].endswith("Z")
    properties = body["properties"]
    for volatile in ("outboundIpAddresses", "customDomainVerificationId", "environmentId", "managedEnvironmentId"):
        assert properties.pop(volatile)
    assert properties == {
        "provisioningState": "InProgress",
        "workloadProfileName": "Consumption",
        "patchingMode": "Automatic",
        "configuration": {
            "secrets": None,
            "activeRevisionsMode": "Single",
            "targetLabel": None,
            "revisionTransitionThreshold": None,
            "ingress": {
                **SENT_INGRESS,
                "transport": "Auto",
                "traffic": [{"weight": 100, "latestRevision": True}],
            },
            "registries": None,
            "identitySettings": [],
            "dapr": None,
            "runtime": None,
            "maxInactiveRevisions": 100,
            "service": None,
        },
        "template": {
            "revisionSuffix": None,
            "terminationGracePeriodSeconds": None,
            "containers": [
                {
                    "image": "mcr.microsoft.com/k8se/quickstart:latest",
                    "imageType": "CloudBuild",
                    "name": "aiacaappokxj5",
                    "resources": {"cpu": 0.5, "memory": "1Gi", "ephemeralStorage": "2Gi"},
                }
            ],
            "initContainers": None,
            "scale": None,
            "volumes": None,
            "serviceBinds": None,
        },
        "delegatedIdentities": [],
    }


async def test_a_get_after_the_operation_is_whole(azure: Any, app_body: Any) -> None:
    """Recorded 2025: what was null is filled in, times have no zone."""
    configuration = {"secrets": None, "activeRevisionsMode": "Single", "ingress": SENT_INGRESS}
    await azure.put(app_body(configuration=configuration, template=SENT_TEMPLATE), app="app1")
    body = (await azure.ask("GET", "containerApps/app1")).body
    properties = body["properties"]
    revision, port = properties["latestRevisionName"], azure.local.server.port
    assert not body["systemData"]["createdAt"].endswith("Z")
    assert properties["provisioningState"] == "Succeeded"
    assert properties["runningStatus"] == "Running"
    assert properties["latestReadyRevisionName"] == revision
    assert properties["latestRevisionFqdn"] == f"{revision}.env.localhost:{port}"
    assert properties["configuration"]["targetLabel"] == ""
    assert properties["configuration"]["ingress"] == {
        **SENT_INGRESS,
        "fqdn": f"app1.env.localhost:{port}",
        "exposedPort": 0,
        "transport": "Auto",
        "traffic": [{"weight": 100, "latestRevision": True}],
    }
    assert properties["template"] == {
        "revisionSuffix": "",
        "terminationGracePeriodSeconds": None,
        "containers": [
            {
                "image": "mcr.microsoft.com/k8se/quickstart:latest",
                "imageType": "ContainerImage",
                "name": "aiacaappokxj5",
                "resources": {"cpu": 0.5, "memory": "1Gi", "ephemeralStorage": "2Gi"},
            }
        ],
        "initContainers": None,
        "scale": {"minReplicas": None, "maxReplicas": 10, "cooldownPeriod": 300, "pollingInterval": 30, "rules": None},
        "volumes": None,
        "serviceBinds": None,
    }
    assert properties["eventStreamEndpoint"] == (
        f"https://127.0.0.1:{port}/subscriptions/{azure.local.subscription}/resourceGroups/rg/containerApps/app1/eventstream"
    )
    assert "deploymentErrors" not in properties


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        ({"activeRevisionsMode": "single"}, {"activeRevisionsMode": "Single"}),
        ({"ingress": None}, {"ingress": None}),
        ({"secrets": []}, {"secrets": None}),
        ({"secrets": [{"name": "a", "value": "b"}]}, {"secrets": [{"name": "a"}]}),
        ({"registries": []}, {"registries": None}),
        (
            {
                "secrets": [{"name": "a", "value": "b"}],
                "registries": [{"server": "r.io", "username": "u", "passwordSecretRef": "a", "identity": None}],
            },
            {"registries": [{"server": "r.io", "username": "u", "passwordSecretRef": "a", "identity": ""}]},
        ),
        ({"maxInactiveRevisions": None}, {"maxInactiveRevisions": 100}),
    ],
)
async def test_configuration_is_normalised(azure: Any, app_body: Any, sent: Any, got: Any) -> None:
    """Rows of the recorded request-to-GET table."""
    await azure.put(app_body(configuration=sent))
    configuration = (await azure.properties("containerApps/web"))["configuration"]
    assert {name: configuration[name] for name in got} == got


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        ({"transport": "http2"}, {"transport": "Http2"}),
        ({"targetPort": "80"}, {"targetPort": 80}),
        ({"targetPort": None}, {"targetPort": 0}),
        ({"external": None}, {"external": False}),
        ({"traffic": None}, {"traffic": [{"weight": 100, "latestRevision": True}]}),
        (
            {
                "traffic": [
                    {"latestRevision": True, "weight": "100"},
                    {"revisionName": "x--y", "weight": 0, "latestRevision": False, "label": None},
                ]
            },
            {"traffic": [{"latestRevision": True, "weight": 100}, {"revisionName": "x--y", "weight": 0}]},
        ),
    ],
)
async def test_ingress_is_normalised(azure: Any, app_body: Any, sent: Any, got: Any) -> None:
    """Rows of the recorded request-to-GET table."""
    await azure.put(app_body(configuration={"ingress": {"external": True, "targetPort": 1, **sent}}))
    ingress = (await azure.properties("containerApps/web"))["configuration"]["ingress"]
    assert {name: ingress[name] for name in got} == got


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (None, {"cpu": 0.5, "memory": "1Gi", "ephemeralStorage": "2Gi"}),
        ({"cpu": "1.25", "memory": "2.50Gi"}, {"cpu": 1.25, "memory": "2.5Gi", "ephemeralStorage": "8Gi"}),
        ({"cpu": 0.25, "memory": "0.5Gi"}, {"cpu": 0.25, "memory": "0.5Gi", "ephemeralStorage": "1Gi"}),
        ({"cpu": 0.75, "memory": "1.5Gi"}, {"cpu": 0.75, "memory": "1.5Gi", "ephemeralStorage": "4Gi"}),
        ({"cpu": 1.0, "memory": "2.0Gi"}, {"cpu": 1, "memory": "2Gi", "ephemeralStorage": "4Gi"}),
    ],
)
async def test_resources_are_normalised(azure: Any, app_body: Any, sent: Any, got: Any) -> None:
    """Ephemeral storage follows the cores, whatever was sent."""
    container = {"name": "web", "image": "i", "resources": sent}
    await azure.put(app_body(template={"containers": [container]}))
    template = (await azure.properties("containerApps/web"))["template"]
    assert template["containers"][0]["resources"] == got


async def test_no_null_stands_inside_a_container(azure: Any, app_body: Any) -> None:
    """A container's unset lists are left out: clients of the service fail on a null there."""
    env = [{"name": "A", "value": "", "secretRef": None}]
    container = {"name": "web", "image": "i", "env": env, "args": None, "volumeMounts": [], "probes": None}
    await azure.put(app_body(template={"containers": [container]}))
    kept = (await azure.properties("containerApps/web"))["template"]["containers"][0]
    assert set(kept) == {"name", "image", "imageType", "resources", "env"}
    assert kept["env"] == [{"name": "A", "value": ""}]


async def test_a_serverless_gpu_app_has_no_ephemeral_storage(azure: Any, app_body: Any) -> None:
    """Recorded: 8Gi in the answer to the PUT, "" in a GET."""
    container = {"name": "web", "image": "i", "resources": {"cpu": 8, "memory": "56Gi"}}
    answer = await azure.put(app_body(template={"containers": [container]}, workloadProfileName="t4"))
    app = await azure.properties("containerApps/web")
    echoed = answer.body["properties"]["template"]["containers"][0]["resources"]["ephemeralStorage"]
    assert (echoed, app["template"]["containers"][0]["resources"]["ephemeralStorage"]) == ("8Gi", "")


async def test_an_internal_app_has_an_internal_address(azure: Any, app_body: Any) -> None:
    """`<app>.internal.<defaultDomain>`, and nobody answers at the external one."""
    await azure.put(app_body(configuration={"ingress": {"targetPort": 80}}))
    app = await azure.properties("containerApps/web")
    assert app["configuration"]["ingress"]["fqdn"] == f"web.internal.env.localhost:{azure.local.server.port}"
    sites = azure.local.server._apps
    assert sites.site("web.env.localhost") is None
    assert sites.site("web.internal.env.localhost").external is False


@pytest.mark.parametrize(
    ("sent", "kind", "keys"),
    [
        ({"type": "SystemAssigned"}, "SystemAssigned", {"type", "principalId", "tenantId"}),
        (
            {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {"/subscriptions/s/Id": {}}},
            "SystemAssigned, UserAssigned",
            {"type", "principalId", "tenantId", "userAssignedIdentities"},
        ),
        (
            {"type": "userassigned", "userAssignedIdentities": {"/subscriptions/s/Id": {}}},
            "UserAssigned",
            {"type", "userAssignedIdentities"},
        ),
        ({"type": "None"}, "None", {"type"}),
    ],
)
async def test_identities_get_ids(azure: Any, app_body: Any, sent: Any, kind: str, keys: set[str]) -> None:
    """A combined type comes back with a space; ids of a user's identity keep their casing."""
    await azure.put(app_body() | {"identity": sent})
    identity = (await azure.ask("GET", "containerApps/web")).body["identity"]
    assert (identity["type"], set(identity)) == (kind, keys)
    named = identity.get("userAssignedIdentities", {})
    assert list(named) == list(sent.get("userAssignedIdentities", {}))
    assert all(set(ids) == {"principalId", "clientId"} for ids in named.values())


async def test_a_registry_by_the_app_s_own_identity(azure: Any, app_body: Any) -> None:
    """`system`, or the id of one that is assigned, in any case; what isn't used is "" (recorded)."""
    named = "/subscriptions/s/Id"
    registries = [{"server": "r.io", "identity": "system"}, {"server": "s.io", "identity": named.lower()}]
    identity = {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {named: {}}}
    await azure.put(app_body(configuration={"registries": registries}) | {"identity": identity})
    shown = (await azure.properties("containerApps/web"))["configuration"]["registries"]
    assert shown == [{**item, "username": "", "passwordSecretRef": ""} for item in registries]


async def test_identities_are_merged_and_taken_away(azure: Any, app_body: Any) -> None:
    """By a merge patch (recorded for objects); whatever the case of an id, it is one; type None leaves none. No
    revision is made (recorded)."""
    first, second = "/subscriptions/s/Id", "/subscriptions/s/other"
    await azure.put(app_body() | {"identity": {"type": "UserAssigned", "userAssignedIdentities": {first: {}}}})

    async def after(identity: Any) -> Any:
        await azure.ask("PATCH", "containerApps/web", {"identity": identity})
        azure.advance(15)
        return (await azure.ask("GET", "containerApps/web")).body["identity"]

    more = await after({"type": "UserAssigned", "userAssignedIdentities": {second: {}, first.upper(): {}}})
    assert list(more["userAssignedIdentities"]) == [first, second]
    fewer = await after({"type": "UserAssigned", "userAssignedIdentities": {first: None}})
    assert list(fewer["userAssignedIdentities"]) == [second]
    assert await after({"type": "None"}) == {"type": "None"}
    assert len(await azure.revisions()) == 1


async def test_a_revision_shows_the_template_in_its_own_way(azure: Any, app_body: Any) -> None:
    """Recorded: probes [], no ephemeralStorage, no imageType, null periods, createdTime with an offset."""
    await azure.put(app_body(template={"scale": {"minReplicas": 1}}))
    answer = await azure.ask("GET", "containerApps/web/revisions")
    revision = answer.body["value"][0]
    name = revision["name"]
    assert revision["type"] == "Microsoft.App/containerapps/revisions"
    assert revision["id"].endswith(f"/providers/Microsoft.App/containerApps/web/revisions/{name}")
    assert revision["properties"].pop("createdTime").endswith("+00:00")
    assert revision["properties"] == {
        "fqdn": f"{name}.env.localhost:{azure.local.server.port}",
        "template": {
            "revisionSuffix": None,
            "terminationGracePeriodSeconds": None,
            "containers": [
                {
                    "image": "docker.io/library/python:3.12",
                    "name": "web",
                    "resources": {"cpu": 0.5, "memory": "1Gi"},
                    "probes": [],
                }
            ],
            "initContainers": None,
            "scale": {
                "minReplicas": 1,
                "maxReplicas": 10,
                "cooldownPeriod": None,
                "pollingInterval": None,
                "rules": None,
            },
            "volumes": None,
            "serviceBinds": None,
        },
        "active": True,
        "replicas": 1,
        "trafficWeight": 100,
        "healthState": "None",
        "provisioningState": "Provisioned",
        "runningState": "Activating",
    }


async def test_a_replica_says_what_its_containers_do(azure: Any, app_body: Any) -> None:
    """Recorded: no containerId while waiting, then a container id, a start time and the stream addresses."""
    await azure.put(app_body())
    name = (await azure.revisions())[0]["name"]
    path = f"containerApps/web/revisions/{name}/replicas"
    waiting = (await azure.ask("GET", path)).body["value"][0]
    azure.advance(8)
    replica = (await azure.ask("GET", f"{path}/{waiting['name']}/")).body
    before, after = waiting["properties"]["containers"][0], replica["properties"]["containers"][0]
    assert waiting["properties"]["runningState"] == "NotRunning"
    assert "containerId" not in before
    assert before["runningState"] == "Waiting"
    assert replica["type"] == "Microsoft.App/containerapps/revisions/replicas"
    assert replica["properties"]["runningState"] == "Running"
    assert replica["properties"]["initContainers"] == []
    assert after["containerId"].startswith("containerd://")
    assert (after["ready"], after["started"], after["restartCount"]) == (True, True, 0)
    assert after["runningStateDetails"].startswith("Container started at: ")
    assert after["logStreamEndpoint"] == (
        f"https://127.0.0.1:{azure.local.server.port}/subscriptions/{azure.local.subscription}/resourceGroups/rg/"
        f"containerApps/web/revisions/{name}/replicas/{replica['name']}/containers/web/logstream"
    )
