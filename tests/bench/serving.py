"""An app that behaves as it is told: what is rolled out while `rollouts` and `saved` measure.

It reads `behaviour.json` beside it, which `Behaviour` writes, and answers `GET /` and `GET /readyz` alike: 200 with who
it is once it is ready, 503 before. It needs the standard library only, starts in a fraction of a second, and answers
what it is asked on one connection one after the other. On SIGTERM it takes no more connections, ends those it has after
the answer in hand, and exits with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GOOD, SLOW, HANG, WRONG_RELEASE = "good", "slow", "hang", "wrong-release"
CRASH_BEFORE_READY, CRASH_AFTER_READY = "crash-before-ready", "crash-after-ready"
ALL = (GOOD, SLOW, HANG, WRONG_RELEASE, CRASH_BEFORE_READY, CRASH_AFTER_READY)
SOMEBODY_ELSE = "somebody-else"
FILE = "behaviour.json"

STILL = 0.2
"""Seconds that connections are still taken after SIGTERM: they may have been on their way."""

DRAIN = 2.0
"""Seconds after which connections that don't end are left."""


@dataclass(frozen=True)
class Behaviour:
    """`version` names the content in every answer. `does` is one of

    good                ready at once
    slow                opens its port at once, ready after `seconds`
    hang                opens its port, never ready
    wrong-release       ready at once, under another release's name
    crash-before-ready  ends with 1 after `seconds`, without having opened its port
    crash-after-ready   ends with 1 `seconds` after it was ready, each time it is started
    """

    version: str
    does: str = GOOD
    seconds: float = 0.0

    def write(self, folder: Path) -> None:
        """The file in `folder`, whole or not at all."""
        aside = folder / f".{FILE}.new"
        aside.write_text(json.dumps(asdict(self)))
        os.replace(aside, folder / FILE)


class App:
    """What it answers, and when."""

    def __init__(self, behaviour: Behaviour, *, release: str) -> None:
        self.ending = False
        self.open: set[asyncio.Transport] = set()
        self.ended = asyncio.Event()
        self._behaviour = behaviour
        self._release = SOMEBODY_ELSE if behaviour.does == WRONG_RELEASE else release
        self._answer = self._loading = b""
        self._tell(ready=False)

    async def serve(self, port: int) -> None:
        """Until SIGTERM. Raises SystemExit where it is to crash before it is ready."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        if self._behaviour.does == CRASH_BEFORE_READY:
            await asyncio.sleep(self._behaviour.seconds)
            raise SystemExit(1)
        server = await loop.create_server(lambda: Connection(self), "0.0.0.0", port, backlog=512)
        if self._behaviour.does != HANG:
            wait = self._behaviour.seconds if self._behaviour.does == SLOW else 0.0
            loop.call_later(wait, self._ready)
        await stop.wait()
        await self._drained(server)

    def answer(self) -> bytes:
        return self._answer.replace(b"keep-alive", b"close", 1) if self.ending else self._answer

    def _ready(self) -> None:
        self._tell(ready=True)
        if self._behaviour.does == CRASH_AFTER_READY:
            # At once, with connections open: so does a process that the kernel ends.
            asyncio.get_running_loop().call_later(self._behaviour.seconds, os._exit, 1)

    def _tell(self, *, ready: bool) -> None:
        startup = round(time.clock_gettime(time.CLOCK_BOOTTIME) - _began(), 3) if ready else None
        told = {"release": self._release, "status": "ready" if ready else "loading", "startup": startup}
        self._answer = _message("200 OK" if ready else "503 Service Unavailable", told | asdict(self._behaviour))

    async def _drained(self, server: asyncio.Server) -> None:
        self.ending = True
        await asyncio.sleep(STILL)
        server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), DRAIN if self.open else 0.0)


class Connection(asyncio.Protocol):
    """One client's requests, none of which has a body."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._app.open.add(transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for head in heads:
            path = head.split(b" ", 2)[1]
            known = path in (b"/", b"/readyz")
            self._transport.write(self._app.answer() if known else _message("404 Not Found", {"path": path.decode()}))
        if heads and self._app.ending:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._app.open.discard(self._transport)
        if self._app.ending and not self._app.open:
            self._app.ended.set()


def _message(status: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Connection: keep-alive\r\n\r\n".encode() + data


def _began() -> float:
    """When this process began, on the clock that runs since boot: as bash, which unpacked what is served."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    behaviour = Behaviour(**json.loads((Path(__file__).parent / FILE).read_text()))
    asyncio.run(App(behaviour, release=os.environ["ACAOPS_RELEASE"]).serve(int(os.environ["PORT"])))


if __name__ == "__main__":
    main()
