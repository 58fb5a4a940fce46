"""The local Azure put together: state, providers, runtime and the one port they are served on.

It decides who answers a request, by Host and path, and keeps the journal of requests. It makes no answer of
its own but "nothing here".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from infra.local_azure import (
    clock,
    entra,
    faults,
    listener,
    metadata,
    operations,
    replicas,
    scenario,
    settings,
    store,
    tls,
)
from infra.local_azure.apps import pools, pulls
from infra.local_azure.apps import provider as apps
from infra.local_azure.arm import gateway, groups, storage, subscriptions, throttling, tracked, workspaces
from infra.local_azure.files import plane, shares_on_disk
from infra.local_azure.runtime import ingress, processes, scaling, simulated

FILES_HOST = re.compile(r"(?P<account>[a-z0-9]{3,24})\.file\.core\..+")
STREAM = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/(containerApps|managedEnvironments)/.+/(logstream|eventstream)/?",
    re.IGNORECASE,
)
ARM = ("subscriptions", "providers", "tenants")
# How long requests under way may take once the server closes.
GRACE = 2.0
# Requests remembered in memory; the journal on disk keeps all.
MOST_REMEMBERED = 100_000


@dataclass(frozen=True)
class Served:
    """One request of the journal: never a body or a header.

    `throttled` is the bucket that was empty, `principal` the client id of who was refused for it.
    """

    time: datetime
    method: str
    host: str
    path: str
    status: int
    throttled: str | None = None
    principal: str | None = None


class Server:
    """A running local Azure: `async with Server(...) as server`.

    Each function in `on_change` is called after every change of what is stored and of every replica's state, in the
    middle of whatever changes it; it may ask `serving`, `storages` and `mounted`, and must not raise.
    `faults` and `scenario` are what goes wrong, with requests and with replicas; both may be changed at any time.
    """

    def __init__(
        self, configured: settings.Settings, time: clock.Clock, *, runtime: replicas.Runtime | None = None
    ) -> None:
        """`runtime` replaces the one that the settings ask for. Raises scenario.ScenarioError."""
        rules = scenario.load(configured.scenario) if configured.scenario is not None else ()
        state = configured.state
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.settings = configured
        self.identity = settings.identity(state)
        self.requests: list[Served] = []
        self.faults = faults.Faults()
        self.on_change: list[Callable[[], None]] = []
        self.port = 0
        self._time = time
        self._authorities = tls.CertificateAuthority(state)
        self._documents = store.Store(state / "store.db")
        self._ops = operations.Operations(self._documents, time)
        self._ops.outcome = self.faults.outcome
        self._entra = entra.Authority(self.identity, time)
        self._shares = shares_on_disk.SharesOnDisk(state / "shares", time)
        self._runtime = runtime or _runtime(configured, time)
        self.scenario = self._runtime.scenario
        self.scenario.play(*rules)
        self._throttle = throttling.Throttle(
            time, self.identity.tenant, enforced=configured.throttled, rate=configured.resource_requests_rate
        )
        self._assemble()
        self._listener = listener.Listener(self._handle, self._authorities.context())

    def _assemble(self) -> None:
        self._groups = groups.Groups(self._documents, self._ops)
        self._storage = storage.Provider(
            self._documents,
            self._time,
            self._ops,
            self._shares,
            authority=lambda: self.authority,
            taken=self.settings.taken_accounts,
        )
        self._workspaces = workspaces.Provider(self._documents, self._time, self._ops)
        self._scaling = scaling.Scaling(self._time)
        self._apps = apps.Provider(
            self._documents,
            self._time,
            self._ops,
            self._shares,
            self._runtime,
            self._scaling,
            self._storage.keys,
            authority=lambda: self.authority,
            gpu_limit=self.settings.gpu_limit,
            slow_gpu=self.settings.slow_gpu,
            one_at_a_time=self.settings.one_at_a_time,
        )
        self._runtime.pools = pools.Pools(self._documents, gpu_limit=self.settings.gpu_limit).find
        self._ops.hold = pulls.Pulls(self._documents, self._runtime).hold
        for provider in (self._apps, self._workspaces, self._storage):
            self._groups.on_delete(provider.delete_group)
        self._plane = plane.Plane(self._shares, self._storage.keys, self._time, bearer=self._entra.opens_files)
        self._ingress = ingress.Ingress(self._apps, self._runtime, self._scaling)
        known = subscriptions.Subscriptions(
            self._documents,
            self._time,
            self.settings.subscriptions,
            self.identity.tenant,
            unregistered=self.settings.unregistered,
        )
        rooms = (known, self._groups, self._storage, self._workspaces, self._apps, self._ops)
        self._gateway = gateway.Gateway(
            [route for room in rooms for route in room.routes()],
            time=self._time,
            authority=self._entra,
            throttle=self._throttle,
            subscriptions=self.settings.subscriptions,
            registration=known.registration,
            group_state=self._groups.state,
        )
        self._watch()

    def _watch(self) -> None:
        """Tell `on_change` of every document, and of every replica after the provider took note of it."""
        noted = self._runtime.changed

        def replicas_changed(key: str) -> None:
            noted(key)
            self._tell()

        def document_changed() -> None:
            self._runtime.look()
            self._tell()

        self._documents.changed = document_changed
        self._runtime.changed = replicas_changed

    def _tell(self) -> None:
        for call in self.on_change:
            call()

    @property
    def authority(self) -> str:
        return f"{listener.HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.authority}"

    @property
    def ca(self) -> Path:
        """The certificate file that clients must trust."""
        return self._authorities.ca

    @property
    def throttled(self) -> Mapping[str, int]:
        """How many requests were refused since the start, by the bucket that was empty."""
        return self._throttle.refused

    async def start(self) -> None:
        """Listen, then go on with what a stopped server left. Raises listener.PortInUse."""
        state = self.settings.state
        wanted = self.settings.port or settings.remembered_port(state)
        try:
            self.port = await self._listener.start(wanted)
        except listener.PortInUse:
            if self.settings.port:
                self._forget()
                raise
            self.port = await self._listener.start(0)
        settings.remember_port(state, self.port)
        self._journal = (state / "requests.jsonl").open("a", buffering=1)
        self._ops.resume()
        self._apps.resume()

    async def close(self) -> None:
        """Stop serving and every revision; the state stays as it is."""
        self.faults.close()
        await self._listener.close(grace=GRACE)
        self._ops.stop()
        self._scaling.close()
        self._apps.stop()
        await self._ingress.close()
        await self._runtime.close()
        self._journal.close()
        self._forget()

    def serving(self, app_id: str) -> frozenset[str]:
        """The names of the app's revisions that are ready and get requests."""
        return self._apps.facts.serving(app_id)

    def storages(self) -> frozenset[str]:
        """The ids of every environment storage, in lower case."""
        return self._apps.facts.storages()

    def mounted(self) -> Mapping[str, frozenset[str]]:
        """The environment storages that each app and active revision names, all by id in lower case."""
        return self._apps.facts.mounted()

    def expire(self) -> None:
        """End now every operation that a rule made stuck; see `faults.Rule`."""
        self._ops.expire()

    def _forget(self) -> None:
        self._shares.close()
        self._documents.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The journal is of Azure's own wire: what users ask of their apps isn't in it."""
        host = request.host.lower().partition(":")[0]
        if host.endswith(".localhost") and self._apps.site(host) is not None:
            return await self._ingress.handle(request)
        status = 500
        try:
            response = await self.faults.around(request, lambda: self._dispatch(request, host))
            status = response.status
            return response
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            self._note(request, status)

    def _note(self, request: web.BaseRequest, status: int) -> None:
        refused: throttling.Refused | None = request.get(gateway.THROTTLED)
        whose = {"throttled": refused.bucket, "principal": refused.principal} if refused else {}
        served = Served(self._time.now(), request.method, request.host, request.path, status, **whose)
        self.requests.append(served)
        if len(self.requests) > MOST_REMEMBERED:
            del self.requests[: MOST_REMEMBERED // 2]
        line = {"time": tracked.stamp(served.time), "method": served.method, "host": served.host}
        self._journal.write(json.dumps({**line, "path": served.path, "status": status, **whose}) + "\n")

    async def _dispatch(self, request: web.BaseRequest, host: str) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        files = FILES_HOST.fullmatch(host)
        if files:
            return await self._plane.handle(request, account=files["account"], resource_path=path, canonical=path)
        parts = path.strip("/").split("/")
        if parts[0].lower() in ARM:
            if STREAM.fullmatch(path):
                return await self._apps.logstream(request)
            return await self._gateway.handle(request)
        known = await self._known(request, parts)
        if known is not None:
            return known
        if self._storage.keys(parts[0]):
            below = path[len(parts[0]) + 1 :]
            return await self._plane.handle(request, account=parts[0], resource_path=below, canonical=path)
        return web.json_response({"error": {"code": "NotFound", "message": "Nothing answers here."}}, status=404)

    async def _known(self, request: web.BaseRequest, parts: Sequence[str]) -> web.StreamResponse | None:
        """The token service and the metadata: fixed paths, with the tenant in front of some."""
        base = f"{request.scheme}://{request.host}"
        match [part.lower() for part in parts]:
            case [tenant, "oauth2", "v2.0", "token"] if request.method == "POST":
                return await self._entra.token(request, tenant)
            case [tenant, "v2.0", ".well-known", "openid-configuration"]:
                return self._entra.openid(base, tenant)
            case ["adfs", ".well-known", "openid-configuration"]:
                return self._entra.openid(base, "adfs")
            case [_, "discovery", "v2.0", "keys"]:
                return web.json_response({"keys": []})
            case ["common", "discovery", "instance"]:
                return self._entra.instance(base)
            case ["metadata", "endpoints"]:
                return metadata.endpoints(request)
            case ["msi", "token"] | ["metadata", "identity", "oauth2", "token"]:
                return self._entra.managed_identity(request)
        return None


def _runtime(configured: settings.Settings, time: clock.Clock) -> replicas.Runtime:
    if configured.processes:
        return processes.Processes(configured.state / "runtime", time)
    return simulated.Simulated(time)
