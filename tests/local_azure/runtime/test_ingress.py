"""Requests through the ingress: whom they reach, what is added, streamed, retried and refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import ingress, processes, proxy, simulated
from tests.local_azure.runtime.scripted_apps import Apps, server

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

    def start(self, revision: replicas.Revision) -> None: ...

    def stop(self, key: str) -> None: ...

    def restart(self, key: str) -> None: ...

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
        self._ingress = ingress.Ingress(self.sites, runtime or self.runtime)
        self._stack.push_async_callback(self._ingress.close)
        self.port = (await self.listen(self._ingress.handle, cancel=False))[1]
        self.client = await self._stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))

    async def listen(self, handler: Handler, *, cancel: bool = True) -> tuple[str, int]:
        front = web.Server(handler, handler_cancellation=cancel, auto_decompress=False)
        listening = await asyncio.get_running_loop().create_server(front, "127.0.0.1", 0)

        async def close() -> None:
            listening.close()
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


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        made = World(stack)
        await made.open()
        yield made


def says(word: str) -> Handler:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=word)

    return handle


async def refusing() -> tuple[str, int]:
    """An address where nobody listens any more."""
    gone = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = gone.sockets[0].getsockname()[1]
    gone.close()
    await gone.wait_closed()
    return "127.0.0.1", port


async def test_an_unknown_host_gets_the_404_page(world: World) -> None:
    """As for an app that is stopped or was never there."""
    status, text = await world.text(host="nobody.env.localhost")
    assert status == 404
    assert "Error 404 - This Container App is stopped or does not exist." in text


async def test_an_internal_app_is_not_reached_from_outside(world: World) -> None:
    """Internal ingress answers 404."""
    await world.app(says("hello"))
    world.site(("app--one", 100), external=False)
    assert (await world.text())[0] == 404


@pytest.mark.parametrize(("insecure", "expected"), [(False, 301), (True, 200)])
async def test_plain_http_is_redirected_unless_allowed(world: World, insecure: bool, expected: int) -> None:
    """To the same address over https; names under .localhost are served directly in the other tests."""
    await world.app(says("hello"))
    world.site(("app--one", 100), host="app.example.com", allow_insecure=insecure)
    async with world.request(path="/a?b=c", host="app.example.com:8443") as answer:
        assert expected == answer.status
        assert insecure or answer.headers["Location"] == "https://app.example.com:8443/a?b=c"


@pytest.mark.parametrize("ready", [(), (False,)])
async def test_without_a_ready_replica_the_answer_is_503(world: World, ready: tuple[bool, ...]) -> None:
    """In the words of the service's proxy."""
    world.runtime.found["app--one"] = tuple(replica("r", ("127.0.0.1", 1), ready=each) for each in ready)
    world.site(("app--one", 100))
    status, text = await world.text()
    assert status == 503
    assert text.startswith("upstream connect error or disconnect/reset before headers.")


async def test_a_replica_that_is_not_ready_is_not_asked(world: World) -> None:
    """Although it listens: a model may still be loading behind the port."""
    loading = replica("app--one-0", await world.listen(says("loading")), ready=False)
    world.runtime.found["app--one"] = (loading, replica("app--one-1", await world.listen(says("ready"))))
    world.site(("app--one", 100))
    assert {await world.text() for _ in range(4)} == {(200, "ready")}
    world.runtime.found["app--one"] = (loading,)
    assert (await world.text())[0] == 503


async def test_weights_split_the_requests(world: World) -> None:
    """80 to 20 is exactly that over ten requests; a weight of 0 gets none."""
    for key in ("app--a", "app--b", "app--c"):
        await world.app(says(key), key=key)
    world.site(("app--a", 80), ("app--b", 20), ("app--c", 0))
    found = Counter([(await world.text())[1] for _ in range(10)])
    assert found == {"app--a": 8, "app--b": 2}


async def test_replicas_take_turns(world: World) -> None:
    """Round robin among the ready ones."""
    for word in ("one", "two", "three"):
        await world.app(says(word))
    world.site(("app--one", 100))
    assert Counter([(await world.text())[1] for _ in range(6)]) == {"one": 2, "two": 2, "three": 2}


async def test_a_sticky_site_keeps_a_client_on_its_replica(world: World) -> None:
    """By a cookie, which is renewed when that replica is gone."""
    for word in ("one", "two"):
        await world.app(says(word))
    world.site(("app--one", 100), sticky=True)
    async with world.request() as answer:
        first = await answer.text()
        cookie = answer.cookies[ingress.COOKIE].value
    headers = {"Cookie": f"{ingress.COOKIE}={cookie}"}
    assert {first} == {(await world.text(headers=headers))[1] for _ in range(4)}
    world.runtime.found["app--one"] = tuple(
        each for each, word in zip(world.runtime.found["app--one"], ("one", "two"), strict=True) if word != first
    )
    async with world.request(headers=headers) as answer:
        assert first != await answer.text()
        assert ingress.COOKIE in answer.cookies


async def test_a_refused_connection_is_retried_on_another_replica(world: World) -> None:
    """A replica that is going away costs no request, whatever its method and body."""
    await world.app(says("here"))
    world.runtime.found["app--one"] += (replica("gone", await refusing()),)
    world.site(("app--one", 100))
    found = [await world.text("POST", data=b"body") for _ in range(4)]
    assert found == [(200, "here")] * 4


async def test_a_post_that_was_taken_is_not_repeated(world: World) -> None:
    """Once the body was sent, a lost connection is the client's to judge."""
    seen: list[bytes] = []

    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(await request.read())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    for _ in range(2):
        await world.app(cut)
    world.site(("app--one", 100))
    assert (await world.text("POST", data=b"body"))[0] == 503
    assert seen == [b"body"]


async def test_requests_arrive_as_sent_with_the_forwarded_headers(world: World) -> None:
    """Method, raw path, Host and body as they were; hop-by-hop headers dropped; who asked is added."""
    seen: list[tuple[web.BaseRequest, bytes]] = []

    async def record(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request, await request.read()))
        return web.Response(text="ok")

    await world.app(record)
    world.site(("app--one", 100))
    body = gzip.compress(b"x" * 100)
    headers = {
        "X-Forwarded-For": "10.0.0.1",
        "Connection": "X-Hop",
        "X-Hop": "1",
        "Content-Encoding": "gzip",
        "Expect": "100-continue",
        "x-request-id": "mine",
    }
    await world.text("PUT", "/a%2Fb?c=%20d", data=body, headers=headers)
    request, read = seen[0]
    assert ("PUT", "/a%2Fb?c=%20d", HOST, body) == (request.method, request.raw_path, request.host, read)
    added = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "x-request-id", "X-Hop", "Expect")
    assert [request.headers.get(name) for name in added] == ["10.0.0.1, 127.0.0.1", "http", HOST, "mine", None, None]
    assert str(len(body)) == request.headers["Content-Length"]


async def test_answers_come_back_as_sent(world: World) -> None:
    """Status, reason, repeated headers and compressed bodies are left alone."""
    packed = gzip.compress(b"hello")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        reply = web.Response(status=418, reason="Short", body=packed, headers={"Content-Encoding": "gzip"})
        reply.headers.add("Set-Cookie", "a=1")
        reply.headers.add("Set-Cookie", "b=2")
        return reply

    await world.app(answer)
    world.site(("app--one", 100))
    async with world.request() as found:
        assert (418, "Short", packed) == (found.status, found.reason, await found.read())
        assert found.headers.getall("Set-Cookie") == ["a=1", "b=2"]
    async with world.request("HEAD") as found:
        assert (418, str(len(packed))) == (found.status, found.headers["Content-Length"])


async def test_a_stream_passes_chunk_by_chunk_both_ways(world: World) -> None:
    """Each event arrives before the next part of the request is sent, so nothing waits in a buffer."""

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await out.prepare(request)
        async for chunk in request.content.iter_any():
            await out.write(b"data: " + chunk + b"\n\n")
        return out

    await world.app(echo)
    world.site(("app--one", 100))
    parts: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while (part := await parts.get()) is not None:
            yield part

    parts.put_nowait(b"0")
    found = []
    async with asyncio.timeout(10), world.request("POST", data=body()) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        for number in range(5):
            found.append(await answer.content.readuntil(b"\n\n"))
            parts.put_nowait(str(number + 1).encode() if number < 4 else None)
        assert await answer.content.read() == b""
    assert [f"data: {number}\n\n".encode() for number in range(5)] == found


async def test_a_client_that_goes_away_cancels_the_request_to_the_app(world: World) -> None:
    """Also while the app is silent."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def think(request: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return web.Response()

    await world.app(think)
    world.site(("app--one", 100))
    asking = asyncio.create_task(world.text())
    await asyncio.wait_for(asked.wait(), 5)
    asking.cancel()
    await asyncio.wait_for(gone.wait(), 5)


async def test_an_answer_cut_short_is_cut_short_for_the_client_too(world: World) -> None:
    """A body that isn't whole must not look whole."""

    async def half(request: web.BaseRequest) -> web.StreamResponse:
        out = web.StreamResponse()
        await out.prepare(request)
        await out.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return out

    await world.app(half)
    world.site(("app--one", 100))
    with pytest.raises(aiohttp.ClientError):
        await world.text()


async def test_a_silent_app_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """504 after the request timeout, 240 s in service and shorter here; the request isn't repeated."""
    monkeypatch.setattr(proxy, "IDLE_S", 0.1)
    asked: list[str] = []

    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        await asyncio.wait_for(asyncio.Event().wait(), 1)
        return web.Response()

    for _ in range(2):
        await world.app(silent)
    world.site(("app--one", 100))
    assert await world.text() == (504, "stream timeout")
    assert asked == ["/"]


async def test_websockets_pass_both_ways_with_their_protocol(world: World) -> None:
    """Text, bytes and the closing code."""

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        async for message in socket:
            if message.data == "bye":
                await socket.close(code=4001)
            elif message.type is aiohttp.WSMsgType.TEXT:
                await socket.send_str(f"{message.data}!")
            else:
                await socket.send_bytes(message.data)
        return socket

    await world.app(echo)
    world.site(("app--one", 100))
    url = f"http://127.0.0.1:{world.port}/ws"
    async with (
        asyncio.timeout(10),
        world.client.ws_connect(url, headers={"Host": HOST}, protocols=["other", "chat"]) as socket,
    ):
        assert socket.protocol == "chat"
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello!"
        await socket.send_bytes(b"\0\1")
        assert await socket.receive_bytes() == b"\0\1"
        await socket.send_str("bye")
        await socket.receive()
        assert socket.close_code == 4001


async def test_a_websocket_the_app_refuses_is_refused_with_its_status(world: World) -> None:
    """The handshake's answer is the app's."""

    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=403)

    await world.app(refuse)
    world.site(("app--one", 100))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.client.ws_connect(f"http://127.0.0.1:{world.port}/", headers={"Host": HOST})
    assert refused.value.status == 403


async def test_simulated_replicas_are_answered_for(apps: Apps) -> None:
    """Their release, on any path."""
    time = clock.ManualClock(CREATED)
    runtime = simulated.Simulated(time)
    runtime.start(apps.with_container(apps.container((), env={"ACAOPS_RELEASE": "abc"}), target_port=8080))
    time.advance(simulated.START_S)
    async with contextlib.AsyncExitStack() as stack:
        world = World(stack)
        await world.open(runtime)
        world.site(("app--one", 100))
        assert await world.text(path="/readyz") == (200, '{"release": "abc", "status": "ready"}')


async def test_clients_see_no_failure_while_revisions_switch(apps: Apps, runtime: processes.Processes) -> None:
    """A client asking on and on across a switch sees only 200, first of the old and then of the new revision."""
    graceful = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(0))"
    for key in ("app--old", "app--new"):
        runtime.start(apps.revision(server(graceful), key=key, target_port=8080, env={"NAME": key}))
    news = asyncio.Event()
    runtime.changed = lambda key: news.set()

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():
            news.clear()
            await news.wait()

    async with asyncio.timeout(20), contextlib.AsyncExitStack() as stack:
        world = World(stack)
        await world.open(runtime)
        world.site(("app--old", 100))
        await until(lambda: all(each.ready for key in ("app--old", "app--new") for each in runtime.replicas(key)))
        found: list[tuple[int, str]] = []
        begun, enough = asyncio.Event(), asyncio.Event()

        async def ask() -> None:
            while not enough.is_set():
                found.append(await world.text())
                begun.set()

        clients = [asyncio.create_task(ask()) for _ in range(3)]
        await begun.wait()
        old = world.sites.sites[HOST]
        world.sites.sites[HOST] = replace(old, targets=(replicas.Target("app--new", 100),))
        runtime.stop("app--old")
        await until(lambda: runtime.replicas("app--old") == ())
        enough.set()
        await asyncio.gather(*clients)
    assert {200} == {status for status, _ in found}
    assert {"app--old", "app--new"} == {text for _, text in found}
