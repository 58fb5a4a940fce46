"""Managed environments on the wire and over time."""

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.local_azure import clock

SENT = {
    "location": "westus3",
    "tags": None,
    "properties": {
        "daprAIInstrumentationKey": None,
        "vnetConfiguration": None,
        "appLogsConfiguration": {"destination": None, "logAnalyticsConfiguration": None},
        "customDomainConfiguration": None,
        "workloadProfiles": [
            {"workloadProfileType": "Consumption", "Name": "Consumption"},
            {"workloadProfileType": "NC24-A100", "name": "gpu", "minimumCount": 1, "maximumCount": 1},
        ],
        "zoneRedundant": False,
    },
}


async def test_a_create_waits_and_then_succeeds(slow: Any, slow_arm: Any) -> None:
    """The recorded bodies of a GPU environment, before and after; the static address comes last."""
    await slow_arm("PUT", "/resourcegroups/rg", {"location": "westus3"})
    path = "/resourceGroups/rg/providers/Microsoft.App/managedEnvironments/gpu-env"
    created = await slow_arm("PUT", path, SENT)
    headers, body = created.headers, created.body
    assert created.status == 201
    assert "/locations/westus3/managedEnvironmentOperationStatuses/" in headers["Azure-AsyncOperation"]
    assert (headers["x-ms-async-operation-timeout"], "Location" in headers) == ("PT15M", False)
    assert (body["type"], body["location"]) == ("Microsoft.App/managedEnvironments", "West US 3")
    assert "tags" not in body
    assert not body["systemData"]["createdAt"].endswith("Z")
    verification = body["properties"]["customDomainConfiguration"]["customDomainVerificationId"]
    stream = f"/subscriptions/{slow.subscription}/resourceGroups/rg/managedEnvironments/gpu-env/eventstream"
    waiting = {
        "provisioningState": "Waiting",
        "daprAIInstrumentationKey": None,
        "daprAIConnectionString": None,
        "vnetConfiguration": None,
        "defaultDomain": f"gpu-env.localhost:{slow.server.port}",
        "appLogsConfiguration": {"destination": None, "logAnalyticsConfiguration": None},
        "openTelemetryConfiguration": None,
        "zoneRedundant": False,
        "availabilityZones": None,
        "kedaConfiguration": {"version": None},
        "daprConfiguration": {"version": None},
        "ingressConfiguration": None,
        "eventStreamEndpoint": f"{slow.url}{stream}",
        "customDomainConfiguration": {
            "customDomainVerificationId": verification,
            "dnsSuffix": None,
            "certificateKeyVaultProperties": None,
            "certificateValue": None,
            "certificatePassword": None,
            "thumbprint": None,
            "subjectName": None,
            "expirationDate": None,
        },
        "workloadProfiles": [
            {"workloadProfileType": "Consumption", "name": "Consumption", "enableFips": False},
            {
                "workloadProfileType": "NC24-A100",
                "name": "gpu",
                "enableFips": False,
                "minimumCount": 1,
                "maximumCount": 1,
            },
        ],
        "appInsightsConfiguration": None,
        "infrastructureResourceGroup": None,
        "peerAuthentication": {"mtls": {"enabled": False}},
        "peerTrafficConfiguration": {"encryption": {"enabled": False}},
        "publicNetworkAccess": "Enabled",
        "diskEncryptionConfiguration": None,
    }
    assert body["properties"] == waiting
    slow.time.advance(103)
    assert (await slow_arm("GET", path)).body["properties"]["provisioningState"] == "Waiting"
    slow.time.advance(1)
    assert (await slow_arm("GET", path)).body["properties"] == {
        **waiting,
        "provisioningState": "Succeeded",
        "staticIp": "127.0.0.1",
        "kedaConfiguration": {"version": "2.16.1"},
        "daprConfiguration": {"version": "1.13.6-msft.2"},
    }


async def test_a_put_with_nothing_to_do_answers_200(azure: Any) -> None:
    """Without Consumption, which is appended, and in another order; no operation begins."""
    profiles = [
        {"name": "t4", "workloadProfileType": "CONSUMPTION-GPU-NC8AS-T4"},
        {"name": "gpu", "workloadProfileType": "nc24-a100", "maximumCount": 2},
    ]
    body = {"location": "West US 3", "properties": {"workloadProfiles": profiles}}
    answer = await azure.ask("PUT", "managedEnvironments/env", body)
    assert (answer.status, answer.body["properties"]["provisioningState"]) == (200, "Succeeded")
    assert [item["workloadProfileType"] for item in answer.body["properties"]["workloadProfiles"]] == [
        "Consumption",
        "NC24-A100",
        "Consumption-GPU-NC8as-T4",
    ]


async def test_a_changing_put_answers_201_updating(azure: Any) -> None:
    """69 s, and apps wait meanwhile; a second write is refused."""
    profiles = [{"name": "gpu", "workloadProfileType": "NC24-A100", "maximumCount": 3}]
    body = {"location": "westus3", "properties": {"workloadProfiles": profiles}}
    answer = await azure.ask("PUT", "managedEnvironments/env", body)
    assert (answer.status, answer.body["properties"]["provisioningState"]) == (201, "Updating")
    again = await azure.ask("PUT", "managedEnvironments/env", body)
    assert (again.status, again.body["error"]["code"]) == (409, "ManagedEnvironmentOperationInProgress")
    azure.advance(69)
    assert (await azure.properties("managedEnvironments/env"))["provisioningState"] == "Succeeded"


async def test_a_patch_answers_a_location_only(azure: Any) -> None:
    """202 without Azure-AsyncOperation; the result is 200 with the environment. A trivial one is 200 at once."""
    added = {"name": "d4", "workloadProfileType": "d4", "minimumCount": 0, "maximumCount": 1}
    profiles = [*(await azure.properties("managedEnvironments/env"))["workloadProfiles"], added]
    body = {"location": "West US 3", "properties": {"workloadProfiles": profiles}}
    answer = await azure.ask("PATCH", "managedEnvironments/env", body)
    assert (answer.status, answer.body, "Azure-AsyncOperation" in answer.headers) == (202, None, False)
    path = answer.headers["Location"].removeprefix(azure.local.url).split("?")[0]
    assert "/locations/westus3/managedEnvironmentOperationResults/" in path
    azure.advance(98)
    assert (await azure.arm("GET", path)).status == 202
    azure.advance(1)
    done = await azure.arm("GET", path)
    assert (done.status, done.body["properties"]["provisioningState"]) == (200, "Succeeded")
    assert (await azure.ask("PATCH", "managedEnvironments/env", body)).status == 200


async def test_a_failed_patch_ends_in_200_too(azure: Any) -> None:
    """A dedicated GPU profile can't come later: Failed in the body, the profile listed, apps still accepted; asking
    again doesn't help."""
    added = {"name": "more", "workloadProfileType": "NC24-A100", "minimumCount": 0, "maximumCount": 1}
    profiles = [*(await azure.properties("managedEnvironments/env"))["workloadProfiles"], added]
    answer = await azure.ask("PATCH", "managedEnvironments/env", {"properties": {"workloadProfiles": profiles}})
    azure.advance(99)
    done = await azure.arm("GET", answer.headers["Location"].removeprefix(azure.local.url).split("?")[0])
    properties = done.body["properties"]
    assert (done.status, properties["provisioningState"]) == (200, "Failed")
    assert properties["deploymentErrors"] == (
        "ErrorCode: ManagedEnvironmentUpgradeError, Message: Update the managed environment failed."
    )
    assert "more" in [item["name"] for item in properties["workloadProfiles"]]
    await azure.ask("PATCH", "managedEnvironments/env", {"properties": {"workloadProfiles": profiles}})
    azure.advance(99)
    assert (await azure.properties("managedEnvironments/env"))["provisioningState"] == "Failed"


async def test_a_delete_takes_its_time(azure: Any) -> None:
    """202, ScheduledForDelete until it is gone, then 204 for the next."""
    answer = await azure.ask("DELETE", "managedEnvironments/env")
    assert (answer.status, answer.body) == (202, None)
    assert (await azure.properties("managedEnvironments/env"))["provisioningState"] == "ScheduledForDelete"
    azure.advance(986)
    gone = await azure.ask("GET", "managedEnvironments/env")
    assert gone.body["error"] == {
        "code": "ResourceNotFound",
        "message": "The Resource 'Microsoft.App/managedEnvironments/env' under resource group 'rg' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    }
    assert (await azure.ask("DELETE", "managedEnvironments/env")).status == 204


async def test_an_environment_with_apps_is_not_deleted(azure: Any, app_body: Any) -> None:
    """Refused, and usable afterwards."""
    await azure.put(app_body())
    answer = await azure.ask("DELETE", "managedEnvironments/env")
    assert answer.status == 409
    assert (await azure.properties("managedEnvironments/env"))["provisioningState"] == "Succeeded"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"location": "westus3", "properties": {"workloadProfiles": None}}, 400, "WorkloadProfileCannotRemoveAll"),
        ({"location": "eastus", "properties": {}}, 409, "InvalidResourceLocation"),
        ({"location": "mars", "properties": {}}, 400, "NoRegisteredProviderFound"),
        ({"properties": {}}, 400, "LocationRequired"),
        (
            {"location": "westus3", "properties": {"workloadProfiles": [{"name": "x"}]}},
            400,
            "WorkloadProfileInvalid",
        ),
        (
            {
                "location": "westus3",
                "properties": {"workloadProfiles": [{"name": "x", "workloadProfileType": "D4", "maximumCount": 0}]},
            },
            400,
            "WorkloadProfileInvalid",
        ),
        (
            {
                "location": "westus3",
                "properties": {
                    "workloadProfiles": [{"name": "x", "workloadProfileType": "Consumption"}],
                    "appLogsConfiguration": {"destination": "log-analytics"},
                },
            },
            400,
            "InvalidLogAnalyticsConfiguration",
        ),
        ({"location": "westus3", "properties": {"workloadProfiles": {}}}, 400, "InvalidRequestContent"),
        (
            {"location": "westus3", "properties": {"workloadProfiles": [{"name": "x", "workloadProfileType": "X1"}]}},
            400,
            "WorkloadProfileInvalid",
        ),
        (
            {
                "location": "westus3",
                "properties": {
                    "workloadProfiles": [{"name": "gpu", "workloadProfileType": "NC96-A100", "maximumCount": 5}]
                },
            },
            400,
            "QuotaExceeded",
        ),
    ],
)
async def test_what_an_environment_refuses(azure: Any, body: Any, status: int, code: str) -> None:
    """Each is told before anything begins."""
    answer = await azure.ask("PUT", "managedEnvironments/env", body)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert (await azure.properties("managedEnvironments/env"))["provisioningState"] == "Succeeded"


async def test_the_log_key_is_never_answered_and_is_kept(azure: Any) -> None:
    """customerId is echoed, sharedKey null; sending the answer back changes nothing."""
    logs = {
        "destination": "log-analytics",
        "logAnalyticsConfiguration": {"customerId": "c-1", "sharedKey": "secret"},
    }
    await azure.ask("PATCH", "managedEnvironments/env", {"properties": {"appLogsConfiguration": logs}})
    azure.advance(99)
    shown = (await azure.properties("managedEnvironments/env"))["appLogsConfiguration"]
    assert shown["logAnalyticsConfiguration"] == {"customerId": "c-1", "sharedKey": None}
    again = await azure.ask("PATCH", "managedEnvironments/env", {"properties": {"appLogsConfiguration": shown}})
    assert again.status == 200


async def test_profile_states_and_usages_count_what_runs(azure: Any, app_body: Any) -> None:
    """A node for the app that needs it, cores and GPUs of the serverless ones."""
    big = {"containers": [{"name": "web", "image": "i", "resources": {"cpu": 24, "memory": "220Gi"}}]}
    t4 = {"containers": [{"name": "web", "image": "i", "resources": {"cpu": 8, "memory": "56Gi"}}]}
    await azure.put(app_body(template=big, workloadProfileName="gpu"), app="big")
    await azure.put(app_body(template=t4, workloadProfileName="t4"), app="small")
    await azure.put(app_body(), app="cheap")
    states = (await azure.ask("GET", "managedEnvironments/env/workloadProfileStates")).body["value"]
    usages = (await azure.ask("GET", "managedEnvironments/env/usages")).body["value"]
    used = {item["name"]["value"]: (item["currentValue"], item["limit"]) for item in usages}
    assert [(item["name"], item["type"], item["properties"].get("currentCount")) for item in states] == [
        ("Consumption", "Consumption", None),
        ("gpu", "NC24-A100", 1),
        ("t4", "Consumption-GPU-NC8as-T4", None),
    ]
    assert used["ManagedEnvironmentConsumptionT4Gpus"] == (1, 5)
    assert used["ManagedEnvironmentConsumptionCores"] == (0.5, 500)
    assert usages[4]["name"]["localizedValue"] == "Managed Environment Consumption NCA 100 Gpus"


async def test_what_a_region_offers(azure: Any) -> None:
    """The profile types as recorded (no serverless GPU among them) and the subscription's quota."""
    types = (await azure.everywhere("locations/WestUS3/availableManagedEnvironmentsWorkloadProfileTypes")).body["value"]
    by_name = {item["name"]: item for item in types}
    assert by_name["NC24-A100"] == {
        "location": "westus3",
        "properties": {
            "displayName": "Dedicated-NC24-A100",
            "category": "GPU-NC-A100",
            "cores": 24,
            "memoryGiB": 220,
            "gpus": 1,
        },
        "id": f"/subscriptions/{azure.local.subscription}/providers/Microsoft.App/"
        "availableManagedEnvironmentsWorkloadProfileTypes/NC24-A100",
        "name": "NC24-A100",
        "type": "Microsoft.App/availableManagedEnvironmentsWorkloadProfileTypes",
    }
    assert list(by_name)[:9] == ["D4", "D8", "D16", "D32", "E4", "E8", "E16", "E32", "Consumption"]
    assert not [name for name in by_name if name.startswith("Consumption-")]
    usages = (await azure.everywhere("locations/westus3/usages")).body["value"]
    assert [(item["name"]["value"], item["currentValue"]) for item in usages] == [
        ("ManagedEnvironmentCount", 1),
        ("SubscriptionDedicatedNCA100Gpus", 2),
        ("SessionPools", 0),
    ]


async def test_the_gpu_quota_is_a_setting(state: Any, serve: Any, plain: Any) -> None:
    """None granted, as on Azure (recorded: limit 0): told by the region's usages, and a creation is refused (its words
    are assumed); other profiles are not concerned."""
    async with serve(state, clock.ScaledClock(0), gpu_limit=0) as local, plain(local) as arm:
        await arm("PUT", "/resourcegroups/rg", {"location": "westus3"})
        usages = f"/subscriptions/{local.subscription}/providers/Microsoft.App/locations/westus3/usages"
        limits = {item["name"]["value"]: item["limit"] for item in (await arm("GET", usages)).body["value"]}
        assert limits["SubscriptionDedicatedNCA100Gpus"] == 0
        path = "/resourceGroups/rg/providers/Microsoft.App/managedEnvironments/env"
        refused = await arm("PUT", path, SENT)
        assert (refused.status, refused.body["error"]["code"]) == (400, "QuotaExceeded")
        assert "Current limit: 0, current usage: 0, additional requested: 1." in refused.body["error"]["message"]
        d4 = {"name": "d4", "workloadProfileType": "D4", "minimumCount": 0, "maximumCount": 1}
        body = {"location": "westus3", "properties": {"workloadProfiles": [d4]}}
        assert (await arm("PUT", path, body)).status == 201


async def test_a_slow_gpu_environment(state: Any, serve: Any, plain: Any) -> None:
    """984 s, where asked for (recorded once: create_enable_dedicated_gpu)."""
    time = clock.ManualClock(datetime.now(UTC))
    async with serve(state, time, slow_gpu=True) as local, plain(local) as arm:
        await arm("PUT", "/resourcegroups/rg", {"location": "westus3"})
        path = "/resourceGroups/rg/providers/Microsoft.App/managedEnvironments/env"
        await arm("PUT", path, SENT)
        for seconds, expected in ((983, "Waiting"), (1, "Succeeded")):
            time.advance(seconds)
            assert (await arm("GET", path)).body["properties"]["provisioningState"] == expected


async def test_two_environments_of_one_name_have_different_domains(azure: Any) -> None:
    """Host names are unique on the server, whatever the group."""
    await azure.arm("PUT", "/resourcegroups/other", {"location": "westus3"})
    path = "/resourceGroups/other/providers/Microsoft.App/managedEnvironments/env"
    answer = await azure.arm("PUT", path, {"location": "westus3", "properties": {}})
    first = await azure.properties("managedEnvironments/env")
    assert answer.body["properties"]["defaultDomain"] != first["defaultDomain"]
    assert answer.body["properties"]["workloadProfiles"] is None


async def test_a_profile_in_use_stays(azure: Any, app_body: Any) -> None:
    """Refused while an app names it."""
    await azure.put(app_body(workloadProfileName="gpu"))
    profiles = [{"name": "Consumption", "workloadProfileType": "Consumption"}]
    answer = await azure.ask("PATCH", "managedEnvironments/env", {"properties": {"workloadProfiles": profiles}})
    assert (answer.status, answer.body["error"]["code"]) == (400, "WorkloadProfileInUse")


async def test_a_network_gets_its_defaults(azure: Any) -> None:
    """Recorded: internal false is added, unset members are null."""
    network = {"infrastructureSubnetId": "/subscriptions/s/subnets/sub"}
    body = {"location": "westus3", "properties": {"vnetConfiguration": network}}
    answer = await azure.ask("PUT", "managedEnvironments/private", body)
    assert answer.body["properties"]["vnetConfiguration"] == {
        "internal": False,
        "infrastructureSubnetId": "/subscriptions/s/subnets/sub",
        "dockerBridgeCidr": None,
        "platformReservedCidr": None,
        "platformReservedDnsIP": None,
    }


async def test_a_delete_takes_back_a_create(azure: Any) -> None:
    """The environment never becomes Succeeded."""
    await azure.ask("PUT", "managedEnvironments/new", {"location": "westus3", "properties": {}})
    assert (await azure.ask("DELETE", "managedEnvironments/new")).status == 202
    azure.advance(104)
    assert (await azure.properties("managedEnvironments/new"))["provisioningState"] == "ScheduledForDelete"
