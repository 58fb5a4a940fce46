"""Speaks to the service manager that started the process, after sd_notify(3) of systemd: datagrams of `NAME=value`.

Without NOTIFY_SOCKET nobody listens and nothing is sent. It decides nothing, and no failure of it stops anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

import structlog

log = structlog.get_logger()

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Supervisor:
    """Takes its variables out of `environ`, so that no child speaks in this process's name. `monotonic` gives
    nanoseconds of CLOCK_MONOTONIC."""

    def __init__(self, environ: MutableMapping[str, str], *, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        told = {name: environ.pop(name, "") for name in _VARIABLES}
        self._address = told["NOTIFY_SOCKET"]
        self._limit = _seconds(told["WATCHDOG_USEC"]) if told["WATCHDOG_PID"] in ("", str(os.getpid())) else None
        self._monotonic = monotonic
        self._failed = False

    def ready(self) -> None:
        """The start or the reload is over."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows: one line."""
        self._send(f"STATUS={' '.join(text.split())}")

    def reloading(self) -> None:
        """A reload began; `ready` ends it. In one datagram with the time, by which a reload is told from earlier
        ones."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic() // 1000}")

    def stopping(self) -> None:
        """The end began."""
        self._send("STOPPING=1")

    @contextlib.asynccontextmanager
    async def watched(
        self, alive: Callable[[], bool], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> AsyncIterator[None]:
        """Say that the process lives while inside and `alive`, twice as often as is asked for. Where it isn't any
        more, the service manager restarts it. `sleep` takes seconds."""
        if not self._address or self._limit is None:
            yield
            return
        task = asyncio.create_task(self._watch(alive, self._limit / 2, sleep), name="watchdog")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, alive: Callable[[], bool], pause: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        was_alive = True
        while True:
            is_alive = alive()
            if is_alive:
                self._send("WATCHDOG=1")
            elif was_alive:
                log.error("the reconcile loop stopped turning; the service manager will restart it")
            was_alive = is_alive
            await sleep(pause)

    def _send(self, text: str) -> None:
        """Never blocks: a service manager that doesn't listen is not waited for."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
                one.setblocking(False)
                one.sendto(text.encode(), _where(self._address))
        except (OSError, ValueError) as error:
            if not self._failed:
                log.warning("the service manager can't be told anything", problem=str(error))
            self._failed = True


def _where(address: str) -> str:
    """A path, or a name in the abstract space after `@`. Raises ValueError for other kinds."""
    if address.startswith("@"):
        return "\0" + address[1:]
    if address.startswith("/"):
        return address
    raise ValueError(f"NOTIFY_SOCKET={address} is no path and no @name")


def _seconds(microseconds: str) -> float | None:
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
