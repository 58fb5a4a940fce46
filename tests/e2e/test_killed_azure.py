"""A local Azure killed and started again on its state."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from infra.local_azure import lifecycle
from tests.e2e import running
from tests.e2e.folder import Folder


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "azure"
    yield folder
    lifecycle.down(folder)


async def test_everything_is_served_again(folder: Folder, state: Path, tmp_path: Path) -> None:
    """At the same address, by one process; the killed server's are gone. The controller says why until then."""
    folder.describe(interval="1s")
    server = lifecycle.up(state, port=0, time_scale=100)
    env = running.environ(server)
    async with running.daemon(folder.state, env=env, log=tmp_path / "run.log") as daemon:
        app = await daemon.ready()
        old = running.processes(f"={state}/runtime|")
        assert len(old) == 1

        os.kill(server.pid, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, server.pid, 0)

        async def unreachable() -> bool:
            objects = (await daemon.status())["objects"]
            return any(server.url.removeprefix("https://") in str(one["lastError"]) for one in objects)

        await running.until(partial(_gone, f"={state}/runtime|"), "the killed server's containers end")
        await running.until(unreachable, "the controller names the host that doesn't answer")

        again = lifecycle.up(state, port=0, time_scale=100)
        assert again.url == server.url

        async def served() -> bool:
            try:
                told = await running.get(f"{app['endpoint']}/readyz")
            except (AssertionError, aiohttp.ClientError):
                return False
            return bool(told["release"] == app["release"])

        await running.until(served, "the app is served again")
        await daemon.ready()
        new = running.processes(f"={state}/runtime|")
        assert len(new) == 1
        assert not new.keys() & old.keys()
        assert (await daemon.stop())[0] == 0
    assert lifecycle.down(state)
    await running.until(partial(_gone, str(state)), "nothing is left")


async def _gone(text: str) -> bool:
    return not running.processes(text)
