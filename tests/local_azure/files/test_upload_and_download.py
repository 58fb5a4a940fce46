"""Content goes up and comes down whole, through the SDK's own upload and download."""

from __future__ import annotations

import hashlib
import os

import aiohttp
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare import ContentSettings
from azure.storage.fileshare.aio import ShareClient

from tests.local_azure.files.service import Service, Wire

MIB = 1024 * 1024
# The SDK hands its 4 MiB ranges to aiohttp as bytes.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


async def test_large_file_in_parallel_ranges(service: Service, share: ShareClient) -> None:
    """11 MiB in parallel ranges come back equal, and lie as a plain file in the share's folder."""
    data = os.urandom(11 * MIB + 7)
    file = share.get_file_client("big.bin")
    await file.upload_file(data, max_concurrency=4)
    assert (service.folder() / "big.bin").read_bytes() == data
    assert await (await file.download_file(max_concurrency=4)).readall() == data


async def test_download_beyond_the_first_get(share: ShareClient) -> None:
    """A file longer than the SDK's first 32 MiB request is fetched on by ranges under one ETag."""
    file = share.get_file_client("sparse.bin")
    await file.create_file(34 * MIB)
    await file.upload_range(b"end", offset=34 * MIB - 3, length=3)
    got = await (await file.download_file(max_concurrency=2)).readall()
    assert (len(got), got[-4:]) == (34 * MIB, b"\0end")


async def test_empty_file(share: ShareClient) -> None:
    """An empty file is one request; reading it survives the 416 of its first range."""
    file = share.get_file_client("empty")
    await file.upload_file(b"")
    assert await (await file.download_file()).readall() == b""


async def test_create_with_content_in_one_request(share: ShareClient) -> None:
    """create_file(data=) stores the body."""
    file = share.get_file_client("one.txt")
    await file.create_file(5, data=b"hello")
    assert await (await file.download_file()).readall() == b"hello"


async def test_created_file_has_its_full_length_at_once(service: Service, share: ShareClient) -> None:
    """Before its ranges arrive a file is zeros that take no room: existing isn't complete."""
    file = share.get_file_client("later.bin")
    await file.create_file(3 * MIB)
    assert (await file.get_file_properties()).size == 3 * MIB
    assert [found async for found in file.list_ranges()] == []
    assert (service.folder() / "later.bin").stat().st_blocks == 0


async def test_create_over_a_file_replaces_it(share: ShareClient) -> None:
    """Content and metadata of the old file are gone; over a directory it is a conflict (recorded)."""
    file = share.get_file_client("f")
    await file.upload_file(b"a longer text", metadata={"old": "1"})
    await file.upload_file(b"short")
    assert await (await file.download_file()).readall() == b"short"
    assert (await file.get_file_properties()).metadata == {}
    await share.create_directory("d")
    with pytest.raises(ResourceExistsError) as caught:
        await share.get_file_client("d").create_file(1)
    assert caught.value.error_code == "ResourceAlreadyExists"


async def test_parents_are_not_created(share: ShareClient) -> None:
    """Recorded: 404 ParentNotFound."""
    with pytest.raises(ResourceNotFoundError) as caught:
        await share.get_file_client("no/such/f").create_file(1)
    assert caught.value.error_code == "ParentNotFound"


async def test_content_settings_come_back(share: ShareClient) -> None:
    """What was set on upload is shown on read; the file's own MD5 too."""
    md5 = bytearray(hashlib.md5(b"x").digest())
    settings = ContentSettings(content_type="text/plain", cache_control="no-store", content_md5=md5)
    file = share.get_file_client("t")
    await file.upload_file(b"x", content_settings=settings)
    shown = (await file.get_file_properties()).content_settings
    assert (shown.content_type, shown.cache_control, shown.content_md5) == ("text/plain", "no-store", md5)


async def test_download_validates_each_range(share: ShareClient) -> None:
    """validate_content has each range's MD5 sent and checked, up and down."""
    file = share.get_file_client("v")
    await file.upload_file(b"checked", validate_content=True)
    assert await (await file.download_file(validate_content=True)).readall() == b"checked"


async def test_wrong_md5_stores_nothing(wire: Wire, share: ShareClient) -> None:
    """400 Md5Mismatch, and the range stays as it was."""
    await share.get_file_client("f").create_file(3)
    headers = {"x-ms-range": "bytes=0-2", "x-ms-write": "update", "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    answer, _ = await wire("PUT", "/data/f?comp=range", headers=headers, data=b"abc")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "Md5Mismatch")
    assert (await wire("GET", "/data/f"))[1] == b"\0\0\0"


async def test_range_past_the_end(share: ShareClient) -> None:
    """416 InvalidRange: a write doesn't lengthen a file."""
    file = share.get_file_client("f")
    await file.create_file(4)
    with pytest.raises(HttpResponseError) as caught:
        await file.upload_range(b"abc", offset=2, length=3)
    assert (caught.value.status_code, caught.value.error_code) == (416, "InvalidRange")


async def test_clear_gives_the_room_back(share: ShareClient) -> None:
    """A cleared range reads as zeros and is no longer listed."""
    file = share.get_file_client("f")
    await file.upload_file(b"x" * MIB)
    await file.clear_range(0, MIB // 4)
    await file.clear_range(MIB // 2, MIB // 4)
    pages = file.list_ranges(results_per_page=1).by_page()
    found = [[(part.start, part.end) async for part in page] async for page in pages]
    assert found == [[(MIB // 4, MIB // 2 - 1)], [(3 * MIB // 4, MIB - 1)]]
    assert await (await file.download_file(offset=MIB // 4 - 1, length=2)).readall() == b"\0x"


async def test_ranges_out_of_order(share: ShareClient) -> None:
    """The last range may come first."""
    file = share.get_file_client("f")
    await file.create_file(6)
    await file.upload_range(b"def", offset=3, length=3)
    await file.upload_range(b"abc", offset=0, length=3)
    assert await (await file.download_file()).readall() == b"abcdef"


async def test_resize(share: ShareClient) -> None:
    """A file is cut, and lengthened by zeros."""
    file = share.get_file_client("f")
    await file.upload_file(b"abcdef")
    await file.resize_file(3)
    await file.resize_file(5)
    assert await (await file.download_file()).readall() == b"abc\0\0"


async def test_every_write_changes_the_etag(share: ShareClient) -> None:
    """Ranges, metadata and properties each give the file another ETag."""
    file = share.get_file_client("f")
    seen = {(await file.create_file(4))["etag"]}
    seen.add((await file.upload_range(b"ab", offset=0, length=2))["etag"])
    seen.add((await file.set_file_metadata({"a": "b"}))["etag"])
    seen.add((await file.set_http_headers(ContentSettings(content_type="a/b")))["etag"])
    assert len(seen) == 4
    assert (await file.get_file_properties()).etag in seen


async def test_the_standard_range_header(wire: Wire, share: ShareClient) -> None:
    """Range counts like x-ms-range; from the file's end on it is 416."""
    await share.get_file_client("f").upload_file(b"abcdef")
    answer, body = await wire("GET", "/data/f", headers={"Range": "bytes=4-"})
    assert (answer.status, answer.headers["Content-Range"], body) == (206, "bytes 4-5/6", b"ef")
    answer, _ = await wire("GET", "/data/f", headers={"Range": "bytes=6-"})
    assert (answer.status, answer.headers["x-ms-error-code"]) == (416, "InvalidRange")


async def test_file_cut_by_a_process_while_it_is_read(service: Service, wire: Wire, share: ShareClient) -> None:
    """The client sees a broken answer, not a short file."""
    await share.get_file_client("f").create_file(256 * MIB)
    async with wire.open("GET", "/data/f") as answer:
        os.truncate(service.folder() / "f", 0)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_copying_is_refused(share: ShareClient) -> None:
    """What isn't offered says so instead of seeming to work."""
    with pytest.raises(HttpResponseError) as caught:
        await share.get_file_client("f").start_copy_from_url("https://elsewhere.invalid/x")
    assert caught.value.error_code == "UnsupportedHeader"
