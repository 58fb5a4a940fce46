"""Files and directories are renamed with what belongs to them, and never over another by accident."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare.aio import ShareClient, ShareFileClient

from tests.local_azure.files.service import Service


async def content(file: ShareFileClient) -> bytes:
    return await (await file.download_file()).readall()


async def test_file_keeps_what_belongs_to_it(share: ShareClient) -> None:
    """Content, metadata and id move along; the old name is gone."""
    await share.create_directory("d")
    file = share.get_file_client("up.tmp")
    await file.upload_file(b"bundle", metadata={"digest": "1"})
    before = await file.get_file_properties()
    moved = await file.rename_file("d/bundle.tar.gz")
    after = await moved.get_file_properties()
    assert await content(moved) == b"bundle"
    assert (after.metadata, after.file_id) == ({"digest": "1"}, before.file_id)
    assert not await file.exists()


async def test_onto_an_existing_file(share: ShareClient) -> None:
    """409 ResourceAlreadyExists unless overwriting was asked for."""
    new, old = share.get_file_client("new"), share.get_file_client("old")
    await new.upload_file(b"new")
    await old.upload_file(b"old", metadata={"was": "old"})
    with pytest.raises(ResourceExistsError):
        await new.rename_file("old")
    await new.rename_file("old", overwrite=True)
    assert await content(old) == b"new"
    assert (await old.get_file_properties()).metadata == {}


async def test_missing_source_and_missing_parent(share: ShareClient) -> None:
    """404 ResourceNotFound and 404 ParentNotFound."""
    with pytest.raises(ResourceNotFoundError) as caught:
        await share.get_file_client("none").rename_file("x")
    assert caught.value.error_code == "ResourceNotFound"
    file = share.get_file_client("f")
    await file.create_file(0)
    with pytest.raises(ResourceNotFoundError) as caught:
        await file.rename_file("nowhere/f")
    assert caught.value.error_code == "ParentNotFound"


async def test_directory_with_all_below_it(share: ShareClient) -> None:
    """The metadata of files deep inside is still theirs."""
    await share.create_directory("a")
    await share.create_directory("a/b")
    await share.get_file_client("a/b/f").upload_file(b"x", metadata={"k": "v"})
    await share.get_directory_client("a").rename_directory("z")
    assert (await share.get_file_client("z/b/f").get_file_properties()).metadata == {"k": "v"}
    assert not await share.get_directory_client("a").exists()


async def test_directory_is_never_replaced_nor_put_into_itself(share: ShareClient) -> None:
    """409 over another directory, 400 below itself."""
    a = await share.create_directory("a")
    await share.create_directory("b")
    with pytest.raises(ResourceExistsError):
        await a.rename_directory("b", overwrite=True)
    with pytest.raises(HttpResponseError) as caught:
        await a.rename_directory("a/c")
    assert caught.value.status_code == 400


async def test_only_the_casing(share: ShareClient) -> None:
    """A file renamed to its own name in another case shows the new one."""
    file = share.get_file_client("readme")
    await file.upload_file(b"x", metadata={"k": "v"})
    await file.rename_file("README")
    assert [entry.name async for entry in share.list_directories_and_files()] == ["README"]
    assert (await file.get_file_properties()).metadata == {"k": "v"}


async def test_leased_files_need_their_ids(share: ShareClient) -> None:
    """412 LeaseIdMissing for a leased source and for a leased target."""
    source, target = share.get_file_client("s"), share.get_file_client("t")
    await source.upload_file(b"s")
    await target.upload_file(b"t")
    leases = {"source_lease": await source.acquire_lease(), "destination_lease": await target.acquire_lease()}
    for one in leases:
        with pytest.raises(HttpResponseError) as caught:
            await source.rename_file("t", overwrite=True, **{one: leases[one]})
        assert (caught.value.status_code, caught.value.error_code) == (412, "LeaseIdMissing")
    await source.rename_file("t", overwrite=True, **leases)
    assert await content(target) == b"s"


async def test_read_only_target(share: ShareClient) -> None:
    """409 ReadOnlyAttribute unless told to ignore it."""
    file = share.get_file_client("f")
    await file.upload_file(b"new")
    await share.get_file_client("kept").create_file(3, data=b"old", file_attributes="ReadOnly")
    with pytest.raises(HttpResponseError) as caught:
        await file.rename_file("kept", overwrite=True)
    assert (caught.value.status_code, caught.value.error_code) == (409, "ReadOnlyAttribute")
    assert await content(await file.rename_file("kept", overwrite=True, ignore_read_only=True)) == b"new"


async def test_held_files_neither_move_nor_go(service: Service, share: ShareClient) -> None:
    """409 SharingViolation while an SMB client has the file open; afterwards it works."""
    file, other = share.get_file_client("f"), share.get_file_client("g")
    await file.upload_file(b"f")
    await other.upload_file(b"g")
    service.held.add(service.folder() / "f")
    for refused in (file.delete_file(), file.rename_file("h"), other.rename_file("f", overwrite=True)):
        with pytest.raises(HttpResponseError) as caught:
            await refused
        assert (caught.value.status_code, caught.value.error_code) == (409, "SharingViolation")
    service.held.clear()
    await file.delete_file()
    assert not await file.exists()
