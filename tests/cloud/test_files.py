"""Files on a share: written aside, checked on the way, renamed into place; and what passes by itself."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from azure.core.pipeline.transport import AioHttpTransport
from pydantic import SecretStr

from controller.cloud import azure as adapter
from controller.cloud import files, network, share_calls
from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from infra.local_azure import server

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub

WEST = {"location": "westus3"}
FAST = share_calls.Pace(first=0.001, longest=0.002)


class Recorded(AioHttpTransport):  # type: ignore[misc]
    """A transport that remembers the headers of what it sends, and how many requests were under way at once."""

    def __init__(self, session: Any) -> None:
        super().__init__(session=session, session_owner=False)
        self.sent: list[Any] = []
        self.most = 0
        self._under_way = 0

    async def send(self, request: Any, **options: Any) -> Any:
        self.sent.append(request)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return await super().send(request, **options)
        finally:
            self._under_way -= 1


@pytest.fixture
async def account(azure: adapter.Azure, names: Names) -> observed.Resource:
    body = {**WEST, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}}
    await azure.create(Kind.GROUP, names.group, WEST)
    await azure.create(Kind.ACCOUNT, names.account, body)
    await azure.create(Kind.SHARE, names.share, {"properties": {"shareQuota": 5}})
    seen = await azure.read(Kind.ACCOUNT, names.account)
    assert seen is not None
    return seen


@pytest.fixture
async def share(azure: adapter.Azure, account: observed.Resource) -> AsyncIterator[files.Share]:
    async with azure.share(account, "share-one") as share:
        yield share


@pytest.fixture
async def transport(local: server.Server) -> AsyncIterator[Recorded]:
    session = network.session(network.trust(), for_sdk=True)
    yield Recorded(session)
    await session.close()


async def test_a_small_file_is_two_requests(local: server.Server, share: files.Share) -> None:
    """Created with its content in one, renamed in the other; missing folders are made when they are missed."""
    await share.write("a/b/first.txt", b"hello")
    before = len(local.requests)
    await share.write("a/b/second.txt", b"again")
    assert [served.method for served in local.requests[before:]] == ["PUT", "PUT"]
    assert await share.read("a/b/first.txt") == b"hello"
    assert await share.read("a/b/second.txt") == b"again"
    assert await share.names("a/b") == {"first.txt": False, "second.txt": False}


async def test_a_folder_says_when_its_files_were_written(share: files.Share) -> None:
    """Files by name with their last write, folders left out; a missing folder is empty."""
    await share.write("releases/one", b"1")
    await share.write("releases/two", b"2")
    await share.write("releases/below/three", b"3")
    written = await share.written("releases")
    assert sorted(written) == ["one", "two"]
    assert written["one"] <= written["two"]
    assert await share.written("nowhere") == {}


async def test_a_large_file_goes_in_ranges(share: files.Share, tmp_path: Path) -> None:
    """What is larger than one range arrives whole, over what was there before."""
    source = tmp_path / "bundle.tar.gz"
    source.write_bytes(os.urandom(2 * files.RANGE + 3))
    await share.write("releases/bundle.tar.gz", b"old and longer than nothing")
    await share.upload("releases/bundle.tar.gz", source)
    assert source.stat().st_size == await share.size("releases/bundle.tar.gz")
    assert source.read_bytes() == await share.read("releases/bundle.tar.gz")
    assert await share.names("releases") == {"bundle.tar.gz": False}


@pytest.mark.parametrize("length", [1, files.RANGE, files.RANGE + 1])
async def test_the_service_checks_every_byte(
    azure: adapter.Azure, account: observed.Resource, transport: Recorded, tmp_path: Path, length: int
) -> None:
    """Each request with content carries the MD5 of that content."""
    source = tmp_path / "file"
    source.write_bytes(os.urandom(length))
    keys = await azure.account_keys(account.id)

    async def given() -> tuple[SecretStr, ...]:
        return keys

    async with files.ShareSession(account, "share-one", keys=given, transport=lambda: transport) as share:
        await share.upload("file", source)
    content = [request for request in transport.sent if request.headers.get("Content-Length", "0") != "0"]
    assert length == sum(int(request.headers["Content-Length"]) for request in content)
    for request in content:
        start = int(request.headers.get("x-ms-range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        data = source.read_bytes()[start : start + int(request.headers["Content-Length"])]
        assert base64.b64encode(hashlib.md5(data).digest()).decode() == request.headers["Content-MD5"]


async def test_the_beginning_of_a_file(share: files.Share) -> None:
    """No more is fetched, however large the file is by now; of one that is shorter all of it."""
    await share.write("config.json", b"0123456789")
    await share.write("empty.json", b"")
    for most, data in ((4, b"0123"), (10, b"0123456789"), (11, b"0123456789")):
        assert await share.read("config.json", most=most) == data
    assert await share.read("empty.json", most=4) == b""
    assert await share.read("missing.json", most=4) is None


async def test_an_empty_file(share: files.Share) -> None:
    """No content, no range."""
    await share.write("empty", b"")
    assert (await share.size("empty"), await share.read("empty")) == (0, b"")


async def test_many_files_at_once_share_the_slots(
    azure: adapter.Azure, account: observed.Resource, transport: Recorded
) -> None:
    """A thousand calls don't become a thousand connections, and a missing folder is made once."""
    keys = await azure.account_keys(account.id)

    async def given() -> tuple[SecretStr, ...]:
        return keys

    async with files.ShareSession(account, "share-one", keys=given, transport=lambda: transport) as share:
        await asyncio.gather(*(share.write(f"new/folder/{n}.py", b"x" * n) for n in range(40)))
        assert len(await share.names("new/folder")) == 40
    made = [request for request in transport.sent if "restype=directory" in request.url and request.method == "PUT"]
    assert len(made) <= 3
    assert transport.most <= share_calls.IN_FLIGHT


async def test_absence_is_a_fact(share: files.Share) -> None:
    """Nothing raises for what isn't there."""
    assert (await share.size("a/b"), await share.read("a/b"), await share.names("a")) == (None, None, {})
    await share.delete("a/b")
    await share.prune("a")


async def test_prune_goes_up_as_far_as_it_is_empty(share: files.Share) -> None:
    """Empty folders go, a folder with something in it stays."""
    await share.write("a/keep", b"x")
    await share.write("a/b/c/gone", b"x")
    await share.delete("a/b/c/gone")
    await share.prune("a/b/c")
    assert await share.names("a") == {"keep": False}
    await share.write("a/b/c/again", b"x")
    assert await share.read("a/b/c/again") == b"x"


async def test_nothing_is_left_aside_when_an_upload_fails(share: files.Share, tmp_path: Path) -> None:
    """A file that can't be put in place leaves no temporary one, and what was there stays."""
    await share.write("folder/inside", b"x")
    with pytest.raises(outcome.OutcomeError):
        await share.write("folder", b"a folder has this name")
    source = tmp_path / "shrinking"
    source.write_bytes(b"x" * (files.RANGE + 1))
    uploading = asyncio.create_task(share.upload("shrinking", source))
    source.unlink()
    with pytest.raises(outcome.OutcomeError):
        await uploading
    assert await share.names("") == {"folder": True}


async def test_a_local_file_that_is_gone_is_not_the_services_fault(share: files.Share, tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(outcome.OutcomeError, match=r"missing\.txt can't be read") as raised:
        await share.upload("x", tmp_path / "missing.txt")
    assert raised.value.outcome.reason == Reason.INVALID_CONTENT  # type: ignore[union-attr]


async def test_what_a_killed_upload_left_is_swept(
    share: files.Share, local: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary file that nobody writes to any more goes with the next upload; a fresh one may be somebody's."""
    left = "releases/.bundle.tar.gz.acaops-0123abcd"
    await share.write(left, b"half")
    assert files.is_temporary(left.rpartition("/")[2])
    share._swept.clear()
    await share.write("releases/one", b"x")
    assert await share.read(left) == b"half"
    monkeypatch.setattr(files, "ABANDONED_AFTER", -files.ABANDONED_AFTER)
    share._swept.clear()
    await share.write("releases/two", b"x")
    assert await share.names("releases") == {"one": False, "two": False}


@pytest.mark.parametrize("name", ["bundle.tar.gz", ".hidden", "x.acaops-0123abcd", ".x.acaops-12"])
def test_a_users_file_is_not_taken_for_a_temporary_one(name: str) -> None:
    """Only what an upload writes aside is."""
    assert not files.is_temporary(name)


async def test_the_second_key_is_taken_once_when_the_first_is_refused(
    azure: adapter.Azure, account: observed.Resource, transport: Recorded
) -> None:
    """A key that was rotated away between reading and using it costs one request."""
    good = (await azure.account_keys(account.id))[1]
    bad = SecretStr(base64.b64encode(b"0" * 64).decode())

    async def rotated() -> tuple[SecretStr, ...]:
        return (bad, good)

    async with files.ShareSession(account, "share-one", keys=rotated, transport=lambda: transport) as share:
        await share.write("a", b"x")
        assert await share.read("a") == b"x"
    refused, repeated, *rest = transport.sent
    assert refused.url == repeated.url
    assert refused.headers["Authorization"] != repeated.headers["Authorization"]
    assert [request.method for request in rest] == ["PUT", "GET", "GET"]


async def test_two_refused_keys_are_told(azure: adapter.Azure, account: observed.Resource, transport: Recorded) -> None:
    """Stalled, looked at again seldom, with no key in it."""
    bad = base64.b64encode(b"0" * 64).decode()

    async def wrong() -> tuple[SecretStr, ...]:
        return (SecretStr(bad), SecretStr(bad))

    async with files.ShareSession(account, "share-one", keys=wrong, transport=lambda: transport) as share:
        with pytest.raises(outcome.OutcomeError) as raised:
            await share.size("a")
    judged = raised.value.outcome
    assert isinstance(judged, outcome.Stalled)
    assert (judged.reason, judged.slowly) == (Reason.AUTHENTICATION_FAILED, True)
    assert bad not in judged.message


async def test_an_account_without_an_endpoint_is_waited_for(azure: adapter.Azure) -> None:
    """An account still being made has no share to open."""
    with pytest.raises(outcome.OutcomeError) as raised:
        async with azure.share(observed.Resource({"name": "accountone", "properties": {}}), "share-one"):
            pass
    assert isinstance(raised.value.outcome, outcome.Waiting)


async def key() -> tuple[SecretStr, ...]:
    return (SecretStr(base64.b64encode(b"0" * 64).decode()),)


@pytest.fixture
async def unwell(stub: Stub) -> AsyncIterator[files.Share]:
    """A share whose service answers what the stub is told."""
    session = network.session(network.trust(), for_sdk=True)
    endpoints = {"file": f"{stub.url}/accountone/"}
    account = observed.Resource({"name": "accountone", "properties": {"primaryEndpoints": endpoints}})
    opened = files.ShareSession(account, "share-one", keys=key, transport=lambda: Recorded(session), pace=FAST)
    async with opened as share:
        yield share
    await session.close()


def xml(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Because.</Message></Error>"


CREATED = {"ETag": '"1"', "Last-Modified": "Sun, 22 Nov 2026 12:00:00 GMT"}


async def test_a_busy_service_is_asked_again_in_place(stub: Stub, unwell: files.Share) -> None:
    """Server trouble in the middle of an upload costs a repeated request, not a repeated upload."""
    stub.answer(503, xml("ServerBusy"))
    stub.answer(500, xml("InternalError"))
    stub.answer(201, "", CREATED)
    stub.answer(200, "", CREATED)
    await unwell.write("a", b"x")
    assert [asked.method for asked in stub.asked[:4]] == ["PUT"] * 4


async def test_a_service_that_stays_busy_is_given_up(stub: Stub, unwell: files.Share) -> None:
    """After a few attempts it is the caller's to wait."""
    stub.answer(503, xml("ServerBusy"))
    with pytest.raises(outcome.OutcomeError) as raised:
        await unwell.size("a")
    assert isinstance(raised.value.outcome, outcome.Transient)
    assert len(stub.asked) == share_calls.ATTEMPTS


@pytest.mark.parametrize("code", ["SharingViolation", "FileLockConflict"])
async def test_a_locked_file_is_waited_for_by_the_caller(stub: Stub, unwell: files.Share, code: str) -> None:
    """Somebody has it open: Waiting, after one request."""
    stub.answer(409, xml(code), {"x-ms-error-code": code})
    with pytest.raises(outcome.OutcomeError) as raised:
        await unwell.delete("a")
    assert raised.value.outcome == outcome.Waiting(Reason.CONFLICT, f"Because ({code}, HTTP 409)")
    assert len(stub.asked) == 1


async def test_a_rename_whose_answer_was_lost_is_not_a_failure(stub: Stub, unwell: files.Share) -> None:
    """The second attempt finds the source gone and the file in place at its length."""
    missing = {"x-ms-error-code": "ResourceNotFound"}
    head = {**CREATED, "x-ms-type": "File"}
    stub.answer(201, "", CREATED)
    stub.answer(500, xml("InternalError"))
    stub.answer(404, xml("ResourceNotFound"), missing)
    stub.answer(200, "x" * 5, head)
    await unwell.write("a", b"12345")
    assert [asked.method for asked in stub.asked[:4]] == ["PUT", "PUT", "PUT", "HEAD"]


async def test_a_range_that_fails_fails_the_upload(stub: Stub, unwell: files.Share, tmp_path: Path) -> None:
    """One outcome comes out of ranges sent side by side, and what was begun is removed."""
    source = tmp_path / "large"
    source.write_bytes(b"x" * (files.RANGE + 1))

    async def refusing(request: web.Request) -> web.StreamResponse:
        if request.query.get("comp") == "range":
            return web.Response(status=403, text=xml("AuthorizationFailure"))
        return web.Response(status=202 if request.method == "DELETE" else 201, headers=CREATED)

    stub.answers.append(refusing)
    with pytest.raises(outcome.OutcomeError) as raised:
        await unwell.upload("large", source)
    judged = raised.value.outcome
    assert isinstance(judged, outcome.Stalled)
    assert (judged.reason, judged.slowly) == (Reason.FORBIDDEN, True)
    assert stub.asked[-1].method == "DELETE"
    assert stub.asked[-1].path == stub.asked[0].path


async def test_a_cancelled_upload_leaves_nothing(stub: Stub, unwell: files.Share) -> None:
    """Shutting down in the middle of an upload removes what it wrote aside."""
    reached = asyncio.Event()

    async def hanging(request: web.Request) -> web.StreamResponse:
        if request.query.get("comp") == "rename":
            reached.set()
            await asyncio.Event().wait()
        return web.Response(status=202 if request.method == "DELETE" else 201, headers=CREATED)

    stub.answers.append(hanging)
    writing = asyncio.create_task(unwell.write("a", b"x"))
    await reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert [asked.method for asked in stub.asked] == ["PUT", "PUT", "DELETE"]
