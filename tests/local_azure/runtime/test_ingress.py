"""Requests through the ingress: whom they reach, what is added, streamed, retried and refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import ingress, proxy, simulated
from tests.local_azure.runtime.fronted import CREATED, HOST, Handler, World, replica
from tests.local_azure.runtime.scripted_apps import Apps


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


async def test_other_addresses_of_an_app_dont_disturb_its_weights(world: World) -> None:
    """A revision's own address, asked in between, and an app of the same name elsewhere."""
    for key in ("app--a", "app--b"):
        await world.app(says(key), key=key)
    world.site(("app--a", 50), ("app--b", 50))
    world.site(("app--a", 100), host="app--a.env.localhost")
    world.site(("app--b", 90), ("app--a", 10), host="app.second.localhost")
    found: Counter[str] = Counter()
    for _ in range(10):
        found[(await world.text())[1]] += 1
        for host in ("app--a.env.localhost", "app.second.localhost"):
            await world.text(host=host)
    assert found == {"app--a": 5, "app--b": 5}


async def test_a_retry_moves_no_traffic_to_another_revision(world: World) -> None:
    """What one revision can't take isn't a bigger share for the other."""
    await world.app(says("b"), key="app--b")
    world.runtime.found["app--a"] = (replica("gone", await refusing()),)
    world.site(("app--a", 50), ("app--b", 50))
    assert Counter([(await world.text())[0] for _ in range(10)]) == {503: 5, 200: 5}


async def test_connections_to_an_app_are_kept(world: World) -> None:
    """Requests with short bodies share one."""
    seen = set()

    async def record(request: web.BaseRequest) -> web.StreamResponse:
        seen.add(request.transport)
        return web.Response(body=await request.read())

    await world.app(record)
    world.site(("app--one", 100))
    found = [await world.text(method, data=b"body") for method in ("POST", "PUT", "POST")]
    assert found == [(200, "body")] * 3
    assert len(seen) == 1


@pytest.mark.parametrize(("method", "expected"), [("GET", 200), ("POST", 503), ("PUT", 503)])
async def test_a_kept_connection_that_the_app_closed(world: World, method: str, expected: int) -> None:
    """At the moment of the next request: that one is repeated on a new connection if it may be."""
    seen: Counter[Any] = Counter()

    async def once(request: web.BaseRequest) -> web.StreamResponse:
        seen[request.transport] += 1
        if seen[request.transport] > 1:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="ok")

    await world.app(once)
    world.site(("app--one", 100))
    assert (await world.text(method))[0] == 200
    body = None if method == "GET" else b"body"
    assert (await world.text(method, data=body))[0] == expected
    assert sum(seen.values()) == (3 if method == "GET" else 2)


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


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_body_that_was_taken_is_not_sent_again(world: World, method: str, streamed: bool) -> None:
    """Once it was sent, a lost connection is the client's to judge."""
    seen: list[bytes] = []

    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(await request.read())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def body() -> AsyncIterator[bytes]:
        yield b"body"

    for _ in range(2):
        await world.app(cut)
    world.site(("app--one", 100))
    assert (await world.text(method, data=body() if streamed else b"body"))[0] == 503
    assert seen == [b"body"]


async def test_what_is_no_http_is_a_502(world: World) -> None:
    """In the words of the service's proxy."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello\r\n\r\n")
        writer.close()

    babbling = await asyncio.start_server(babble, "127.0.0.1", 0)
    address = ("127.0.0.1", babbling.sockets[0].getsockname()[1])
    world.runtime.found["app--one"] = (replica("r", address),)
    world.site(("app--one", 100))
    status, text = await world.text()
    babbling.close()
    assert (status, text.endswith("reset reason: protocol error")) == (502, True)


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


async def test_a_revision_at_zero_that_doesnt_come_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """504 after the same time."""
    monkeypatch.setattr(proxy, "IDLE_S", 0.1)
    world.scaling.watch("app--one", replicas.Scale(0, 1, 10, 15.0))
    world.time.advance(15)
    world.site(("app--one", 100))
    assert await world.text() == (504, "stream timeout")


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
