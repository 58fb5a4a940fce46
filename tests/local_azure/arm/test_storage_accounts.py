"""Storage accounts: made in Azure's time, known by one name everywhere, opened by two keys."""

from __future__ import annotations

import base64

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from infra.local_azure import clock

GROUP = "/resourcegroups/lab"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/labstore"
BODY = {"location": "westus3", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}


async def _group(arm, name: str = "lab") -> None:
    await arm("PUT", f"/resourcegroups/{name}", {"location": "westus3"})


async def test_the_sdk_creates_an_account_and_reads_its_keys(local, arm, clients) -> None:
    """The poller ends with the whole resource; the file endpoint is the server's own, by path."""
    await _group(arm)
    accounts = clients.storage.storage_accounts
    made = await (await accounts.begin_create("lab", "labstore", BODY)).result()
    keys = (await accounts.list_keys("lab", "labstore")).keys_property
    assert made.provisioning_state == "Succeeded"
    assert made.primary_endpoints.file == f"{local.url}/labstore/"
    assert [(key.key_name, key.permissions) for key in keys] == [("key1", "FULL"), ("key2", "FULL")]
    assert all(len(base64.b64decode(key.value)) == 64 for key in keys)


async def test_a_creation_says_how_far_it_is(slow, slow_arm) -> None:
    """202 without a body first; Creating, ResolvingDns, Succeeded on reads; no keys before the end."""
    await _group(slow_arm)
    begun = await slow_arm("PUT", ACCOUNT, BODY)
    location = begun.headers["Location"].partition(slow.url)[2].partition("?")[0]
    assert (begun.status, begun.body) == (202, None)
    assert begun.headers["Location"].endswith("?monitor=true&api-version=2025-06-01")
    states = []
    for seconds in (0, 15, 5):
        slow.time.advance(seconds)
        states.append((await slow_arm("GET", ACCOUNT)).body["properties"]["provisioningState"])
        if seconds == 15:
            refused = await slow_arm("POST", f"{ACCOUNT}/listKeys")
            assert (refused.status, refused.body["error"]["code"]) == (409, "StorageAccountIsNotProvisioned")
            assert (await slow_arm("GET", location)).status == 202
    assert states == ["Creating", "ResolvingDns", "Succeeded"]
    assert (await slow_arm("GET", location)).body["name"] == "labstore"


async def test_the_same_creation_sent_twice_is_one(slow_arm) -> None:
    """A client that lost the answer may ask again; another wish has to wait."""
    await _group(slow_arm)
    first = await slow_arm("PUT", ACCOUNT, BODY)
    again = await slow_arm("PUT", ACCOUNT, BODY)
    other = await slow_arm("PUT", ACCOUNT, {**BODY, "tags": {"a": "b"}})
    assert (again.status, again.headers["Location"]) == (202, first.headers["Location"])
    assert (other.status, other.body["error"]["code"]) == (409, "StorageAccountOperationInProgress")


async def test_defaults_are_as_recorded_and_what_is_sent_stays(arm) -> None:
    """A second PUT is a 200 at once, and keeps what it doesn't name."""
    await _group(arm)
    await arm("PUT", ACCOUNT, {**BODY, "tags": {"a": "b"}, "properties": {"minimumTlsVersion": "TLS1_3"}})
    answer = await arm("PUT", ACCOUNT, {**BODY, "properties": {"accessTier": "Cool"}})
    assert answer.status == 200
    assert answer.body["tags"] == {}
    assert answer.body["sku"] == {"name": "Standard_LRS", "tier": "Standard"}
    properties = answer.body["properties"]
    assert (properties["minimumTlsVersion"], properties["accessTier"]) == ("TLS1_3", "Cool")
    assert properties["networkAcls"]["defaultAction"] == "Allow"
    assert properties["encryption"]["services"]["file"]["enabled"]
    assert properties["statusOfPrimary"] == "available"


async def test_a_patch_replaces_tags_as_a_whole_and_merges_properties(arm) -> None:
    """Nothing else changes."""
    await _group(arm)
    await arm("PUT", ACCOUNT, {**BODY, "tags": {"a": "1", "b": "2"}})
    await arm("GET", ACCOUNT)
    answer = await arm("PATCH", ACCOUNT, {"tags": {"b": "3"}, "properties": {"allowBlobPublicAccess": True}})
    assert answer.status == 200
    assert answer.body["tags"] == {"b": "3"}
    assert answer.body["properties"]["allowBlobPublicAccess"] is True
    assert answer.body["properties"]["minimumTlsVersion"] == "TLS1_2"


@pytest.mark.parametrize(
    ("path", "change", "status", "code"),
    [
        ("Bad-Name", {}, 400, "AccountNameInvalid"),
        ("fresh", {"location": None}, 400, "LocationRequired"),
        ("fresh", {"location": "nowhere"}, 400, "LocationNotAvailableForResourceType"),
        ("fresh", {"sku": {"name": "Cheap"}}, 400, "InvalidValuesForRequestParameters"),
        ("fresh", {"kind": "Bucket"}, 400, "InvalidValuesForRequestParameters"),
        ("labstore", {"location": "eastus"}, 409, "InvalidResourceLocation"),
        ("labstore", {"sku": {"name": "Premium_LRS"}}, 409, "AccountPropertyCannotBeUpdated"),
        ("labstore", {"kind": "FileStorage"}, 409, "AccountPropertyCannotBeUpdated"),
    ],
)
async def test_an_account_that_cannot_be_is_refused(arm, path, change, status, code) -> None:
    """Each refusal has the service's status and code."""
    await _group(arm)
    await arm("PUT", ACCOUNT, BODY)
    await arm("GET", ACCOUNT)
    answer = await arm("PUT", ACCOUNT.replace("labstore", path), {**BODY, **change})
    assert (answer.status, answer.body["error"]["code"]) == (status, code)


async def test_a_name_that_somebody_else_has(state, serve, plain) -> None:
    """Not available, with the recorded reason; a creation is refused (assumed)."""
    async with serve(state, clock.ScaledClock(0), taken_accounts=("labstore",)) as local, plain(local) as arm:
        await _group(arm)
        query = {"name": "labstore", "type": "Microsoft.Storage/storageAccounts"}
        check = f"/subscriptions/{local.subscription}/providers/Microsoft.Storage/checkNameAvailability"
        answer = (await arm("POST", check, query)).body
        refused = await arm("PUT", ACCOUNT, BODY)
    assert (answer["nameAvailable"], answer["reason"]) == (False, "AlreadyExists")
    assert (refused.status, refused.body["error"]["code"]) == (409, "StorageAccountAlreadyTaken")


async def test_a_name_is_taken_once_in_all_groups(arm, clients) -> None:
    """The check says so beforehand, the creation refuses, and a deletion frees the name."""
    await _group(arm)
    await _group(arm, "other")
    await arm("PUT", ACCOUNT, BODY)
    query = {"name": "labstore", "type": "Microsoft.Storage/storageAccounts"}
    check = clients.storage.storage_accounts.check_name_availability
    taken = await check(query)
    elsewhere = await arm("PUT", ACCOUNT.replace("/lab/", "/other/"), BODY)
    assert (taken.name_available, taken.reason) == (False, "AlreadyExists")
    assert elsewhere.body["error"]["code"] == "StorageAccountInAnotherResourceGroup"
    assert (await check({**query, "name": "No"})).reason == "AccountNameInvalid"
    assert (await arm("DELETE", ACCOUNT)).status == 200
    assert (await arm("DELETE", ACCOUNT)).status == 204
    assert (await check(query)).name_available


async def test_accounts_are_listed_by_group_and_by_subscription(arm, clients) -> None:
    """Paths are matched without regard to case."""
    await _group(arm)
    await _group(arm, "other")
    await arm("PUT", ACCOUNT, BODY)
    await arm("PUT", ACCOUNT.replace("/lab/", "/other/").replace("labstore", "second"), BODY)
    accounts = clients.storage.storage_accounts
    assert [each.name async for each in accounts.list()] == ["labstore", "second"]
    assert [each.name async for each in accounts.list_by_resource_group("OTHER")] == ["second"]


async def test_a_missing_account_is_the_gateways_404(arm, clients) -> None:
    """With the words and the header of the recording."""
    await _group(arm)
    answer = await arm("GET", ACCOUNT)
    assert answer.headers["x-ms-failure-cause"] == "gateway"
    assert answer.body["error"]["message"].startswith(
        "The Resource 'Microsoft.Storage/storageAccounts/labstore' under resource group 'lab' was not found."
    )
    with pytest.raises(ResourceNotFoundError):
        await clients.storage.storage_accounts.get_properties("lab", "labstore")


async def test_a_regenerated_key_is_new_and_the_other_stays(arm, clients) -> None:
    """So that a client can move from one to the other."""
    await _group(arm)
    accounts = clients.storage.storage_accounts
    await (await accounts.begin_create("lab", "labstore", BODY)).result()
    before = (await accounts.list_keys("lab", "labstore")).keys_property
    after = (await accounts.regenerate_key("lab", "labstore", {"keyName": "key1"})).keys_property
    assert after[0].value != before[0].value
    assert after[1].value == before[1].value
    with pytest.raises(HttpResponseError):
        await accounts.regenerate_key("lab", "labstore", {"keyName": "key9"})
