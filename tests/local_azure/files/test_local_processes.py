"""What processes do in a share's folder shows through the data plane."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from azure.storage.fileshare.aio import ShareClient

from tests.local_azure.files.service import Service


async def test_files_made_there(service: Service, share: ShareClient) -> None:
    """A process's file is listed and read, with times from the disk and an id."""
    (service.folder() / "models" / "lora").mkdir(parents=True)
    adapter = service.folder() / "models" / "lora" / "adapter.bin"
    adapter.write_bytes(b"weights")
    os.utime(adapter, (1_700_000_000, 1_700_000_000))
    file = share.get_file_client("Models/Lora/ADAPTER.bin")
    properties = await file.get_file_properties()
    assert properties.last_modified == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (properties.size, properties.file_attributes, properties.metadata) == (7, "Archive", {})
    assert await (await file.download_file()).readall() == b"weights"
    assert [entry.name async for entry in share.list_directories_and_files("models/lora")] == ["adapter.bin"]


async def test_writes_change_the_etag(service: Service, share: ShareClient) -> None:
    """A process's write gives another ETag; metadata stays, since the file does."""
    file = share.get_file_client("f")
    await file.upload_file(b"one", metadata={"k": "v"})
    before = await file.get_file_properties()
    with (service.folder() / "f").open("ab") as stream:
        stream.write(b" two")
    after = await file.get_file_properties()
    assert (after.size, after.metadata) == (7, {"k": "v"})
    assert after.etag != before.etag


async def test_another_file_of_the_same_name(service: Service, share: ShareClient) -> None:
    """A file put in place by a rename is another file: nothing of the old one's facts is its."""
    file = share.get_file_client("f")
    await file.upload_file(b"one", metadata={"k": "v"})
    await file.acquire_lease()
    (service.folder() / "new").write_bytes(b"one")
    (service.folder() / "new").rename(service.folder() / "f")
    properties = await file.get_file_properties()
    assert (properties.metadata, properties.lease.state) == ({}, "available")


async def test_names_that_azure_files_cannot_have(service: Service, share: ShareClient) -> None:
    """They are left out of listings instead of breaking them."""
    for name in (b"a:b", b"bad-\xff", b"line\nbreak", b"good"):
        os.close(os.open(os.fsencode(service.folder()) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    assert [entry.name async for entry in share.list_directories_and_files()] == ["good"]


async def test_pipes_do_not_hang_a_read(service: Service, share: ShareClient) -> None:
    """What is neither file nor directory reads as empty."""
    os.mkfifo(service.folder() / "pipe")
    file = share.get_file_client("pipe")
    assert await (await file.download_file()).readall() == b""
