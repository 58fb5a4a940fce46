"""Shares and what is noted of them, and of files and directories."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare.aio import ShareClient, ShareServiceClient

from tests.local_azure.files.service import ACCOUNT, Service, Wire


async def test_create_exists_delete(client: ShareServiceClient, service: Service) -> None:
    """A share that exists is a conflict (recorded); deleted, it and its files are gone."""
    share = await client.create_share("data", quota=7, metadata={"owner": "me"})
    with pytest.raises(ResourceExistsError) as caught:
        await client.create_share("data")
    assert caught.value.error_code == "ShareAlreadyExists"
    properties = await share.get_share_properties()
    assert (properties.quota, properties.metadata) == (7, {"owner": "me"})
    await share.get_file_client("f").upload_file(b"x", metadata={"k": "v"})
    await share.delete_share()
    with pytest.raises(ResourceNotFoundError):
        await share.get_share_properties()
    await client.create_share("data")
    assert list(service.folder().iterdir()) == []
    assert not await share.get_file_client("f").exists()


async def test_list_with_prefix_and_pages(client: ShareServiceClient) -> None:
    """By name, in pages, with metadata on request."""
    for name in ("web", "data-b", "data-a", "data-c"):
        await client.create_share(name, metadata={"is": name.replace("-", "_")})
    found = client.list_shares(name_starts_with="data", include_metadata=True, results_per_page=2)
    pages = [[(share.name, share.metadata["is"]) async for share in page] async for page in found.by_page()]
    assert pages == [[("data-a", "data_a"), ("data-b", "data_b")], [("data-c", "data_c")]]


async def test_quota_and_metadata(share: ShareClient) -> None:
    """Each can be set alone; metadata as a whole; each changes the ETag."""
    etags = {(await share.get_share_properties()).etag}
    etags.add((await share.set_share_quota(9))["etag"])
    etags.add((await share.set_share_metadata({"a": "1"}))["etag"])
    await share.set_share_metadata({"b": "2"})
    properties = await share.get_share_properties()
    assert (properties.quota, properties.metadata, len(etags)) == (9, {"b": "2"}, 3)
    with pytest.raises(HttpResponseError) as caught:
        await share.set_share_quota(0)
    assert caught.value.error_code == "InvalidHeaderValue"


async def test_what_the_storage_provider_sees(service: Service, share: ShareClient) -> None:
    """Both ways to a share show one state, the lease's among it."""
    await share.set_share_metadata({"a": "1"})
    await share.acquire_lease()
    seen = service.shares.get(ACCOUNT, "data")
    assert seen is not None
    assert (seen.metadata, seen.lease_state, seen.lease_status) == ({"a": "1"}, "leased", "locked")
    assert seen.etag == (await share.get_share_properties()).etag


async def test_usage(share: ShareClient) -> None:
    """The room the share's files take."""
    await share.get_file_client("f").upload_file(b"x" * 8192)
    assert await share.get_share_stats() == 8192


async def test_missing_share(client: ShareServiceClient) -> None:
    """404 ShareNotFound for whatever is asked of it."""
    with pytest.raises(ResourceNotFoundError) as caught:
        await client.get_share_client("none").get_file_client("f").create_file(1)
    assert caught.value.error_code == "ShareNotFound"


async def test_metadata_as_the_sdk_sends_it(share: ShareClient) -> None:
    """The names keep their case, and the SDK's literal x-ms-meta header leaves no trace (recorded)."""
    file = share.get_file_client("f")
    await file.create_file(0)
    await file.set_file_metadata({"Digest": "sha256:1", "b": "2"})
    assert (await file.get_file_properties()).metadata == {"Digest": "sha256:1", "b": "2"}
    directory = await share.create_directory("d", metadata={"k": "v"})
    await directory.set_directory_metadata({"other": "w"})
    assert (await directory.get_directory_properties()).metadata == {"other": "w"}


@pytest.mark.parametrize(
    ("header", "code"), [({"x-ms-meta-1x": "v"}, "InvalidMetadata"), ({"x-ms-meta-a": "v" * 8001}, "MetadataTooLarge")]
)
async def test_metadata_that_cannot_be(wire: Wire, share: ShareClient, header: dict[str, str], code: str) -> None:
    """Names are identifiers; 8 KiB in all."""
    header = {**header, "x-ms-meta-b": "v" * 300}
    answer, _ = await wire("PUT", "/data?restype=share&comp=metadata", headers=header)
    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, code)


async def test_smb_properties(wire: Wire, share: ShareClient) -> None:
    """Times and attributes named on create are kept; what isn't named later stays (recorded headers)."""
    created = "2020-01-02T03:04:05.1234567Z"
    headers = {"x-ms-file-creation-time": created, "x-ms-file-attributes": "ReadOnly|Archive"}
    headers |= {"x-ms-type": "file", "x-ms-content-length": "1", "x-ms-file-last-write-time": "now"}
    answer, _ = await wire("PUT", "/data/f", headers=headers)
    assert answer.status == 201
    assert answer.headers["x-ms-file-attributes"] == "ReadOnly | Archive"
    assert (answer.headers["x-ms-file-parent-id"], answer.headers["x-ms-request-server-encrypted"]) == ("0", "true")
    answer, _ = await wire("PUT", "/data/f?comp=properties", headers={"x-ms-file-attributes": "none"})
    answer, _ = await wire("HEAD", "/data/f")
    assert answer.headers["x-ms-file-creation-time"] == created
    assert (answer.headers["x-ms-file-attributes"], answer.headers["x-ms-type"]) == ("Archive", "File")


@pytest.mark.parametrize("query", ["comp=copy", "restype=directory&comp=acl", "sharesnapshot=2024-01-01", "restype=x"])
async def test_what_is_not_offered(wire: Wire, share: ShareClient, query: str) -> None:
    """400 InvalidQueryParameterValue (assumed)."""
    answer, _ = await wire("GET", f"/data/f?{query}")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "InvalidQueryParameterValue")
