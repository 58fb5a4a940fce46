"""Real processes: `acaops` as a user starts it, its HTTP, and what is left on the machine afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from controller.cloud import network
from infra.local_azure import lifecycle

ROOT = Path(__file__).parents[2]
ACAOPS = (sys.executable, "-m", "controller")
LOOK = 0.05

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], what: str, *, within: float = 30.0, every: float = LOOK) -> T:
    """What `look` gives once that is something; AssertionError with `what` when it takes too long."""
    end = time.monotonic() + within
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:.0f} s: {what}; last seen: {found!r}")
        await asyncio.sleep(every)


def environ(server: lifecycle.Running) -> dict[str, str]:
    """This process's environment, pointed at `server`. What a killed controller leaves goes where the server's state
    goes."""
    server.state.joinpath("tmp").mkdir(exist_ok=True)
    return {
        **os.environ,
        **lifecycle.environment(server),
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(server.state / "tmp"),
    }


async def acaops(*arguments: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str, str]:
    """Run to the end: exit status, standard output, standard error."""
    child = await asyncio.create_subprocess_exec(
        *(*ACAOPS, *arguments),
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await child.communicate()
    assert child.returncode is not None
    return child.returncode, out.decode(), error.decode()


@dataclass
class Daemon:
    """A running `acaops run`. Its lines of JSON are in `log`."""

    process: asyncio.subprocess.Process
    log: Path
    url: str = ""

    def tail(self) -> str:
        return self.log.read_text()[-2000:]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    async def status(self) -> dict[str, Any]:
        """What `/status` says."""
        told: dict[str, Any] = await get(f"{self.url}/status")
        return told

    async def ready(self, *, release_other_than: str | None = None, within: float = 30.0) -> dict[str, Any]:
        """The app's status once everything is Ready."""

        async def look() -> dict[str, Any] | None:
            objects = {one["kind"]: one for one in (await self.status())["objects"]}
            if not objects or not all(_ready(one) for one in objects.values()) or "InferenceApp" not in objects:
                return None
            app: dict[str, Any] = objects["InferenceApp"]
            return app if app["release"] != release_other_than else None

        return await until(look, f"everything Ready; {self.tail()}", within=within)

    async def stop(self) -> tuple[int, float]:
        """Exit status after SIGTERM, and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(self.process.wait(), 20)
        return status, time.monotonic() - began

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def daemon(*arguments: str | Path, env: Mapping[str, str], log: Path) -> AsyncIterator[Daemon]:
    """`acaops run` on any free port; killed at the end if it still runs."""
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            *(*ACAOPS, "run", *map(str, arguments), "--port", "0"),
            env=env,
            cwd=log.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=file,
        )
    running = Daemon(process, log)

    async def address() -> str | None:
        assert process.returncode is None, running.tail()
        return next((line["address"] for line in running.lines() if line["event"] == "serving"), None)

    try:
        running.url = await until(address, "the daemon serves")
        yield running
    finally:
        if process.returncode is None:
            await running.kill()


async def get(url: str, *, env: Mapping[str, str] | None = None) -> Any:
    """The JSON at a loopback address; the local Azure's apps answer plain HTTP too."""
    async with asyncio.timeout(20), session() as http, http.get(plain(url)) as answer:
        assert answer.status == 200, f"{url} answered {answer.status}: {await answer.text()}"
        return await answer.json()


def plain(url: str) -> str:
    return url.replace("https://", "http://", 1)


def session() -> aiohttp.ClientSession:
    """A session for addresses under `.localhost`, a new connection for each request."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=network.Resolver(), force_close=True))


def processes(text: str) -> dict[int, str]:
    """The processes whose command line or environment holds `text`, by id; this one left out."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if text.encode() in command or text.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def _ready(status: Mapping[str, Any]) -> bool:
    words = {one["type"]: one["status"] for one in status["conditions"]}
    return words.get("Ready") == "True"
