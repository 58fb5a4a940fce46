"""One loopback port for TLS and plain HTTP: the first byte of a connection tells which.

It owns sockets only; what is answered is the business of the handler it is given.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
TLS_HANDSHAKE = 0x16
# How long a new connection may say nothing. Clients that connect ahead of use are let go after that.
FIRST_BYTE_SECONDS = 60.0
HANDSHAKE_SECONDS = 15.0
# The longest request line and header: log queries and workload tokens are long.
LONGEST_LINE = 65536
# File ranges are 4 MiB; an app's upload is streamed and isn't limited by this.
MOST_BYTES = 64 * 1024 * 1024
BACKLOG = 512

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class PortInUse(Exception):
    """Another process listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} of {HOST} is in use by another process; choose another one with --port")
        self.port = port


class Listener:
    """Serves `handler` on one port of the loopback interface."""

    def __init__(self, handler: Handler, context: ssl.SSLContext) -> None:
        self._handler = handler
        self._context = context
        self._socket: socket.socket | None = None
        self._server: web.Server | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> int:
        """Listen on `port`, 0 for any; returns the port. Raises PortInUse."""
        self._socket = _bound(port)
        self._server = web.Server(
            self._handler,
            request_factory=_request,
            access_log=None,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        self._accepting = asyncio.create_task(self._accept(self._socket))
        return int(self._socket.getsockname()[1])

    async def close(self, *, grace: float) -> None:
        """Stop listening, give requests under way `grace` seconds, close every connection."""
        if self._socket is None or self._server is None or self._accepting is None:
            return
        self._accepting.cancel()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(self._accepting, *self._opening, return_exceptions=True)
        self._socket.close()
        self._server.pre_shutdown()
        await self._server.shutdown(grace)
        self._socket = None

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:
                # Out of file descriptors: wait for some to come back instead of spinning.
                log.warning("accept failed: %s", error)
                await asyncio.sleep(0.2)
                continue
            task = asyncio.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        """Hand `connection` to the HTTP server, in TLS if that is what the client speaks."""
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(FIRST_BYTE_SECONDS):
                first = await _peek(connection)
            if not first:
                connection.close()
                return
            await self._serve(connection, encrypted=first[0] == TLS_HANDSHAKE)
        except (OSError, ssl.SSLError, TimeoutError) as error:
            # A client that went away or doesn't trust us is the client's affair.
            log.debug("connection dropped: %s", error)
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _serve(self, connection: socket.socket, *, encrypted: bool) -> None:
        loop = asyncio.get_running_loop()
        assert self._server is not None
        if encrypted:
            await loop.connect_accepted_socket(
                self._server, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        else:
            await loop.connect_accepted_socket(self._server, connection)


def _bound(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(port) from None
        raise
    listening.setblocking(False)
    return listening


async def _peek(connection: socket.socket) -> bytes:
    """The first byte, left in place; empty when the client hung up."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def ready() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(connection, ready)
    try:
        await readable
    finally:
        loop.remove_reader(connection)
    return connection.recv(1, socket.MSG_PEEK)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MOST_BYTES)
