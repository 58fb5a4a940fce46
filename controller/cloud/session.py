"""One cloud, one credential: where its endpoints are, and the SDK's clients for them.

Clients are made on first use, one of each kind per subscription, all over one HTTP session. Nothing is sent before
the first call, so that a controller can start while its cloud is away. It judges no answer but its own discovery's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from azure.mgmt.appcontainers.aio import ContainerAppsAPIClient
from azure.mgmt.loganalytics.aio import LogAnalyticsManagementClient
from azure.mgmt.resource.resources.aio import ResourceManagementClient
from azure.mgmt.storage.aio import StorageManagementClient

from controller.cloud import answers, calls, circuit, credentials, gate, network, pacing, policies, writes
from controller.model import conditions, outcome

PUBLIC = "https://management.azure.com"
# Seconds; a write to ARM is answered when it is accepted, which has been seen to take tens of seconds.
CONNECT_TIMEOUT = 20
READ_TIMEOUT = 90

Client = TypeVar(
    "Client",
    ContainerAppsAPIClient,
    StorageManagementClient,
    LogAnalyticsManagementClient,
    ResourceManagementClient,
)


Transport = gate.Transport
Wrap = Callable[[Transport], Transport]
"""Puts something between the SDK and the wire: sees each request to ARM and Azure Files, whole."""


@dataclass(frozen=True)
class Endpoints:
    """`arm` without trailing slash. `login` is the authority's scheme and host, None for the SDK's own choice
    (AZURE_AUTHORITY_HOST, else the public one). `scope` is what tokens for ARM are asked for."""

    arm: str
    login: str | None
    scope: str


class Session:
    """Everything that is shared between calls. `cloud` is ARM's address, None for the public one.

    Without `credential` it is DefaultAzureCredential at the cloud's own authority. All requests to ARM share `pacing`
    and `circuits`; what `wrap` gives sees only what is really sent. `fence` may be set at any time. Raises ValueError
    for an address that isn't https: tokens are never sent in the clear.
    """

    def __init__(
        self,
        cloud: str | None = None,
        *,
        credential: AsyncTokenCredential | None = None,
        wrap: Wrap | None = None,
        fence: gate.Fence | None = None,
        clock: pacing.Clock | None = None,
    ) -> None:
        if cloud is not None and urlsplit(cloud).scheme != "https":
            raise ValueError(f"the cloud's address must begin with https://, not {cloud}")
        self._cloud = (cloud or PUBLIC).rstrip("/")
        self._given = credential
        self._wrap = wrap
        self.fence = fence
        clock = clock or pacing.Clock()
        self.pacing = pacing.Pacing(clock)
        self.circuits = circuit.Circuits(self.host, now=clock.now)
        self.writes = writes.Writes()
        self.calls = calls.Calls()
        self._lock = asyncio.Lock()
        self._trust = network.trust()
        self._http: aiohttp.ClientSession | None = None
        self._plain: aiohttp.ClientSession | None = None
        self._endpoints: Endpoints | None = None
        self._credential: AsyncTokenCredential | None = None
        self._clients: dict[tuple[type, str], Any] = {}

    @property
    def host(self) -> str:
        """ARM's host, for messages."""
        return urlsplit(self._cloud).netloc

    async def apps(self, subscription: str) -> ContainerAppsAPIClient:
        return await self._client(ContainerAppsAPIClient, subscription)

    async def storage(self, subscription: str) -> StorageManagementClient:
        return await self._client(StorageManagementClient, subscription)

    async def workspaces(self, subscription: str) -> LogAnalyticsManagementClient:
        return await self._client(LogAnalyticsManagementClient, subscription)

    async def groups(self, subscription: str) -> ResourceManagementClient:
        return await self._client(ResourceManagementClient, subscription)

    def transport(self) -> Transport:
        """The shared connections, for one more pipeline; closing that leaves them open."""
        made = AioHttpTransport(
            session=self._shared(), session_owner=False, connection_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT
        )
        inner = self._wrap(made) if self._wrap else made
        return gate.Gate(inner, pacing=self.pacing, circuits=self.circuits, fence=lambda: self.fence)

    def plain(self) -> aiohttp.ClientSession:
        """A session for requests to what the user runs: no credential, no kept connection."""
        if self._plain is None:
            self._plain = network.session(self._trust, for_sdk=False)
        return self._plain

    async def credential(self) -> AsyncTokenCredential:
        """The one that every client signs in with. Raises OutcomeError where the cloud can't be asked for its own."""
        return self._authenticated(await self.endpoints())

    async def endpoints(self) -> Endpoints:
        """Asked of the cloud once; the public one is known. Raises OutcomeError."""
        async with self._lock:
            if self._endpoints is None:
                self._endpoints = await self._discover()
            return self._endpoints

    async def close(self) -> None:
        """Give back every connection. A credential that was given in stays open."""
        for client in self._clients.values():
            await client.close()
        if self._credential is not None and self._credential is not self._given:
            await self._credential.close()
        for session in (self._http, self._plain):
            if session is not None:
                await session.close()

    def _shared(self) -> aiohttp.ClientSession:
        if self._http is None:
            traces = [self.writes.trace(), self.calls.trace(), gate.fenced(lambda: self.fence)]
            self._http = network.session(self._trust, for_sdk=True, traces=traces)
        return self._http

    async def _client(self, kind: type[Client], subscription: str) -> Client:
        endpoints = await self.endpoints()
        key = (kind, subscription.lower())
        if key not in self._clients:
            credential = self._authenticated(endpoints)
            self._clients[key] = kind(
                credential,
                subscription,
                base_url=endpoints.arm,
                credential_scopes=[endpoints.scope],
                policies=policies.arm(endpoints.arm, credential=credential, scope=endpoints.scope, forget=self._forget),
                transport=self.transport(),
            )
        client: Client = self._clients[key]
        return client

    def _authenticated(self, endpoints: Endpoints) -> AsyncTokenCredential:
        if self._credential is None:
            self._credential = self._given or credentials.default(endpoints.login, session=self._shared())
        return self._credential

    def _forget(self) -> None:
        """A credential that was given in keeps its tokens: they are its owner's business."""
        if isinstance(self._credential, credentials.Credential):
            self._credential.forget()

    async def _discover(self) -> Endpoints:
        if self._cloud == PUBLIC:
            return Endpoints(PUBLIC, None, f"{PUBLIC}/.default")
        request = HttpRequest(
            "GET", f"{self._cloud}/metadata/endpoints?api-version=2022-09-01", headers={"Accept": "application/json"}
        )
        response = await answers.judged(self.transport().send(request), host=self.host)
        if response.status_code != 200:
            raise answers.refused(response.status_code, response.headers, response.text())
        return _endpoints(self._cloud, response.text())


def _endpoints(cloud: str, text: str) -> Endpoints:
    """ARM's answer read: one object from 2022-09-01 on, a list of clouds before; every field is needed."""
    try:
        clouds: Any = json.loads(text)
    except ValueError:
        told = f"what {cloud} answers at /metadata/endpoints can't be read"
        raise outcome.OutcomeError(outcome.Transient(conditions.Reason.AZURE_ERROR, told)) from None
    try:
        named = _chosen(clouds if isinstance(clouds, list) else [clouds], cloud)
        authentication = named["authentication"]
        login = urlsplit(authentication["loginEndpoint"])
        audience = str(authentication["audiences"][0])
        arm = str(named.get("resourceManager") or cloud).rstrip("/")
    except (ValueError, LookupError, TypeError, AttributeError):
        told = f"{cloud} doesn't describe a cloud at /metadata/endpoints"
        raise outcome.OutcomeError(outcome.Stalled(conditions.Reason.INVALID_REQUEST, told, slowly=True)) from None
    return Endpoints(arm, f"{login.scheme}://{login.netloc}", f"{audience.rstrip('/')}/.default")


def _chosen(clouds: list[Mapping[str, Any]], cloud: str) -> Mapping[str, Any]:
    """The cloud that has this address; else the first, as az takes it."""
    host = urlsplit(cloud).netloc.lower()
    same = (each for each in clouds if urlsplit(str(each.get("resourceManager", ""))).netloc.lower() == host)
    return next(same, None) or clouds[0]
