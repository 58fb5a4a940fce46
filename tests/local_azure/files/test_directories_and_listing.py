"""Directories are made, listed page by page, and deleted when empty."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare.aio import ShareClient

from infra.local_azure.files import moments
from tests.local_azure.files.service import Wire


async def test_create_exists_delete(share: ShareClient) -> None:
    """A directory that exists is a conflict; one deleted is 404."""
    directory = await share.create_directory("d")
    assert await directory.exists()
    with pytest.raises(ResourceExistsError):
        await share.create_directory("D")
    await directory.delete_directory()
    assert not await directory.exists()


async def test_only_empty_directories_go(share: ShareClient) -> None:
    """409 DirectoryNotEmpty (documented)."""
    directory = await share.create_directory("d")
    await directory.upload_file("f", b"x")
    with pytest.raises(HttpResponseError) as caught:
        await directory.delete_directory()
    assert (caught.value.status_code, caught.value.error_code) == (409, "DirectoryNotEmpty")


async def test_a_file_is_no_directory(share: ShareClient) -> None:
    """?restype=directory on a file is 404, and so is a file's HEAD on a directory."""
    await share.get_file_client("f").create_file(0)
    await share.create_directory("d")
    assert not await share.get_directory_client("f").exists()
    assert not await share.get_file_client("d").exists()


async def test_pages_by_marker(share: ShareClient) -> None:
    """Pages are full, in order, and hold each entry once, even when one listed before is deleted."""
    for name in ("e", "B", "a", "C", "d"):
        await share.get_file_client(name).create_file(0)
    pages = share.get_directory_client("").list_directories_and_files(results_per_page=2).by_page()
    found = [[entry.name async for entry in await anext(pages)]]
    await share.get_file_client("a").delete_file()
    found += [[entry.name async for entry in page] async for page in pages]
    assert found == [["a", "B"], ["C", "d"], ["e"]]


async def test_prefix_and_properties(share: ShareClient) -> None:
    """include brings times, ETag, attributes and ids; the prefix picks."""
    await share.create_directory("logs")
    await share.get_file_client("log & 'more'").create_file(7)
    await share.get_file_client("other").create_file(0)
    listing = share.list_directories_and_files(name_starts_with="log", include=["timestamps", "Etag", "Attributes"])
    directory, file = sorted([entry async for entry in listing], key=lambda entry: not entry.is_directory)
    assert (file.name, file.size, file.file_attributes) == ("log & 'more'", 7, "Archive")
    assert file.etag == (await share.get_file_client("log & 'more'").get_file_properties()).etag
    assert (directory.name, directory.is_directory, directory.file_attributes) == ("logs", True, "Directory")


async def test_listing_on_the_wire(wire: Wire, share: ShareClient) -> None:
    """Recorded: a byte order mark, the elements' names and their order."""
    await share.get_file_client("f").create_file(1)
    answer, body = await wire("GET", "/data?restype=directory&comp=list&maxresults=5000&include=timestamps,Etag")
    text = body.decode()
    assert answer.headers["Content-Type"] == "application/xml"
    assert text.startswith('\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://')
    names = ["MaxResults", "DirectoryId", "Entries", "File", "Name", "FileId", "Properties", "Content-Length"]
    names += ["CreationTime", "LastAccessTime", "LastWriteTime", "ChangeTime", "Last-Modified", "Etag", "NextMarker"]
    places = [text.index(f"<{name}") for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize("query", ["maxresults=0", "maxresults=x", "marker=%FF", "include=everything"])
async def test_bad_queries(wire: Wire, share: ShareClient, query: str) -> None:
    """A query that can't be understood is 400."""
    answer, _ = await wire("GET", f"/data?restype=directory&comp=list&{query}")
    assert answer.status == 400


async def test_missing_directory(share: ShareClient) -> None:
    """Listing what isn't there is 404."""
    with pytest.raises(ResourceNotFoundError):
        [entry async for entry in share.list_directories_and_files("nowhere")]


def test_etag_is_the_tick_of_the_last_change() -> None:
    """Recorded: one moment as ETag, as change time and as Last-Modified."""
    tick = moments.parse("2024-06-20T04:27:43.4146374Z")
    assert moments.etag(tick) == '"0x8DC90E1542E8E46"'
    assert moments.iso(tick) == "2024-06-20T04:27:43.4146374Z"
    assert moments.http(tick) == "Thu, 20 Jun 2024 04:27:43 GMT"
