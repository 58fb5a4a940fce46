"""Moves one request to a replica and its answer back, byte by byte as they come, or a websocket both ways.

Which replica it is, is the ingress's choice. Nothing is buffered, decompressed or rewritten but headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import aiohttp
import yarl
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

# Documented: learn.microsoft.com/azure/container-apps/ingress-overview, "Request timeout is 240 seconds".
IDLE_S = 240.0
CONNECT_S = 5.0
# A kept connection is used again within this time: less than any usual server keeps an idle one.
KEPT_S = 1.0

_LOOK_S = 0.25
_RESET = "upstream connect error or disconnect/reset before headers."
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


class NotTaken(Exception):
    """The replica didn't take the request, so that another one may."""


class _Lost(Exception):
    """The connection ended before an answer. Raised in place of aiohttp's own errors, after which it would send a
    PUT again with what is left of its body."""


class Body:
    """A request's body. Short ones have mostly arrived before the request is looked at: they are sent as one piece,
    the others as they come."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        content = request.content
        here = request.body_exists and content.is_eof() and content.exception() is None
        self._whole = content.read_nowait() if here else None
        self.streamed = request.body_exists and not here

    def data(self) -> bytes | AsyncIterator[bytes] | None:
        return self._chunks() if self.streamed else self._whole

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for chunk in self._request.content.iter_any():
            yield chunk


class Proxy:
    """Connections to the replicas, kept while they are busy, and a look at the clients who wait."""

    def __init__(self) -> None:
        self._kept = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S))
        self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        self._waiting: dict[asyncio.Task[Any], web.BaseRequest] = {}
        self._gone: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._kept.close()
        await self._fresh.close()

    async def attended(
        self, request: web.BaseRequest, work: Coroutine[Any, Any, web.StreamResponse]
    ) -> web.StreamResponse:
        """What `work` answers to `request`; `work` is canceled soon after the client went away."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = request
        self._look_later()
        try:
            return await work
        except asyncio.CancelledError:
            if task not in self._gone:
                raise
            task.uncancel()
            return web.Response(status=499)  # nobody is left to read it
        finally:
            del self._waiting[task]
            self._gone.discard(task)

    async def forward(
        self, request: web.BaseRequest, body: Body, address: tuple[str, int], *, cookie: str | None
    ) -> web.StreamResponse:
        """Send `request` to `address`. `cookie` is a Set-Cookie to add.

        Raises, while nothing of an answer was sent: NotTaken, and TimeoutError when the replica took the request and
        was silent for 240 s.
        """
        headers = _onward(request)
        if _is_websocket(request):
            return await _websocket(request, address, self._fresh, headers, cookie)
        answer = await self._ask(request, body, address, headers)
        if isinstance(answer, web.Response):
            return answer
        async with answer:
            return await _back(request, answer, cookie)

    async def _ask(
        self, request: web.BaseRequest, body: Body, address: tuple[str, int], headers: CIMultiDict[str]
    ) -> aiohttp.ClientResponse | web.Response:
        """A kept connection may be closed by the app at any moment: what may be repeated is, on a new one."""
        repeatable = request.method in _REPEATABLE and not body.streamed
        sessions = (self._fresh,) if body.streamed else (self._kept, self._fresh) if repeatable else (self._kept,)
        lost: Exception | None = None
        for session in sessions:
            try:
                return await session.request(
                    request.method,
                    _url("http", address, request),
                    headers=headers,
                    data=body.data(),
                    allow_redirects=False,
                )
            except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
                raise NotTaken from error
            except aiohttp.ClientResponseError:
                return web.Response(status=502, text=f"{_RESET} reset reason: protocol error")
            except _Lost as error:
                lost = error
        if repeatable:
            raise NotTaken from lost
        return web.Response(status=503, text=f"{_RESET} {lost}")

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        for task, request in self._waiting.items():
            if task not in self._gone and (request.transport is None or request.transport.is_closing()):
                self._gone.add(task)
                task.cancel()
        if self._waiting:
            self._look_later()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=IDLE_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_AUTOMATIC,
        middlewares=(_once,),
    )


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, TimeoutError):
        raise
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        raise _Lost(str(error)) from error


async def _back(request: web.BaseRequest, answer: aiohttp.ClientResponse, cookie: str | None) -> web.StreamResponse:
    headers = _without_hops(answer.headers)
    if cookie is not None:
        headers.add(hdrs.SET_COOKIE, cookie)
    if request.method != "HEAD" and answer.content.is_eof() and answer.content.exception() is None:
        whole = answer.content.read_nowait()
        return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=whole)
    out = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await out.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await out.write(chunk)
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        # The head is out: only a cut connection can tell the client that the body isn't whole.
        if request.transport is not None:
            request.transport.abort()
        return out
    await out.write_eof()
    return out


def _url(scheme: str, address: tuple[str, int], request: web.BaseRequest) -> yarl.URL:
    path = request.raw_path if request.raw_path.startswith("/") else request.rel_url.raw_path_qs
    return yarl.URL(f"{scheme}://{address[0]}:{address[1]}{path}", encoded=True)


def _onward(request: web.BaseRequest) -> CIMultiDict[str]:
    """The request's headers with what Azure's ingress adds (documented: ingress-overview, "HTTP headers")."""
    headers = _without_hops(request.headers)
    headers.popall(hdrs.EXPECT, None)
    before = request.headers.get(hdrs.X_FORWARDED_FOR)
    client = request.remote or "unknown"
    headers[hdrs.X_FORWARDED_FOR] = f"{before}, {client}" if before else client
    headers[hdrs.X_FORWARDED_PROTO] = "https" if request.secure else "http"
    headers[hdrs.X_FORWARDED_HOST] = request.host
    headers.setdefault("x-request-id", str(uuid.uuid4()))
    return headers


def _without_hops(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, []) for name in value.split(",")}
    dropped = _HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def _is_websocket(request: web.BaseRequest) -> bool:
    upgrade = request.headers.get(hdrs.UPGRADE, "").lower()
    return request.method == "GET" and "websocket" in upgrade


async def _websocket(
    request: web.BaseRequest,
    address: tuple[str, int],
    session: aiohttp.ClientSession,
    headers: CIMultiDict[str],
    cookie: str | None,
) -> web.StreamResponse:
    """Opened at the replica first, so that its refusal is the client's answer."""
    offered = [one.strip() for one in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",") if one.strip()]
    own = [name for name in headers if name.lower().startswith("sec-websocket-")]
    for name in own:
        headers.popall(name, None)
    try:
        upstream = await session.ws_connect(
            _url("http", address, request), protocols=offered, headers=headers, max_msg_size=0
        )
    except aiohttp.WSServerHandshakeError as error:
        return web.Response(status=error.status if error.status >= 400 else 502, text=error.message)
    except (aiohttp.ClientConnectionError, _Lost, TimeoutError) as error:
        raise NotTaken from error
    async with upstream:
        out = web.WebSocketResponse(protocols=[upstream.protocol] if upstream.protocol else (), max_msg_size=0)
        if cookie is not None:
            out.headers.add(hdrs.SET_COOKIE, cookie)
        await out.prepare(request)
        await _relay(out, upstream)
        return out


async def _relay(client: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse) -> None:
    """Until either side closes; the other one is then closed with the same code."""
    both = (asyncio.create_task(_copy(client, upstream)), asyncio.create_task(_copy(upstream, client)))
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        await asyncio.wait(both)
    code = client.close_code or upstream.close_code or aiohttp.WSCloseCode.OK
    with contextlib.suppress(ConnectionError):
        await client.close(code=code)
        await upstream.close(code=code)


_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _copy(source: _Socket, sink: _Socket) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
