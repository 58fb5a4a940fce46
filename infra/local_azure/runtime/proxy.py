"""Moves one request to a replica and its answer back, byte by byte as they come, or a websocket both ways.

Which replica it is, is the ingress's choice. Nothing is buffered, decompressed or rewritten but headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import aiohttp
import yarl
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

# Documented: learn.microsoft.com/azure/container-apps/ingress-overview, "Request timeout is 240 seconds".
IDLE_S = 240.0
CONNECT_S = 5.0

_LOOK_S = 0.25
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


class TimedOut(Exception):
    """The replica took the request and was silent for 240 s before its answer."""


def session() -> aiohttp.ClientSession:
    """A client for `forward`. A new connection per request: a kept one may be closed by the app at any moment."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=IDLE_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_AUTOMATIC,
    )


async def forward(
    request: web.BaseRequest, address: tuple[str, int], *, session: aiohttp.ClientSession, cookie: str | None
) -> web.StreamResponse:
    """Send `request` to `address`; raises NotTaken or TimedOut while nothing of the answer was sent.

    A client that goes away cancels the request to the replica. `cookie` is a Set-Cookie to add.
    """
    headers = _onward(request)
    work = _websocket if _is_websocket(request) else _plain
    task = asyncio.create_task(work(request, address, session, headers, cookie))
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=_LOOK_S)
            if request.transport is None or request.transport.is_closing():
                break
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    if task.cancelled():
        return web.Response(status=499)  # nobody is left to read it
    return task.result()


async def _plain(
    request: web.BaseRequest,
    address: tuple[str, int],
    session: aiohttp.ClientSession,
    headers: CIMultiDict[str],
    cookie: str | None,
) -> web.StreamResponse:
    body = _Body(request)
    try:
        answer = await session.request(
            request.method,
            _url("http", address, request),
            headers=headers,
            data=body.chunks() if request.body_exists else None,
            allow_redirects=False,
        )
    except TimeoutError as error:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            raise NotTaken from error
        raise TimedOut from error
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        if body.begun or not (isinstance(error, aiohttp.ClientConnectorError) or request.method in _REPEATABLE):
            return web.Response(status=503, text=f"upstream connect error or disconnect/reset before headers. {error}")
        raise NotTaken from error
    async with answer:
        return await _back(request, answer, cookie)


async def _back(request: web.BaseRequest, answer: aiohttp.ClientResponse, cookie: str | None) -> web.StreamResponse:
    out = web.StreamResponse(status=answer.status, reason=answer.reason, headers=_without_hops(answer.headers))
    if cookie is not None:
        out.headers.add(hdrs.SET_COOKIE, cookie)
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


class _Body:
    """The request's body, and whether any of it was asked for."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.begun = False

    async def chunks(self) -> AsyncIterator[bytes]:
        self.begun = True
        if self._request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for chunk in self._request.content.iter_any():
            yield chunk


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
    except (aiohttp.ClientConnectionError, ConnectionError, TimeoutError) as error:
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
