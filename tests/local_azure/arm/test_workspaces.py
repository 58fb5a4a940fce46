"""Log Analytics workspaces: their states, ids and keys."""

from __future__ import annotations

import pytest
from azure.core.exceptions import ResourceNotFoundError

GROUP = "/resourcegroups/lab"
WORKSPACE = f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/lab-logs"
BODY = {"location": "westus3", "properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30}}


async def test_a_new_workspace_has_an_id_before_it_is_done(slow, slow_arm) -> None:
    """201 Creating with both headers: the status document ends after 12 s, the Location is the workspace."""
    await slow_arm("PUT", GROUP, {"location": "westus3"})
    begun = await slow_arm("PUT", WORKSPACE, BODY)
    status = begun.headers["Azure-AsyncOperation"].partition(slow.url)[2]
    assert begun.status == 201
    assert begun.body["properties"]["provisioningState"] == "Creating"
    assert begun.body["properties"]["customerId"]
    assert status.endswith("?api-version=2015-11-01-preview")
    assert begun.headers["Location"].endswith("/workspaces/lab-logs?api-version=2025-06-01")
    path = status.partition("?")[0]
    early = (await slow_arm("GET", path)).body
    slow.time.advance(12)
    late = (await slow_arm("GET", path)).body
    assert set(early) == {"id", "name", "status", "startTime"}
    assert (early["status"], late["status"]) == ("InProgress", "Succeeded")
    assert set(late) - set(early) == {"endTime", "properties"}
    assert (await slow_arm("GET", WORKSPACE)).body["properties"]["provisioningState"] == "Succeeded"


async def test_the_sdk_makes_a_workspace_and_reads_its_keys(arm, clients) -> None:
    """A re-PUT is a 200; tags and retention change by PATCH; a deleted one is gone."""
    await arm("PUT", GROUP, {"location": "westus3"})
    workspaces = clients.logs.workspaces
    made = await (await workspaces.begin_create_or_update("lab", "lab-logs", BODY)).result()
    keys = await clients.logs.shared_keys.get_shared_keys("lab", "lab-logs")
    changed = await workspaces.update("lab", "lab-logs", {"tags": {"a": "b"}, "properties": {"retentionInDays": 60}})
    again = await arm("PUT", WORKSPACE, BODY)
    assert (made.provisioning_state, made.sku.name) == ("Succeeded", "PerGB2018")
    assert keys.primary_shared_key != keys.secondary_shared_key
    assert (changed.tags, changed.retention_in_days) == ({"a": "b"}, 60)
    assert (again.status, again.body["properties"]["customerId"]) == (200, made.customer_id)
    assert [each.name async for each in workspaces.list_by_resource_group("lab")] == ["lab-logs"]
    await (await workspaces.begin_delete("lab", "lab-logs")).result()
    with pytest.raises(ResourceNotFoundError):
        await workspaces.get("lab", "lab-logs")


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("abc", {}, "InvalidParameter"),
        ("lab-logs", {"location": "nowhere"}, "LocationNotAvailableForResourceType"),
        ("lab-logs", {"properties": {"sku": {"name": "Free beer"}}}, "InvalidParameter"),
        ("lab-logs", {"properties": {"retentionInDays": 1000}}, "InvalidParameter"),
    ],
)
async def test_a_workspace_that_cannot_be_is_refused(arm, name, change, code) -> None:
    """With a 400."""
    await arm("PUT", GROUP, {"location": "westus3"})
    answer = await arm("PUT", WORKSPACE.replace("lab-logs", name), {**BODY, **change})
    assert (answer.status, answer.body["error"]["code"]) == (400, code)


async def test_a_workspace_never_moves(arm) -> None:
    """The gateway refuses another region."""
    await arm("PUT", GROUP, {"location": "westus3"})
    await arm("PUT", WORKSPACE, BODY)
    answer = await arm("PUT", WORKSPACE, {**BODY, "location": "eastus"})
    assert (answer.status, answer.body["error"]["code"]) == (409, "InvalidResourceLocation")
