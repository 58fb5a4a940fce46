"""A built stack whose time moves by the test's hand, far enough for what takes long in Azure."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.local_azure import clock
from tests.reconcile.stack import APP, Stack, running

BEFORE = timedelta(minutes=14)
"""How far in the past its time begins: requests are signed by this machine's clock, and refused when that is a quarter
of an hour from the server's, either way. So there are 28 minutes."""


@contextlib.asynccontextmanager
async def aged(built_once: Path, root: Path) -> AsyncIterator[Stack]:
    """A copy of what `built_once` holds, Ready, by a controller that goes by the same time."""
    shutil.copytree(built_once, root, dirs_exist_ok=True)
    time = clock.ManualClock(datetime.now(UTC) - BEFORE)
    async with running(root, time=time) as one:
        one.restart(now=time.now)
        time.advance(20)
        await one.converge()
        yield one


async def minutes(one: Stack, most: int, *, until: Callable[[], bool] = lambda: False) -> list[tuple[str, str]]:
    """What the app's status told after each minute, as type and reason, until so many have gone by or `until` holds."""
    told = []
    for _ in range(most):
        one.local.time.advance(60)
        await one.one_pass(APP)
        told.append(one.told()[:2])
        if until():
            break
    return told


async def serving(one: Stack) -> str | None:
    """The release that answers at the app's address."""
    address = one.status().endpoint
    assert address is not None
    check = await one.cloud.check(f"{address}/readyz")
    return check.release


async def restarts(one: Stack) -> int:
    """How often the latest revision's containers were started anew."""
    latest = (await one.live_app())["properties"]["latestRevisionName"]
    replicas = (await one.arm("GET", f"{one.ids.app(APP[1])}/revisions/{latest}/replicas"))["value"]
    return sum(each["restartCount"] for replica in replicas for each in replica["properties"]["containers"])
