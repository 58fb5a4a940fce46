"""Long-running operations that a rule makes end badly: what their polls say and what they leave behind."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local_azure import clock, faults

ENVIRONMENT = "managedEnvironments/env"
NEW = {"template": {"scale": {"minReplicas": 2}}}
BAD = [("failed", "Failed"), ("canceled", "Canceled")]


def rule(azure: Any, path: str, does: Any, method: str = "") -> None:
    azure.local.server.faults.rules.append(faults.Rule(path, method, does=does, times=1))


async def polled(azure: Any, address: str) -> Any:
    return await azure.arm("GET", address.removeprefix(azure.local.url).split("?")[0])


async def condition(azure: Any, path: str) -> tuple[str, str | None]:
    """provisioningState and deploymentErrors."""
    properties = await azure.properties(path)
    return properties["provisioningState"], properties.get("deploymentErrors")


@pytest.mark.parametrize(("does", "word"), BAD)
async def test_an_app_s_update_ends_badly(azure: Any, app_body: Any, does: str, word: str) -> None:
    """Answered as ever; then the app shows the new template with an error, and its old revision serves on. Assumed."""
    await azure.put(app_body())
    azure.advance(8)
    before = [item["name"] for item in await azure.revisions()]
    rule(azure, "/containerapps/web$", does, "PATCH")
    answer = await azure.ask("PATCH", "containerApps/web", {"properties": NEW})
    assert answer.status == 202
    assert (await condition(azure, "containerApps/web"))[0] == "InProgress"
    azure.advance(15)
    assert (await polled(azure, answer.headers["Azure-AsyncOperation"])).body["status"] == word
    told, error = await condition(azure, "containerApps/web")
    assert told == word
    assert "'web'" in str(error)
    assert (await azure.properties("containerApps/web"))["template"]["scale"]["minReplicas"] == 2
    assert [item["name"] for item in await azure.revisions()] == before
    assert (await azure.triples())[0] == (True, "Provisioned", "Healthy", "Running", 1)


async def test_the_next_write_makes_the_revision_that_is_owed(azure: Any, app_body: Any) -> None:
    """Even one with the same template; the error goes. Assumed."""
    await azure.put(app_body())
    rule(azure, "/containerapps/web$", "failed")
    await azure.patch(NEW)
    await azure.patch(NEW)
    assert await condition(azure, "containerApps/web") == ("Succeeded", None)
    assert len(await azure.revisions()) == 2
    await azure.patch(NEW)
    assert len(await azure.revisions()) == 2


async def test_an_app_s_creation_fails(azure: Any, app_body: Any) -> None:
    """The app is there without a revision; the same PUT again makes it. Assumed."""
    rule(azure, "/containerapps/web$", "failed", "PUT")
    await azure.put(app_body())
    assert (await condition(azure, "containerApps/web"))[0] == "Failed"
    assert await azure.revisions() == []
    await azure.put(app_body())
    assert (await condition(azure, "containerApps/web"))[0] == "Succeeded"
    assert len(await azure.revisions()) == 1


async def test_a_stuck_operation_expires(azure: Any, app_body: Any) -> None:
    """InProgress, refusing writes, for the announced 15 minutes; then Failed with "Operation expired" (recorded:
    registry_msi)."""
    await azure.put(app_body())
    rule(azure, "/containerapps/web$", "stuck", "PATCH")
    answer = await azure.patch(NEW)
    azure.advance(15 * 60 - 16)
    assert (await polled(azure, answer.headers["Azure-AsyncOperation"])).body["status"] == "InProgress"
    assert (await azure.patch(NEW)).status == 409
    assert await condition(azure, "containerApps/web") == ("Failed", "Operation expired")


async def test_a_failed_delete_leaves_a_running_app(azure: Any, app_body: Any) -> None:
    """The poll ends, the app is still there and serves; the next DELETE is carried out. Assumed."""
    await azure.put(app_body())
    azure.advance(8)
    rule(azure, "/containerapps/web$", "failed", "DELETE")
    answer = await azure.ask("DELETE", "containerApps/web")
    azure.advance(18)
    ended = await polled(azure, answer.headers["Location"])
    assert (ended.status, ended.body["properties"]["provisioningState"]) == (200, "Failed")
    assert (await azure.triples())[0] == (True, "Provisioned", "Healthy", "Running", 1)
    await azure.ask("DELETE", "containerApps/web")
    azure.advance(18)
    assert (await azure.ask("GET", "containerApps/web")).status == 404


async def test_a_failed_environment_update_ends_in_200(azure: Any, app_body: Any) -> None:
    """Failed in the body, the profile listed, apps accepted, a later write of the same content succeeds (recorded:
    managedenv-patch-result-200-but-failed)."""
    added = {"name": "d4", "workloadProfileType": "D4", "minimumCount": 0, "maximumCount": 1}
    body = {
        "properties": {"workloadProfiles": [*(await azure.properties(ENVIRONMENT))["workloadProfiles"], added]},
    }
    rule(azure, "/managedenvironments/env$", "failed", "PATCH")
    answer = await azure.ask("PATCH", ENVIRONMENT, body)
    azure.advance(99)
    done = await polled(azure, answer.headers["Location"])
    assert (done.status, done.body["properties"]["provisioningState"]) == (200, "Failed")
    assert "ManagedEnvironmentUpgradeError" in done.body["properties"]["deploymentErrors"]
    assert "d4" in [item["name"] for item in done.body["properties"]["workloadProfiles"]]
    assert (await azure.put(app_body())).status == 201
    assert (await azure.ask("PATCH", ENVIRONMENT, body)).status == 202
    azure.advance(99)
    assert await condition(azure, ENVIRONMENT) == ("Succeeded", None)


async def test_a_failed_environment_creation(azure: Any, app_body: Any) -> None:
    """The recorded words; no app is accepted; the same PUT again creates it (assumed)."""
    body = {"location": "westus3", "properties": {}}
    rule(azure, "/managedenvironments/two$", "failed", "PUT")
    answer = await azure.ask("PUT", "managedEnvironments/two", body)
    azure.advance(104)
    assert (await polled(azure, answer.headers["Azure-AsyncOperation"])).body["status"] == "Failed"
    told, error = await condition(azure, "managedEnvironments/two")
    assert told == "Failed"
    assert str(error).startswith("ErrorCode: ManagedEnvironmentProvisioningError, Message: Fail to create")
    inside = app_body(environment=answer.body["id"])
    assert (await azure.put(inside)).body["error"]["code"] == "ManagedEnvironmentNotProvisioned"
    again = await azure.ask("PUT", "managedEnvironments/two", body)
    assert (again.status, again.body["properties"]["provisioningState"]) == (201, "Waiting")
    azure.advance(104)
    assert await condition(azure, "managedEnvironments/two") == ("Succeeded", None)


@pytest.mark.parametrize(("does", "word"), BAD)
async def test_an_environment_s_delete_ends_badly(azure: Any, does: str, word: str) -> None:
    """It is still there, usable, and says so. Assumed."""
    rule(azure, "/managedenvironments/env$", does, "DELETE")
    answer = await azure.ask("DELETE", ENVIRONMENT)
    azure.advance(986)
    assert (await polled(azure, answer.headers["Location"])).status == 200
    told, error = await condition(azure, ENVIRONMENT)
    assert (told, bool(error)) == (word, True)


async def test_a_failed_account_creation_leaves_nothing(azure: Any) -> None:
    """The poll is an error, the account isn't there, its name is free. Assumed."""
    path = "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/account2"
    body = {"location": "westus3", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    rule(azure, "/storageaccounts/account2$", "failed")
    answer = await azure.arm("PUT", path, body)
    azure.advance(20)
    assert (await polled(azure, answer.headers["Location"])).status == 500
    assert (await azure.arm("GET", path)).status == 404
    assert (await azure.arm("PUT", path, body)).status == 202
    azure.advance(20)
    assert (await azure.arm("GET", path)).body["properties"]["provisioningState"] == "Succeeded"


async def test_a_failed_workspace_creation(azure: Any) -> None:
    """The workspace says Failed; the same PUT again creates it. Assumed."""
    path = "/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/logs"
    rule(azure, "/workspaces/logs$", "failed")
    for expected in ("Failed", "Succeeded"):
        assert (await azure.arm("PUT", path, {"location": "westus3"})).status == 201
        azure.advance(12)
        assert (await azure.arm("GET", path)).body["properties"]["provisioningState"] == expected


async def test_a_failed_group_delete_keeps_everything(azure: Any) -> None:
    """The poll is an error; what was inside is there. Assumed."""
    rule(azure, "/resourcegroups/rg$", "failed", "DELETE")
    answer = await azure.arm("DELETE", "/resourcegroups/rg")
    azure.advance(21 * 60)
    assert (await polled(azure, answer.headers["Location"])).status == 409
    assert (await condition(azure, ENVIRONMENT))[0] == "Succeeded"


async def test_without_provisioning_times_a_stuck_operation_waits_to_be_expired(
    state: Any, serve: Any, plain: Any
) -> None:
    """At time scale 0, and over a restart, it ends when the test says so."""
    group = "/resourcegroups/rg"
    async with serve(state, clock.ScaledClock(0)) as local, plain(local) as arm:
        await arm("PUT", group, {"location": "westus3"})
        local.server.faults.rules.append(faults.Rule("/resourcegroups/rg$", "DELETE", does="stuck", times=1))
        await arm("DELETE", group)
    async with serve(state, clock.ScaledClock(0)) as local, plain(local) as arm:
        assert (await arm("GET", group)).body["properties"]["provisioningState"] == "Deleting"
        local.server.expire()
        assert (await arm("GET", group)).body["properties"]["provisioningState"] == "Succeeded"
