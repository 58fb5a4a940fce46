"""A local Azure inside the test process, and the real SDK's asynchronous clients against it.

Fixtures:

- `local`: a running server with no provisioning times and no processes: a `Local` with `.url`, `.ca`,
  `.subscription`, `.tenant`, `.client_id`, `.client_secret`, `.requests` (the journal), `.server`, `.time`.
- `slow`: the same with a clock that stands still until `slow.time.advance(seconds)`.
- `clients`, `slow_clients`: the SDK's clients for `local` and `slow`: `.resources`, `.storage`, `.logs`, `.apps`,
  and `.credential`. They don't retry, and poll without waiting.
- `arm`, `slow_arm`: plain requests to ARM with a good token: `await arm("GET", path, body, …)` answers an `Answer`.
- `state`: the folder of the server's state.
- `serve`, `sdk`, `plain`, `session`: for tests that start servers of their own: `async with serve(state, clock) as
  local`, then `async with sdk(local) as clients`, `async with plain(local) as arm`, `async with session(local)`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientSecretCredential
from azure.mgmt.appcontainers.aio import ContainerAppsAPIClient
from azure.mgmt.loganalytics.aio import LogAnalyticsManagementClient
from azure.mgmt.resource.resources.aio import ResourceManagementClient
from azure.mgmt.storage.aio import StorageManagementClient

from infra.local_azure import clock, server, settings

API = "2025-06-01"
RETRY_OFF = {"retry_total": 0, "polling_interval": 0.01}


@dataclass(frozen=True)
class Local:
    """A running server as tests see it."""

    server: server.Server
    time: Any

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def ca(self) -> Path:
        return self.server.ca

    @property
    def subscription(self) -> str:
        return self.server.settings.subscriptions[0]

    @property
    def tenant(self) -> str:
        return self.server.identity.tenant

    @property
    def client_id(self) -> str:
        return self.server.identity.client_id

    @property
    def client_secret(self) -> str:
        return self.server.identity.client_secret

    @property
    def requests(self) -> list[server.Served]:
        return self.server.requests

    def writes(self) -> list[server.Served]:
        """The requests to ARM that change something, in order. A POST that only asks (listKeys, …) doesn't."""
        return [each for each in self.requests if each.path.startswith("/subscriptions") and _changes(each)]


def _changes(served: server.Served) -> bool:
    if served.method != "POST":
        return served.method in ("PUT", "PATCH", "DELETE")
    return not served.path.rpartition("/")[2].lower().startswith(("list", "get", "sharedkeys", "checkname"))


@dataclass(frozen=True)
class Clients:
    """The SDK's clients, as a stock caller makes them."""

    credential: ClientSecretCredential
    resources: ResourceManagementClient
    storage: StorageManagementClient
    logs: LogAnalyticsManagementClient
    apps: ContainerAppsAPIClient


@dataclass(frozen=True)
class Answer:
    """A plain answer of ARM: `body` is the JSON, None when there was none."""

    status: int
    body: Any
    headers: Mapping[str, str]


Arm = Callable[..., Awaitable[Answer]]


@asynccontextmanager
async def serving(state: Path, time: clock.Clock, *, port: int = 0, **more: Any) -> AsyncIterator[Local]:
    """A server on `state`, without processes unless `more`, which are further settings, says so."""
    configured = settings.Settings(state=state, port=port, **{"processes": False, **more})
    async with server.Server(configured, time) as running:
        yield Local(running, time)


def trusting(local: Local) -> aiohttp.ClientSession:
    """A session that trusts the server's authority and nothing else, as strictly as Python can."""
    context = ssl.create_default_context(cafile=str(local.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), auto_decompress=False)


@asynccontextmanager
async def stock(local: Local) -> AsyncIterator[Clients]:
    """The SDK's clients, on one session."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(trusting(local))

        def options() -> dict[str, Any]:
            return {"transport": AioHttpTransport(session=session, session_owner=False), **RETRY_OFF}

        credential = await stack.enter_async_context(
            ClientSecretCredential(local.tenant, local.client_id, local.client_secret, authority=local.url, **options())
        )
        where = {"base_url": local.url, "credential_scopes": [f"{local.url}/.default"]}
        kinds = (
            ResourceManagementClient,
            StorageManagementClient,
            LogAnalyticsManagementClient,
            ContainerAppsAPIClient,
        )
        made = [
            await stack.enter_async_context(kind(credential, local.subscription, **where, **options()))
            for kind in kinds
        ]
        yield Clients(credential, *made)


@asynccontextmanager
async def asking(local: Local) -> AsyncIterator[Arm]:
    """Requests without the SDK, for what it hides: `arm(method, path, body, token=…, **query)`.

    `path` may leave out `/subscriptions/S`; `token` None sends no Authorization; `body` a str is sent as it is.
    """
    async with trusting(local) as session:
        good = local.server._entra.issue(local.url)

        async def ask(
            method: str, path: str, body: Any = None, *, token: str | None = good, api: str | None = API, **query: str
        ) -> Answer:
            if not path.startswith(("/subscriptions", "/providers", "/tenants")):
                path = f"/subscriptions/{local.subscription}{path}"
            sent = {} if body is None else {"data": body} if isinstance(body, str) else {"json": body}
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            params = {**({} if api is None else {"api-version": api}), **query}
            async with session.request(method, local.url + path, params=params, headers=headers, **sent) as answer:
                text = await answer.read()
                return Answer(answer.status, await answer.json() if text else None, answer.headers.copy())

        yield ask


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "azure"


@pytest.fixture
async def local(state: Path) -> AsyncIterator[Local]:
    async with serving(state, clock.ScaledClock(0)) as running:
        yield running


@pytest.fixture
async def slow(state: Path) -> AsyncIterator[Local]:
    # Begins at the real time: the SDK dates its signatures by it.
    async with serving(state, clock.ManualClock(datetime.now(UTC))) as running:
        yield running


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[Local]]:
    return serving


@pytest.fixture
def session() -> Callable[[Local], aiohttp.ClientSession]:
    return trusting


@pytest.fixture
def sdk() -> Callable[[Local], AbstractAsyncContextManager[Clients]]:
    return stock


@pytest.fixture
def plain() -> Callable[[Local], AbstractAsyncContextManager[Arm]]:
    return asking


@pytest.fixture
async def clients(local: Local) -> AsyncIterator[Clients]:
    async with stock(local) as made:
        yield made


@pytest.fixture
async def slow_clients(slow: Local) -> AsyncIterator[Clients]:
    async with stock(slow) as made:
        yield made


@pytest.fixture
async def arm(local: Local) -> AsyncIterator[Arm]:
    async with asking(local) as ask:
        yield ask


@pytest.fixture
async def slow_arm(slow: Local) -> AsyncIterator[Arm]:
    async with asking(slow) as ask:
        yield ask
