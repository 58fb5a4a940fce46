"""What a check of an app's endpoint finds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from controller.cloud import azure as adapter
from controller.cloud import endpoint, network

if TYPE_CHECKING:
    from tests.cloud.conftest import Stub


@pytest.fixture
async def checking(stub: Stub) -> AsyncIterator[adapter.Azure]:
    async with adapter.Azure(stub.url) as cloud:
        yield cloud


@pytest.mark.parametrize(
    ("status", "body", "headers", "release", "passed", "conclusive"),
    [
        (200, {"release": "abc", "model": "m"}, {}, "abc", True, True),
        (200, "ok", {"x-acaops-release": "abc"}, "abc", True, True),
        (200, {"release": 7}, {}, None, True, True),
        (200, "not json", {}, None, True, True),
        (503, {"stage": "loading", "release": "abc"}, {}, "abc", False, True),
        (404, "", {}, None, False, True),
        (500, "boom", {}, None, False, True),
        (401, {}, {}, None, False, False),
        (403, {}, {}, None, False, False),
        (302, "", {"Location": "https://login.invalid/"}, None, False, False),
    ],
)
async def test_an_answer_is_a_finding(
    stub: Stub,
    checking: adapter.Azure,
    status: int,
    body: Any,
    headers: dict[str, str],
    release: str | None,
    passed: bool,
    conclusive: bool,
) -> None:
    """Status and release as answered; 3xx, 401 and 403 say nothing of the release."""
    stub.answer(status, body, headers)
    found = await checking.check(f"{stub.url}/readyz")
    assert (status, release, passed, conclusive) == (found.status, found.release, found.passed, found.conclusive)
    assert str(status) in found.message
    assert "Authorization" not in stub.asked[0].headers


@pytest.mark.parametrize(
    ("said", "digest"),
    [
        ("sha256:0a", "sha256:0a"),
        ("\x1b[2Jsha\n", "sha\n"),
        ("x" * 300, "x" * 200),
        (7, None),
        ("", None),
        (None, None),
    ],
)
async def test_an_answer_may_tell_its_model(stub: Stub, checking: adapter.Azure, said: Any, digest: str | None) -> None:
    """By digests, of which no more is kept than can be shown."""
    stub.answer(200, {"release": "abc", "model_digest": said, "adapter_digest": "sha256:0b"})
    found = await checking.check(f"{stub.url}/readyz")
    assert (found.model_digest, found.adapter_digest) == (digest, "sha256:0b")


async def test_localhost_names_are_loopback(stub: Stub, checking: adapter.Azure) -> None:
    """A name under .localhost needs no entry in any resolver, and its certificate is verified by that name."""
    stub.answer(200, {"release": "abc"})
    found = await checking.check(f"{stub.url.replace('127.0.0.1', 'app.env.localhost')}/readyz")
    assert found.release == "abc"


async def test_a_name_that_does_not_resolve_is_inconclusive(checking: adapter.Azure) -> None:
    """DNS says nothing of the release."""
    found = await checking.check("https://nowhere.invalid/readyz")
    assert (found.status, found.conclusive) == (None, False)


async def test_tls_that_fails_is_inconclusive(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that isn't trusted says nothing of the release."""
    monkeypatch.delenv("SSL_CERT_FILE")
    async with adapter.Azure(stub.url) as cloud:
        found = await cloud.check(f"{stub.url}/readyz")
    assert (found.status, found.conclusive) == (None, False)
    assert "TLS" in found.message


async def test_a_refused_connection_speaks_of_the_app(checking: adapter.Azure) -> None:
    """Nobody listens: that is conclusive."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = await checking.check(f"https://127.0.0.1:{taken.getsockname()[1]}/readyz")
    assert (found.status, found.passed, found.conclusive) == (None, False, True)


async def test_silence_speaks_of_the_app(stub: Stub) -> None:
    """No answer within the time allowed is conclusive."""
    asked = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    stub.answers.append(silent)
    session = network.session(network.trust(), for_sdk=False)
    found = await endpoint.check(session, f"{stub.url}/readyz", patience=0.2)
    await session.close()
    assert asked.is_set()
    assert (found.status, found.conclusive) == (None, True)
    assert "within 0.2 s" in found.message


async def test_what_is_no_url_is_a_finding_too(checking: adapter.Azure) -> None:
    """It never raises for what it is given to ask."""
    found = await checking.check("https://")
    assert (found.status, found.conclusive) == (None, False)


async def test_each_check_opens_a_connection(stub: Stub, checking: adapter.Azure) -> None:
    """A kept connection could lead to the revision that served before."""
    stub.answer(200, {"release": "abc"})
    for _ in range(2):
        await checking.check(f"{stub.url}/readyz")
    assert all(asked.headers.get("Connection", "").lower() == "close" for asked in stub.asked)
