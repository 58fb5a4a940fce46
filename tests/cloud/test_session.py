"""Finding a cloud, trusting it and signing in to it, and what is said when that fails."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from controller.cloud import azure as adapter
from controller.cloud import session
from controller.model import kinds, outcome
from controller.model.conditions import Reason
from infra.local_azure import server

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub


async def read(cloud: adapter.Azure, names: Names) -> Any:
    """The outcome that a read of the app raises."""
    with pytest.raises(outcome.OutcomeError) as raised:
        await cloud.read(kinds.Kind.APP, names.app)
    return raised.value.outcome


async def test_the_public_cloud_is_known() -> None:
    """No request tells where Azure is."""
    public = session.Session()
    found = await public.endpoints()
    await public.close()
    assert found == session.Endpoints("https://management.azure.com", None, "https://management.azure.com/.default")


@pytest.mark.parametrize("as_list", [False, True])
async def test_a_cloud_describes_itself(stub: Stub, as_list: bool) -> None:
    """Metadata is one object, or a list in which the cloud's own address is looked for."""
    mine = {**stub.described(), "authentication": {"loginEndpoint": f"{stub.url}/adfs", "audiences": ["https://a/"]}}
    other = {"resourceManager": "https://other.invalid", "authentication": {}}
    stub.metadata = [other, mine] if as_list else mine
    cloud = session.Session(f"{stub.url}/")
    found = await cloud.endpoints()
    await cloud.close()
    assert found == session.Endpoints(stub.url, stub.url, "https://a/.default")


async def test_what_is_no_cloud_is_said_to_be_none(stub: Stub, names: Names) -> None:
    """A wrong --cloud gives one clear line."""
    stub.metadata = {"hello": "world"}
    async with adapter.Azure(stub.url) as cloud:
        judged = await read(cloud, names)
    assert judged == outcome.Stalled(
        Reason.INVALID_REQUEST, f"{stub.url} doesn't describe a cloud at /metadata/endpoints", slowly=True
    )


async def test_an_answer_that_breaks_off_is_asked_for_again(stub: Stub, names: Names) -> None:
    """It says nothing of whether a cloud is there."""
    stub.metadata = '{"name": "Stu'
    stub.answer(200, {"name": "rg-one"})
    async with adapter.Azure(stub.url) as cloud:
        judged = await read(cloud, names)
        assert judged == outcome.Transient(
            Reason.AZURE_ERROR, f"what {stub.url} answers at /metadata/endpoints can't be read"
        )
        stub.metadata = None
        assert await cloud.read(kinds.Kind.GROUP, names.group)


def test_plain_http_is_refused() -> None:
    """Tokens are never sent in the clear."""
    with pytest.raises(ValueError, match="https://"):
        session.Session("http://127.0.0.1:1")


async def test_a_cloud_that_is_away_is_asked_again(stub: Stub, names: Names) -> None:
    """Discovery that failed once is repeated by the next call."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        async with adapter.Azure(f"https://{host}") as cloud:
            for _ in range(2):
                judged = await read(cloud, names)
                assert judged == outcome.Transient(Reason.CONNECTION_FAILED, f"{host}: connection refused")


async def test_a_name_that_does_not_resolve_is_told(names: Names) -> None:
    """The host is named."""
    async with adapter.Azure("https://nowhere.invalid") as cloud:
        judged = await read(cloud, names)
    assert judged == outcome.Transient(Reason.CONNECTION_FAILED, "nowhere.invalid: the name doesn't resolve")


async def test_an_untrusted_certificate_has_a_remedy(stub: Stub, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """It doesn't heal by itself, so it is Stalled and says what to set."""
    monkeypatch.delenv("SSL_CERT_FILE")
    async with adapter.Azure(stub.url) as cloud:
        judged = await read(cloud, names)
    assert isinstance(judged, outcome.Stalled)
    assert judged.slowly
    assert "SSL_CERT_FILE" in judged.message
    assert stub.url[8:] in judged.message


async def test_a_connection_that_breaks_passes_by_itself(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A reset in the middle of an answer is Transient."""

    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    stub.answers.append(broken)
    judged = await read(stubbed, names)
    assert isinstance(judged, outcome.Transient)
    assert judged.reason == Reason.CONNECTION_FAILED


async def test_a_wrong_secret_is_told_in_one_line(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """Entra's own words, a remedy, and none of the chain's advice."""
    told = "AADSTS7000215: Invalid client secret provided for app 'x'"
    described = f"{told}. Trace ID: 1 Correlation ID: 2"
    stub.token_answer = (401, {"error": "invalid_client", "error_description": described, "error_codes": [7000215]})
    judged = await read(stubbed, names)
    assert judged == outcome.Stalled(
        Reason.AUTHENTICATION_FAILED,
        f"Entra refused the credential: {told}; check the AZURE_* variables or the identity",
        slowly=True,
    )
    assert stub.asked == []


async def test_no_credential_at_all_is_told(
    stub: Stub, stubbed: adapter.Azure, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was tried, and what to do."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    judged = await read(stubbed, names)
    assert isinstance(judged, outcome.Stalled)
    assert judged.slowly
    assert judged.message.startswith("no credential is configured (tried EnvironmentCredential); set AZURE_TENANT_ID")


async def test_a_token_endpoint_that_is_unwell_passes_by_itself(
    stub: Stub, stubbed: adapter.Azure, names: Names
) -> None:
    """A 503 for a token isn't a wrong credential, and is asked for once."""
    stub.token_answer = (503, {"error": "temporarily_unavailable"})
    judged = await read(stubbed, names)
    assert judged == outcome.Transient(Reason.AZURE_ERROR, f"the token endpoint {stub.url[8:]} answered HTTP 503")
    assert stub.tokens == 1


async def test_a_token_endpoint_that_is_away_passes_by_itself(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A refused connection to the authority names it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        authentication = {"loginEndpoint": f"https://{host}", "audiences": [stub.url]}
        stub.metadata = {**stub.described(), "authentication": authentication}
        judged = await read(stubbed, names)
    assert judged == outcome.Transient(Reason.CONNECTION_FAILED, f"{host}: connection refused")


async def test_calls_at_once_share_discovery_and_token(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """Many first calls ask for one token."""
    stub.answer(200, {"id": names.app})
    await asyncio.gather(*(stubbed.read(kinds.Kind.APP, names.app) for _ in range(20)))
    assert (stub.tokens, len(stub.asked)) == (1, 20)


async def test_a_credential_can_be_given(stub: Stub, names: Names, tmp_path: Path) -> None:
    """What a caller gives is used and left open."""

    class Given:
        closed = False

        async def get_token_info(self, *scopes: str, options: Any = None) -> Any:
            from azure.core.credentials import AccessTokenInfo

            assert scopes == (f"{stub.url}/.default",)
            return AccessTokenInfo("given", 2**40)

        async def close(self) -> None:
            self.closed = True

    given: Any = Given()
    stub.answer(200, {"id": names.app})
    async with adapter.Azure(stub.url, credential=given) as cloud:
        await cloud.read(kinds.Kind.APP, names.app)
    assert stub.asked[0].headers["Authorization"] == "Bearer given"
    assert (stub.tokens, given.closed) == (0, False)


async def test_a_managed_identity_signs_in(local: server.Server, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller on Container Apps needs no secret: the identity endpoint gives the token."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://{local.authority}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", local.identity.identity_header)
    async with adapter.Azure(local.url) as cloud:
        assert await cloud.read(kinds.Kind.GROUP, names.group) is None
