"""The file service and shares, seen through ARM."""

from __future__ import annotations

import pytest
from azure.storage.fileshare.aio import ShareClient

GROUP = "/resourcegroups/lab"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/labstore"
SERVICE = f"{ACCOUNT}/fileServices/default"
BODY = {"location": "westus3", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}


def _sent(quota: int, metadata: dict[str, str]) -> dict[str, object]:
    return {"properties": {"shareQuota": quota, "metadata": metadata}}


@pytest.fixture
async def account(arm, clients) -> str:
    await arm("PUT", GROUP, {"location": "westus3"})
    await (await clients.storage.storage_accounts.begin_create("lab", "labstore", BODY)).result()
    return ACCOUNT


async def test_a_new_share_answers_an_echo_and_a_read_answers_more(account, arm) -> None:
    """The etag is a header of the first and a member of the second; lease words are lower case."""
    made = await arm("PUT", f"{SERVICE}/shares/code", {"properties": {"shareQuota": 1024, "enabledProtocols": "SMB"}})
    read = await arm("GET", f"{SERVICE}/shares/code")
    assert made.status == 201
    assert made.body["properties"] == {"shareQuota": 1024, "enabledProtocols": "SMB"}
    assert "etag" not in made.body
    assert read.body["etag"] == made.headers["etag"]
    assert (read.body["properties"]["leaseStatus"], read.body["properties"]["leaseState"]) == ("unlocked", "available")


async def test_the_sdk_works_on_shares(account, clients) -> None:
    """Create, list, update (metadata as a whole) and delete."""
    shares = clients.storage.file_shares
    await shares.create("lab", "labstore", "code", _sent(5, {"a": "1", "b": "2"}))
    await shares.update("lab", "labstore", "code", _sent(6, {"b": "3"}))
    read = await shares.get("lab", "labstore", "code")
    assert (read.share_quota, read.metadata) == (6, {"b": "3"})
    assert [(each.name, each.enabled_protocols) async for each in shares.list("lab", "labstore")] == [("code", "SMB")]
    await shares.delete("lab", "labstore", "code")
    assert [each async for each in shares.list("lab", "labstore")] == []


async def test_a_share_made_in_arm_takes_files(account, clients, local) -> None:
    """The data plane at the account's endpoint accepts the key that listKeys gave."""
    await clients.storage.file_shares.create("lab", "labstore", "code", _sent(5, {}))
    endpoint = (await clients.storage.storage_accounts.get_properties("lab", "labstore")).primary_endpoints.file
    keys = (await clients.storage.storage_accounts.list_keys("lab", "labstore")).keys_property
    async with ShareClient(
        endpoint,
        "code",
        credential={"account_name": "labstore", "account_key": keys[1].value},
        connection_verify=str(local.ca),
    ) as share:
        await share.get_file_client("hello.txt").upload_file(b"hello")
        read = await share.get_file_client("hello.txt").download_file()
        assert await read.readall() == b"hello"


async def test_a_token_for_storage_opens_files(account, clients, local) -> None:
    """With the backup intent, as the service wants it."""
    await clients.storage.file_shares.create("lab", "labstore", "code", _sent(5, {}))
    async with ShareClient(
        f"{local.url}/labstore/",
        "code",
        credential=clients.credential,
        token_intent="backup",
        connection_verify=str(local.ca),
    ) as share:
        await share.create_directory("inference")
        assert [entry.name async for entry in share.list_directories_and_files()] == ["inference"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/shares/none", None, 404, "ShareNotFound"),
        ("PUT", "/shares/Bad--Name", {"properties": {}}, 400, "InvalidResourceName"),
        ("PUT", "/shares/code", {"properties": {"shareQuota": 0}}, 400, "InvalidRequestPropertyValue"),
        (
            "PUT",
            "",
            {"properties": {"protocolSettings": {"smb": {"multichannel": {"enabled": True}}}}},
            409,
            "FeatureNotSupportedForAccount",
        ),
    ],
)
async def test_a_share_that_cannot_be_is_refused(account, arm, method, path, body, status, code) -> None:
    """Each refusal has the service's status and code."""
    answer = await arm(method, SERVICE + path, body)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)


async def test_a_share_of_a_missing_account_lacks_its_parent(arm) -> None:
    """The gateway says what could not be done to what."""
    await arm("PUT", GROUP, {"location": "westus3"})
    answer = await arm("PUT", f"{SERVICE}/shares/code", {"properties": {}})
    assert (answer.status, answer.body["error"]["code"]) == (404, "ParentResourceNotFound")
    assert (
        "perform 'write' on resource(s) of type 'Microsoft.Storage/storageAccounts/fileServices/shares'"
        in (answer.body["error"]["message"])
    )


async def test_a_share_of_an_unfinished_account_has_to_wait(slow, slow_arm) -> None:
    """The same 409 as for keys."""
    await slow_arm("PUT", GROUP, {"location": "westus3"})
    await slow_arm("PUT", ACCOUNT, BODY)
    early = await slow_arm("PUT", f"{SERVICE}/shares/code", {"properties": {}})
    slow.time.advance(20)
    late = await slow_arm("PUT", f"{SERVICE}/shares/code", {"properties": {}})
    assert (early.status, early.body["error"]["code"]) == (409, "StorageAccountIsNotProvisioned")
    assert late.status == 201


async def test_the_file_service_answers_a_put_with_what_was_sent_only(account, arm) -> None:
    """Its defaults are in reads; an empty PUT answers nearly nothing."""
    retention = {"shareDeleteRetentionPolicy": {"enabled": True, "days": 3}}
    assert (await arm("PUT", SERVICE, {"properties": retention})).body["properties"] == retention
    assert (await arm("PUT", SERVICE, {})).body == {"name": "default"}
    assert (await arm("GET", SERVICE)).body["properties"] == {
        "protocolSettings": {"smb": {}},
        "cors": {"corsRules": []},
        **retention,
    }
