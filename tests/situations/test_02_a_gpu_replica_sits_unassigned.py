"""There is no second GPU for a new revision: it waits, for 25 minutes or for good. That says nothing of the release, so
it isn't rejected however long it takes, and the old revision serves on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.local_azure.scenario import Rule
from tests.reconcile.stack import APP, Stack, app, environment
from tests.situations.aged import aged, minutes, serving

WAIT = 25
NEW: dict[str, Any] = {"env": [{"name": "MODE", "value": "new"}], "rollout": {"deadline": "5m"}}


@pytest.fixture
async def waiting(built_once: Path, tmp_path: Path) -> AsyncIterator[tuple[Stack, str | None]]:
    """A new release that waits for the one GPU that the old one has; and the old one's name."""
    async with aged(built_once, tmp_path) as one:
        old = await serving(one)
        one.local.server.scenario.play(Rule("capacity", profile="GPU", replicas=1))
        one.write(environment(), app(**NEW))
        await one.one_pass(APP)
        await one.one_pass(APP)
        yield one, old


async def test_then_it_starts(waiting: tuple[Stack, str | None]) -> None:
    """All the while status says what it waits for; then it is Ready, with not a write more."""
    one, old = waiting
    await minutes(one, 2)
    written = one.writes()
    told = await minutes(one, WAIT - 2)
    assert set(told) == {("Reconciling", "NoCapacity")}
    assert await serving(one) == old
    one.local.server.scenario.play(Rule("capacity", profile="GPU", replicas=2))
    await minutes(one, 2, until=lambda: one.told()[0] == "Ready")
    assert one.told()[0] == "Ready"
    assert await serving(one) == one.status().release != old
    assert one.writes() == written


async def test_or_never_does(waiting: tuple[Stack, str | None]) -> None:
    """Long past the deadline nothing is gone back from, and the status has the platform's own words."""
    one, old = waiting
    await minutes(one, 2)
    written = one.writes()
    await minutes(one, WAIT)
    assert one.told()[:2] == ("Reconciling", "NoCapacity")
    assert "insufficient nvidia.com/gpu" in one.message()
    assert await serving(one) == old
    assert one.writes() == written
