"""`acaops run` as a service: under a service manager's eyes, killed and started again, with somebody to tell."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infra.local_azure import lifecycle
from tests.e2e import azure, running
from tests.e2e.folder import Folder
from tests.git import servers


@dataclass
class Manager:
    """Starts the service as systemd does, and keeps what it says of itself."""

    address: str
    listening: socket.socket
    said: list[str] = field(default_factory=list)

    def heard(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.said.append(self.listening.recv(4096).decode())
        return self.said

    async def hears(self, text: str, *, after: int = 0) -> int:
        """Wait for a datagram that begins so; gives how many there were up to it."""

        async def look() -> int | None:
            found = [at for at, one in enumerate(self.heard()) if at >= after and one.startswith(text)]
            return found[0] + 1 if found else None

        return await running.until(look, f"{text} said", within=40)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.setblocking(False)
        yield Manager(address, listening)


@dataclass
class Receiver:
    """Keeps the JSON that is posted to it, by path."""

    url: str = ""
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.posted.append((request.path, await request.json()))
        return web.json_response({}, status=201)

    def statuses(self, sha: str) -> list[str]:
        """The states of a commit, in the order they were set."""
        return [body["state"] for path, body in self.posted if path.endswith(f"/statuses/{sha}")]

    def notices(self) -> list[tuple[str, str]]:
        return [(body["type"], body["data"]["name"]) for path, body in self.posted if path == "/notices"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def started(manager: Manager, folder: Folder, *, env: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    with log.open("a") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controller", "run", str(folder.state), "--port", "0"),
            env={**env, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=file,
        )


async def test_killed_and_started_again_it_repeats_nothing(
    folder: Folder, server: lifecycle.Running, manager: Manager, tmp_path: Path
) -> None:
    """READY, a heartbeat, RELOADING and READY at SIGHUP, STOPPING at SIGTERM; after kill -9 the next one finds all
    done."""
    env, log = running.environ(server), tmp_path / "run.log"
    process = await started(manager, folder, env=env, log=log)
    try:
        await manager.hears("READY=1")
        await manager.hears("WATCHDOG=1")
        await manager.hears("STATUS=files:")

        async def settled() -> bool:
            return any("condition: Ready" in line and '"InferenceApp"' in line for line in log.read_text().splitlines())

        await running.until(settled, "the app is Ready", within=40)
        process.kill()
        await process.wait()

        journal, before = azure.Journal(server.state), len(manager.heard())
        process = await started(manager, folder, env=env, log=log)
        ready = await manager.hears("READY=1", after=before)
        asked = await manager.hears("STATUS=", after=ready)
        process.send_signal(signal.SIGHUP)
        reloading = await manager.hears("RELOADING=1\nMONOTONIC_USEC=", after=asked)
        await manager.hears("READY=1", after=reloading)
        process.terminate()
        await manager.hears("STOPPING=1")
        assert await asyncio.wait_for(process.wait(), 20) == 0
        written = [one for one in journal.read() if one["method"] in ("PUT", "PATCH", "DELETE")]
        assert written == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_who_wants_to_know_is_told(server: lifecycle.Running, receiver: Receiver, tmp_path: Path) -> None:
    """A commit is pending until its release answers, then a success; one that doesn't load is a failure, and the
    notice says why. Nothing is told twice."""
    upstream = servers.Upstream(tmp_path / "repositories" / "acme" / "state.git")
    Folder(upstream.tree)
    good = upstream.commit({}, "first")
    certificate, trusted = servers.make_certificate(tmp_path / "certificate"), tmp_path / "trusted.pem"
    trusted.write_text(server.ca.read_text() + certificate.ca.read_text())
    env = running.environ(server) | {
        "SSL_CERT_FILE": str(trusted),
        "ACAOPS_CACHE": str(tmp_path / "cache"),
        "ACAOPS_NOTIFY_URL": f"{receiver.url}/notices",
        "ACAOPS_NOTIFY_SECRET": "a secret",
        "ACAOPS_GITHUB_TOKEN": "a token",
        "ACAOPS_GITHUB_API": receiver.url,
    }
    with servers.https_server(tmp_path / "repositories", certificate=certificate) as there:
        flags = ("--repo", f"{there.url}/acme/state.git", "--path", "state", "--fetch-interval", "1s")
        async with running.daemon(*flags, env=env, log=tmp_path / "run.log") as daemon:

            async def told(sha: str, states: list[str]) -> bool:
                return receiver.statuses(sha) == states

            await running.until(partial(told, good, ["pending", "success"]), "a success", within=40)
            bad = upstream.commit({"state/app.yaml": "{"}, "Broken")
            await running.until(partial(told, bad, ["failure"]), "a failure", within=40)
            mended = upstream.revert()
            await running.until(partial(told, mended, ["pending", "success"]), "a success again", within=40)
            await daemon.stop()
        logged = (tmp_path / "run.log").read_text()
    descriptions = [body["description"] for path_, body in receiver.posted if path_.endswith(bad)]
    assert "state/app.yaml:2:1:" in descriptions[0]
    assert receiver.statuses(good) == ["pending", "success"]
    assert [one for one in receiver.notices() if one[0].startswith("source")] == [
        ("source.stalled", "default"),
        ("source.ready", "default"),
    ]
    assert "a token" not in logged
    assert receiver.url not in logged
