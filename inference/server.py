"""The HTTP server: uvicorn on a socket that is bound already, with signals that drain before the socket closes."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import uvicorn

from inference import logs

_LOG = logging.getLogger("inference.boot")
_CLOSING = 1
"""Seconds for open connections to end once everything is answered: what is left is a browser's idle stream."""


class Server(uvicorn.Server):
    """The first signal runs `drain`, then ends; the second ends at once, whatever is open."""

    def __init__(self, app: Any, drain: Callable[[], Awaitable[None]]) -> None:
        # Without proxy headers: nothing here asks for the client's address, which a client can make up, and the
        # page reads X-Forwarded-Host and -Proto by itself.
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_CLOSING,
        )
        super().__init__(config)
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None
        self.forced: int | None = None
        """The number of the signal that ended it before everything was answered."""

    async def on(self, listener: socket.socket) -> None:
        """Serve on `listener` until told to end."""
        await self.serve(sockets=[listener])

    def end_after(self, seconds: float) -> None:
        """End by itself, without a drain."""
        self._loop.call_later(seconds, lambda: setattr(self, "should_exit", True))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn as the handler of SIGTERM and SIGINT."""
        self._loop.call_soon_threadsafe(self._signalled, signal.Signals(sig))

    def _signalled(self, sig: signal.Signals) -> None:
        logs.event(_LOG, "signal", name=sig.name)
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())
            self._draining.add_done_callback(self._drained)
        else:
            self.forced = sig.value
            self.force_exit = self.should_exit = True

    def _drained(self, task: asyncio.Task[None]) -> None:
        self.should_exit = True
        if not task.cancelled() and task.exception() is not None:
            logs.event(_LOG, "drain_incomplete", level=logging.WARNING, error=repr(task.exception()))
