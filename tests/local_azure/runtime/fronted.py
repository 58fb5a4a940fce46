"""An ingress in front of apps on loopback, for tests that ask through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web

from infra.local_azure import clock, replicas, scenario
from infra.local_azure.runtime import ingress, scaling

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
HOST = "app.env.localhost"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def replica(name: str, address: tuple[str, int], *, ready: bool = True) -> replicas.Replica:
    status = replicas.ContainerStatus("main", None, "Running", "", ready, True, 0)
    return replicas.Replica(name, CREATED, "Running", "", (status,), address)


class Known:
    """A runtime with fixed replicas, in place of one that runs something."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[replicas.Replica, ...]] = {}
        self.changed: Callable[[str], None] = lambda key: None
        self.pools: Callable[[str], replicas.Pool | None] = lambda pool: None
        self.scenario = scenario.Scenario()

    def look(self) -> None: ...

    def start(self, revision: replicas.Revision) -> None: ...

    def stop(self, key: str) -> None: ...

    def restart(self, key: str) -> None: ...

    def scale(self, key: str, count: int) -> None: ...

    def replicas(self, key: str) -> tuple[replicas.Replica, ...]:
        return self.found.get(key, ())

    def crashing(self, key: str) -> tuple[str, ...]:
        return ()

    def hint(self, key: str) -> str:
        return ""

    def logs(
        self, key: str, replica: str, container: str, *, tail: int, follow: bool
    ) -> AsyncIterator[tuple[datetime, str]]:
        raise KeyError(container)

    async def close(self) -> None: ...


@dataclass
class Table:
    """The sites by host."""

    sites: dict[str, replicas.Site] = field(default_factory=dict)

    def site(self, host: str) -> replicas.Site | None:
        return self.sites.get(host)


class World:
    """Apps on loopback, an ingress with a server in front, and a client."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.runtime = Known()
        self.sites = Table()
        self._stack = stack

    async def open(self, runtime: replicas.Runtime | None = None) -> None:
        self.time = clock.ManualClock(CREATED)
        self.scaling = scaling.Scaling(self.time)
        self._ingress = ingress.Ingress(self.sites, runtime or self.runtime, self.scaling)
        self._stack.push_async_callback(self._ingress.close)
        self.port = (await self.listen(self._ingress.handle, cancel=False))[1]
        self.client = await self._stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))

    async def listen(self, handler: Handler, *, cancel: bool = True) -> tuple[str, int]:
        front = web.Server(handler, handler_cancellation=cancel, auto_decompress=False)
        listening = await asyncio.get_running_loop().create_server(front, "127.0.0.1", 0)

        async def close() -> None:
            listening.close()
            front.pre_shutdown()
            await front.shutdown(1)

        self._stack.push_async_callback(close)
        port: int = listening.sockets[0].getsockname()[1]
        return "127.0.0.1", port

    def site(self, *targets: tuple[str, int], host: str = HOST, **values: Any) -> None:
        given: dict[str, Any] = {"external": True, "allow_insecure": False, "sticky": False, **values}
        pairs = tuple(replicas.Target(key, weight) for key, weight in targets)
        self.sites.sites[host] = replicas.Site(app="app", targets=pairs, **given)

    async def app(self, handler: Handler, *, key: str = "app--one") -> None:
        """Another ready replica of `key`, answering with `handler`."""
        several = self.runtime.found.get(key, ())
        self.runtime.found[key] = (*several, replica(f"{key}-{len(several)}", await self.listen(handler)))

    def request(self, method: str = "GET", path: str = "/", *, host: str = HOST, **values: Any) -> Any:
        headers = {"Host": host, **values.pop("headers", {})}
        url = f"http://127.0.0.1:{self.port}{path}"
        return self.client.request(method, url, headers=headers, allow_redirects=False, **values)

    async def text(self, method: str = "GET", path: str = "/", **values: Any) -> tuple[int, str]:
        async with self.request(method, path, **values) as answer:
            return answer.status, await answer.text()
