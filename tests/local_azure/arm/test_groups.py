"""Resource groups: created at once, deleted with what they hold in Azure's time."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

GROUP = "/resourcegroups/lab"


async def test_a_new_group_is_a_201_and_a_known_one_a_200(arm) -> None:
    """The location comes back as sent; there are no tags unless some were given."""
    first = await arm("PUT", GROUP, {"location": "westus3"})
    second = await arm("PUT", GROUP, {"location": "westus3", "tags": {"a": "b"}})
    assert (first.status, second.status) == (201, 200)
    assert first.body == {
        "id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/lab",
        "name": "lab",
        "type": "Microsoft.Resources/resourceGroups",
        "location": "westus3",
        "properties": {"provisioningState": "Succeeded"},
    }
    assert second.body["tags"] == {"a": "b"}


async def test_the_sdk_reads_lists_and_checks_groups(clients) -> None:
    """Reads, the existence check and the filter by tag work with the stock client."""
    groups = clients.resources.resource_groups
    await groups.create_or_update("lab", {"location": "westus3", "tags": {"team": "a"}})
    await groups.create_or_update("other", {"location": "westus3"})
    assert (await groups.get("LAB")).name == "lab"
    assert [group.name async for group in groups.list()] == ["lab", "other"]
    assert [g.name async for g in groups.list(filter="tagName eq 'team' and tagValue eq 'a'")] == ["lab"]
    assert await groups.check_existence("lab")
    assert not await groups.check_existence("none")
    with pytest.raises(ResourceNotFoundError) as missing:
        await groups.get("none")
    assert missing.value.error.code == "ResourceGroupNotFound"


async def test_a_patch_replaces_the_tags(clients) -> None:
    """What isn't in the new tags is gone."""
    groups = clients.resources.resource_groups
    await groups.create_or_update("lab", {"location": "westus3", "tags": {"a": "1", "b": "2"}})
    assert (await groups.update("lab", {"tags": {"b": "3"}})).tags == {"b": "3"}


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("lab", {}, 400, "LocationRequired"),
        ("lab", {"location": "nowhere"}, 400, "LocationNotAvailableForResourceGroup"),
        ("lab", {"location": "eastus"}, 409, "InvalidResourceGroupLocation"),
        ("ends.", {"location": "eastus"}, 400, "InvalidResourceGroup"),
        ("lab", {"location": "westus3", "tags": {"a%": "b"}}, 400, "InvalidTagNameCharacters"),
        ("lab", {"location": "westus3", "tags": {"a": "b" * 257}}, 400, "InvalidTagLength"),
    ],
)
async def test_a_group_that_cannot_be_is_refused(arm, name, body, status, code) -> None:
    """Each refusal has ARM's status and code."""
    await arm("PUT", GROUP, {"location": "westus3"})
    answer = await arm("PUT", f"/resourcegroups/{name}", body)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)


async def test_a_deleted_group_goes_with_what_it_holds_when_the_time_is_over(slow, slow_clients, slow_arm) -> None:
    """Until then it says Deleting and takes no writes; afterwards its accounts' names are free again."""
    await slow_arm("PUT", GROUP, {"location": "westus3"})
    account = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/labstore"
    body = {"location": "westus3", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    await slow_arm("PUT", account, body)
    slow.time.advance(20)
    begun = await slow_arm("DELETE", GROUP)
    assert (begun.status, begun.headers["Retry-After"]) == (202, "15")
    location = begun.headers["Location"].partition(slow.url)[2].partition("?")[0]
    assert (await slow_arm("GET", GROUP)).body["properties"]["provisioningState"] == "Deleting"
    refused = await slow_arm("PUT", account, body)
    assert refused.body["error"]["code"] == "ResourceGroupBeingDeleted"
    assert (await slow_arm("GET", location)).status == 202
    slow.time.advance(60)
    done = await slow_arm("GET", location)
    assert (done.status, done.body) == (200, None)
    assert (await slow_arm("GET", GROUP)).status == 404
    name = {"name": "labstore", "type": "Microsoft.Storage/storageAccounts"}
    assert (await slow_clients.storage.storage_accounts.check_name_availability(name)).name_available


async def test_the_sdk_waits_for_a_groups_deletion(clients) -> None:
    """The poller follows the Location to the end; a second deletion is a 404."""
    groups = clients.resources.resource_groups
    await groups.create_or_update("lab", {"location": "westus3"})
    await (await groups.begin_delete("lab")).result()
    assert not await groups.check_existence("lab")
    with pytest.raises(HttpResponseError) as gone:
        await groups.begin_delete("lab")
    assert gone.value.status_code == 404
