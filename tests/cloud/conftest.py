"""A cloud for the adapter to talk to, over HTTPS with the real SDK.

- `azure`: `controller.cloud.azure.Azure` against a running local Azure without provisioning times; `local` is that
  server, `names` the ids of a stack in it.
- `slow`: the same with a clock that stands still: `slow.cloud`, `slow.server`, `slow.time.advance(seconds)`.
- `stub`: an HTTPS server that answers what a test tells it to and remembers what it was asked.
- `virtual`: the time that the pace of requests goes by; `paced` is `Azure` on the stub, by that time.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.cloud import azure as adapter
from controller.cloud import pacing
from infra.local_azure import clock, server, settings, tls

SUBSCRIPTION = settings.SUBSCRIPTION


@dataclass(frozen=True)
class Names:
    """The ids of one stack."""

    group: str = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-one"

    @property
    def account(self) -> str:
        return f"{self.group}/providers/Microsoft.Storage/storageAccounts/accountone"

    @property
    def file_service(self) -> str:
        return f"{self.account}/fileServices/default"

    @property
    def share(self) -> str:
        return f"{self.file_service}/shares/share-one"

    @property
    def workspace(self) -> str:
        return f"{self.group}/providers/Microsoft.OperationalInsights/workspaces/logs-one"

    @property
    def environment(self) -> str:
        return f"{self.group}/providers/Microsoft.App/managedEnvironments/env-one"

    @property
    def storage(self) -> str:
        return f"{self.environment}/storages/storage-one"

    @property
    def app(self) -> str:
        return f"{self.group}/providers/Microsoft.App/containerApps/app-one"


@dataclass(frozen=True)
class Slow:
    cloud: adapter.Azure
    server: server.Server
    time: clock.ManualClock


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`signed_in(ca, tenant, client_id, client_secret)` sets the environment that credentials are taken from."""

    def sign_in(ca: Path, tenant: str, client_id: str, client_secret: str) -> None:
        # Without it the chain asks a link-local address.
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        monkeypatch.setenv("AZURE_TENANT_ID", tenant)
        monkeypatch.setenv("AZURE_CLIENT_ID", client_id)
        monkeypatch.setenv("AZURE_CLIENT_SECRET", client_secret)

    return sign_in


@asynccontextmanager
async def running(state: Path, time: clock.Clock, sign_in: Callable[..., None]) -> AsyncIterator[server.Server]:
    configured = settings.Settings(state, port=0, processes=False)
    async with server.Server(configured, time) as started:
        identity = started.identity
        sign_in(started.ca, identity.tenant, identity.client_id, identity.client_secret)
        yield started


@pytest.fixture
async def local(tmp_path: Path, signed_in: Callable[..., None]) -> AsyncIterator[server.Server]:
    async with running(tmp_path / "azure", clock.ScaledClock(0), signed_in) as started:
        yield started


@pytest.fixture
async def azure(local: server.Server) -> AsyncIterator[adapter.Azure]:
    async with adapter.Azure(local.url) as cloud:
        yield cloud


@pytest.fixture
async def slow(tmp_path: Path, signed_in: Callable[..., None]) -> AsyncIterator[Slow]:
    time = clock.ManualClock(datetime.now(UTC))
    async with running(tmp_path / "azure", time, signed_in) as started, adapter.Azure(started.url) as cloud:
        yield Slow(cloud, started, time)


@dataclass
class Virtual:
    """Passes only while somebody sleeps in it, each in turn, or when a test says so."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)
        self.seconds += seconds

    @property
    def clock(self) -> pacing.Clock:
        return pacing.Clock(lambda: self.seconds, self.sleep)


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Stub:
    """`answers` are given one after the other, the last one again and again; a function is asked for its answer."""

    url: str = ""
    ca: Path = Path()
    tokens: int = 0
    token_answer: tuple[int, Any] = (200, {"access_token": "token", "expires_in": 3599, "token_type": "Bearer"})
    metadata: Any = None
    answers: list[tuple[int, Any, Mapping[str, str]] | Answering] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        self.answers.append((status, body, headers or {}))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/metadata/endpoints":
            if isinstance(self.metadata, str):
                return web.Response(text=self.metadata)
            return web.json_response(self.metadata or self.described())
        if request.path.endswith("/oauth2/v2.0/token"):
            self.tokens += 1
            status, body = self.token_answer
            return web.json_response(body, status=status)
        seen = Asked(request.method, request.path, request.query, request.headers, await request.read())
        self.asked.append(seen)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if callable(answer):
            return await answer(request)
        status, body, headers = answer
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    def described(self) -> dict[str, Any]:
        return {
            "name": "Stub",
            "resourceManager": self.url,
            "authentication": {"loginEndpoint": self.url, "audiences": [self.url]},
            "suffixes": {},
        }


@pytest.fixture
async def stub(tmp_path: Path, signed_in: Callable[..., None]) -> AsyncIterator[Stub]:
    authority = tls.CertificateAuthority(tmp_path / "ca")
    stub = Stub(ca=authority.ca)
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{path:.*}", stub.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context())
    await site.start()
    stub.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    signed_in(authority.ca, str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), "client-secret-value")
    yield stub
    await runner.cleanup()


@pytest.fixture
async def stubbed(stub: Stub) -> AsyncIterator[adapter.Azure]:
    async with adapter.Azure(stub.url) as cloud:
        yield cloud


@pytest.fixture
def virtual() -> Virtual:
    return Virtual()


@pytest.fixture
async def paced(stub: Stub, virtual: Virtual) -> AsyncIterator[adapter.Azure]:
    async with adapter.Azure(stub.url, clock=virtual.clock) as cloud:
        yield cloud
