"""A replica that ends costs no request: new ones go elsewhere first, those it has are finished."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from infra.local_azure import replicas
from infra.local_azure.runtime import processes
from tests.local_azure.runtime.fronted import HOST, World
from tests.local_azure.runtime.scripted_apps import Apps, Told, lines

# A server as most are: it keeps connections, and at SIGTERM it closes the idle ones, finishes the rest and ends. It
# answers /slow only once a file is there.
GRACEFUL = """
import asyncio, os, signal
ending = asyncio.Event()
busy, idle = set(), set()
async def serve(reader, writer):
    try:
        while not ending.is_set():
            idle.add(writer)
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            idle.discard(writer); busy.add(writer)
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
            while head.split()[1] == b"/slow" and not os.path.exists(os.environ["GO"]):
                print("asked", flush=True)
                await asyncio.sleep(0.01)
            body = os.environ["NAME"].encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
            await writer.drain()
            busy.discard(writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        idle.discard(writer); busy.discard(writer)
        writer.close()
async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]))
    await ending.wait()
    server.close()
    for writer in idle:
        writer.close()
    while busy:
        await asyncio.sleep(0.005)
asyncio.run(main())
"""


class Clients:
    """Some who post on and on, and what they were answered."""

    def __init__(self, world: World, *, count: int = 4) -> None:
        self.found: list[tuple[int, str]] = []
        self._world = world
        self._enough = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks = [asyncio.create_task(self._post()) for _ in range(count)]

    async def _post(self) -> None:
        while not self._enough.is_set():
            self.found.append(await self._world.text("POST", data=b"body"))
            self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def end(self) -> Counter[tuple[int, str]]:
        self._enough.set()
        await asyncio.gather(*self._tasks)
        return Counter(self.found)


@pytest.fixture
async def fronted(runtime: processes.Processes) -> AsyncIterator[World]:
    """An ingress with real replicas behind it."""
    async with contextlib.AsyncExitStack() as stack:
        made = World(stack)
        await made.open(runtime)
        yield made


async def start(
    runtime: processes.Processes, told: Told, apps: Apps, *keys: str, count: int = 1, grace: float = 5.0
) -> None:
    for key in keys:
        env = {"NAME": key, "GO": str(apps.folder / "go")}
        runtime.start(apps.revision(GRACEFUL, key=key, target_port=8080, env=env, count=count, grace=grace))
    await told.until(lambda: all(each.ready for key in keys for each in runtime.replicas(key)))


async def test_posts_go_on_while_revisions_switch(
    fronted: World, runtime: processes.Processes, told: Told, apps: Apps
) -> None:
    """None fails, first the old and then the new revision answers."""
    await start(runtime, told, apps, "app--old", "app--new")
    fronted.site(("app--old", 100))
    async with asyncio.timeout(20):
        clients = Clients(fronted)
        await clients.until(lambda: len(clients.found) > 20)
        old = fronted.sites.sites[HOST]
        fronted.sites.sites[HOST] = replace(old, targets=(replicas.Target("app--new", 100),))
        runtime.stop("app--old")
        await told.until(lambda: runtime.replicas("app--old") == ())
        enough = len(clients.found) + 20
        await clients.until(lambda: len(clients.found) > enough)
        found = await clients.end()
    assert set(found) == {(200, "app--old"), (200, "app--new")}


async def test_posts_go_on_while_a_replica_is_scaled_away(
    fronted: World, runtime: processes.Processes, told: Told, apps: Apps
) -> None:
    """The ones that stay take them all."""
    await start(runtime, told, apps, "app--one", count=2)
    fronted.site(("app--one", 100))
    async with asyncio.timeout(20):
        clients = Clients(fronted)
        await clients.until(lambda: len(clients.found) > 20)
        runtime.scale("app--one", 1)
        await told.until(lambda: len(runtime.replicas("app--one")) == 1)
        found = await clients.end()
    assert set(found) == {(200, "app--one")}


async def test_a_request_under_way_is_finished_within_the_grace_period(
    fronted: World, runtime: processes.Processes, told: Told, apps: Apps
) -> None:
    """The replica has left the ingress and was told to end by then."""
    await start(runtime, told, apps, "app--one", grace=15.0)
    fronted.site(("app--one", 100))
    go = apps.folder / "go"
    async with asyncio.timeout(20):
        asking = asyncio.create_task(fronted.text("POST", "/slow", data=b"body"))
        await lines(runtime, "app--one", until="asked")
        runtime.stop("app--one")
        assert (await fronted.text("POST", data=b"body"))[0] == 503
        go.touch()
        assert await asking == (200, "app--one")
        await told.until(lambda: runtime.replicas("app--one") == ())


async def test_what_outlives_the_grace_period_is_cut(
    fronted: World, runtime: processes.Processes, told: Told, apps: Apps
) -> None:
    """The client is told so."""
    await start(runtime, told, apps, "app--one", grace=0.1)
    fronted.site(("app--one", 100))
    async with asyncio.timeout(20):
        asking = asyncio.create_task(fronted.text("POST", "/slow", data=b"body"))
        await lines(runtime, "app--one", until="asked")
        runtime.stop("app--one")
        assert (await asking)[0] == 503
