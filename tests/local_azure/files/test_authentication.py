"""Only requests signed with one of the account's keys, or with a token that counts, are answered."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from xml.etree import ElementTree

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.fileshare.aio import ShareClient, ShareServiceClient

from infra.local_azure.files import sharedkey
from tests.local_azure.files.service import ACCOUNT, KEYS, TOKEN, Service, Wire


async def test_either_key(service: Service, share: ShareClient) -> None:
    """Both of the account's keys are good."""
    async with service.client(key=KEYS[1]) as second:
        assert [found.name async for found in second.list_shares()] == ["data"]


async def test_wrong_key(service: Service) -> None:
    """403 AuthenticationFailed, with what the server signed."""
    async with service.client(key="d3Jvbmc=") as stranger:
        with pytest.raises(ClientAuthenticationError) as caught:
            await stranger.create_share("data")
    assert caught.value.status_code == 403
    assert caught.value.error_code == "AuthenticationFailed"
    assert "Server used following string to sign: 'PUT" in caught.value.message
    assert service.shares.get(ACCOUNT, "data") is None


async def test_error_on_the_wire(wire: Wire) -> None:
    """Recorded: XML after a byte order mark, the message ending in request id and time."""
    answer, body = await wire("GET", "/nosuchshare?restype=share")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (404, "ShareNotFound")
    assert body.startswith("\ufeff<?xml".encode())
    message = ElementTree.fromstring(body.decode("utf-8-sig")).findtext("Message") or ""
    request_id = answer.headers["x-ms-request-id"]
    assert message.startswith(f"The specified share does not exist.\nRequestId:{request_id}\nTime:")


async def test_head_errors_have_no_body(wire: Wire, share: ShareClient) -> None:
    """Recorded: the header only."""
    answer, body = await wire("HEAD", "/data/none")
    assert (answer.status, answer.headers["x-ms-error-code"], body) == (404, "ResourceNotFound", b"")


@pytest.mark.parametrize("minutes", [-16, 16])
async def test_clock_skew(wire: Wire, minutes: int) -> None:
    """A signature of another time is refused."""
    date = format_datetime(wire.service.time.now() + timedelta(minutes=minutes), usegmt=True)
    answer, body = await wire("GET", "/?comp=list", headers={"x-ms-date": date})
    assert answer.status == 403
    assert b"<AuthenticationErrorDetail>Request date header too old" in body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "SharedKey"}, 403),
        ({"Authorization": "SharedKey other:c2ln"}, 403),
        ({"Authorization": f"SharedKey {ACCOUNT}:c2ln"}, 403),
        ({"Authorization": "Bearer wrong", "x-ms-file-request-intent": "backup"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 400),
        ({"Authorization": f"Bearer {TOKEN}", "x-ms-file-request-intent": "backup"}, 200),
    ],
)
async def test_authorization_headers(wire: Wire, headers: dict[str, str], status: int) -> None:
    """None at all, half a signature, another account's, and tokens with and without the intent."""
    answer, _ = await wire.raw("GET", "/?comp=list", headers=headers)
    assert answer.status == status


async def test_unknown_account(wire: Wire) -> None:
    """There is nothing at the address of an account that isn't."""
    url = f"{wire.service.url}/nobody/?comp=list"
    async with wire.session.get(url) as answer:
        assert answer.status == 404


async def test_odd_names_are_signed_as_sent(share: ShareClient) -> None:
    """Umlauts, spaces, plus, ampersand, quote and percent in a path and in the query."""
    name = "Ü +&'%20.bin"
    await share.get_file_client(name).upload_file(b"x", metadata={"a_b": "1", "ab": "2", "a0": "3", "Z": "é"[:0] + "4"})
    listing = share.list_directories_and_files(name_starts_with="Ü +&")
    assert [entry.name async for entry in listing] == [name]


def test_headers_are_ordered_as_the_service_orders_them() -> None:
    """Hyphens count last, underscores before digits before letters."""
    names = ["x-ms-meta-ab", "x-ms-meta-a_b", "x-ms-meta", "x-ms-meta-a1", "x-ms-date"]
    text = sharedkey.string_to_sign("GET", dict.fromkeys(names, "v"), account="a", canonical="/", query="")
    ordered = [line.partition(":")[0] for line in text.split("\n") if line.startswith("x-ms")]
    assert ordered == ["x-ms-date", "x-ms-meta", "x-ms-meta-a_b", "x-ms-meta-a1", "x-ms-meta-ab"]


async def test_every_answer_says_who_and_what(wire: Wire, client: ShareServiceClient) -> None:
    """Request id, the version asked for, the client's own id, server and date."""
    sent = {"x-ms-version": "2024-08-04", "x-ms-client-request-id": "mine"}
    answer, _ = await wire("GET", "/?comp=list", headers=sent)
    assert answer.headers["x-ms-version"] == "2024-08-04"
    assert answer.headers["x-ms-client-request-id"] == "mine"
    assert answer.headers["Server"].startswith("Windows-Azure-File/1.0")
    assert {"x-ms-request-id", "Date"} <= set(answer.headers)
