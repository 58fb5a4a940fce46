"""Two `acaops run` on one desired state: one leads, the other takes over when it is killed, or stopped for too long."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp

from controller.cloud import azure as adapter
from controller.model import kinds
from infra.local_azure import lifecycle
from tests.e2e import azure, running
from tests.e2e.folder import SUBSCRIPTION, Folder

TAKEOVER = 30.0


async def lease_share(server: lifecycle.Running) -> str:
    """A share of its own for the lease; gives its address."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-lease"
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/leaseaccount"
    with mock.patch.dict(os.environ, lifecycle.environment(server)):
        async with adapter.Azure(server.url) as cloud:
            await cloud.create(kinds.Kind.GROUP, group, {"location": "westus3"})
            body = {"location": "westus3", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
            await cloud.create(kinds.Kind.ACCOUNT, account, body)

            async def made() -> bool:
                found = await cloud.read(kinds.Kind.ACCOUNT, account)
                return found is not None and found.properties["provisioningState"] == "Succeeded"

            await running.until(made, "the account")
            await cloud.create(kinds.Kind.SHARE, f"{account}/fileServices/default/shares/lease", {"properties": {}})
    return f"{server.url}/leaseaccount/lease"


async def state(daemon: running.Daemon, wanted: str) -> dict[str, Any] | None:
    """Who leads, as the daemon tells it, once it is in the state `wanted`."""
    leader: dict[str, Any] = (await daemon.status())["leader"]
    return leader if leader["state"] == wanted else None


async def is_ready(daemon: running.Daemon) -> bool:
    async with running.session() as http, http.get(f"{daemon.url}/readyz") as answer:
        status: int = answer.status
        return status == 200


async def took_over(daemon: running.Daemon, since: float) -> float:
    """The seconds until it led."""
    await running.until(partial(state, daemon, "leading"), f"it leads; {daemon.tail()}", within=TAKEOVER)
    return time.monotonic() - since


def writes(journal: azure.Journal) -> list[str]:
    """What was asked to change something, but for the lease."""
    asked = [one for one in journal.read() if one["method"] in ("PUT", "PATCH", "DELETE")]
    return [f"{one['method']} {one['path']}" for one in asked if not one["path"].startswith("/leaseaccount/")]


async def test_stopped_then_killed(folder: Folder, server: lifecycle.Running, tmp_path: Path) -> None:
    """The leader is stopped in the middle of a change: the other takes over and goes on, and the first writes nothing
    more when it wakes. The second is killed: the first leads again, and converges what changed meanwhile."""
    env = running.environ(server) | {"ACAOPS_LEASE": await lease_share(server)}
    async with (
        running.daemon(folder.state, env=env, log=tmp_path / "one.log") as one,
        running.daemon(folder.state, env=env, log=tmp_path / "two.log") as two,
    ):

        async def elected() -> tuple[running.Daemon, running.Daemon] | None:
            for leader, other in ((one, two), (two, one)):
                if await state(leader, "leading") and await state(other, "standby") and await is_ready(other):
                    return leader, other
            return None

        first, second = await running.until(elected, "one leads, the other is ready")
        holder = (await first.status())["leader"]
        await first.ready(within=40)
        standby = await second.status()
        assert standby["leader"] == {**holder, "state": "standby"}
        assert {each["conditions"][0]["reason"] for each in standby["objects"]} == {"NotLeader"}

        journal = azure.Journal(server.state)
        folder.publish("two")

        async def writing() -> bool:
            return bool(writes(journal))

        await running.until(writing, "the change is being made", every=0.005)
        first.process.send_signal(signal.SIGSTOP)
        seconds = await took_over(second, time.monotonic())
        assert seconds < TAKEOVER
        changed = await second.ready()
        endpoint = changed["endpoint"]
        assert (await running.get(f"{endpoint}/v1/models"))["data"][0]["id"] == "two"
        folder.describe(max_replicas=2)
        final = await second.ready(release_other_than=changed["release"])

        quiet = azure.Journal(server.state)
        first.process.send_signal(signal.SIGCONT)
        await running.until(partial(state, first, "standby"), f"it stands by; {first.tail()}")

        async def looked() -> bool:
            """It asked for the lease a few times since."""
            return len([one for one in quiet.read() if one["path"].startswith("/leaseaccount/")]) >= 6

        await running.until(looked, "it asks who leads")
        assert writes(quiet) == []
        assert (await second.ready())["release"] == final["release"]

        await second.kill()
        killed = time.monotonic()
        folder.publish("three")
        seconds = await took_over(first, killed)
        assert seconds < TAKEOVER
        await first.ready(release_other_than=final["release"])
        assert (await running.get(f"{endpoint}/v1/models"))["data"][0]["id"] == "three"

        refused, _, error = await running.acaops("once", str(folder.state), env=env, cwd=tmp_path)
        assert refused == 75
        assert (await first.status())["leader"]["holder"] in error
        status, _ = await first.stop()
        assert status == 0
        done, _, error = await running.acaops("once", str(folder.state), env=env, cwd=tmp_path)
        assert done == 0, error


async def test_without_a_lease_it_is_single(folder: Folder, server: lifecycle.Running, tmp_path: Path) -> None:
    """Nobody is elected."""
    async with running.daemon(folder.state, env=running.environ(server), log=tmp_path / "run.log") as daemon:
        assert (await daemon.status())["leader"] == {"state": "single", "holder": None, "since": None}
        async with aiohttp.ClientSession() as http, http.post(f"{daemon.url}/reconcile/InferenceApp/chat") as answer:
            assert answer.status == 403
