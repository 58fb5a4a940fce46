"""A model loads for 20 minutes: with a startupBudget that allows it, nothing starts it anew and nothing is rejected. A
budget that no probe of the service can wait for is refused at plan."""

from __future__ import annotations

import os
import re
from pathlib import Path

from infra.local_azure.scenario import Rule
from tests.e2e import running
from tests.reconcile.stack import Stack, app, environment
from tests.situations.aged import aged, minutes, restarts, serving

LOADS = 20 * 60
NEW = [{"name": "MODE", "value": "large"}]


async def loading(one: Stack, *, budget: str) -> None:
    """A release that is ready 20 minutes after its container's start."""
    one.local.server.scenario.play(Rule("slow-start", app="chat", seconds=LOADS))
    one.write(environment(), app(env=NEW, startupBudget=budget))
    await one.one_pass(("InferenceApp", "chat"))


async def test_it_is_left_to_load(built_once: Path, tmp_path: Path) -> None:
    """No restart and no further write, and the old revision serves until the new one is ready."""
    async with aged(built_once, tmp_path) as one:
        old = await serving(one)
        await loading(one, budget="25m")
        written = one.writes()
        for _ in range(19):
            await minutes(one, 1)
            assert one.told()[:2] == ("Reconciling", "RollingOut")
            assert await restarts(one) == 0
            assert await serving(one) == old
        await minutes(one, 5, until=lambda: one.told()[0] == "Ready")
        assert one.told()[0] == "Ready"
        assert await restarts(one) == 0
        assert one.writes() == written
        assert await serving(one) == one.status().release != old


async def test_what_the_budget_is_for(built_once: Path, tmp_path: Path) -> None:
    """With less, the service starts it anew before it gets there."""
    async with aged(built_once, tmp_path) as one:
        await loading(one, budget="5m")
        await minutes(one, 7)
        assert await restarts(one) == 1
        assert one.told()[0] == "Reconciling"


async def test_a_budget_over_the_cap(stack: Stack) -> None:
    """`acaops plan` names the place, the field and the most it may be; nothing is asked of Azure."""
    stack.write(environment(), app(startupBudget="17h"))
    status, _, error = await running.acaops("plan", str(stack.folder), env={**os.environ}, cwd=stack.root)
    assert status == 1
    assert re.search(r"state\.yaml:\d+:\d+: .*startupBudget.* 15h57m", error)
    assert not stack.local.requests
