"""A newer state while an older one hangs: it doesn't wait for a deadline, but for Azure alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller import loop, settings
from controller.sources import origin
from infra.local_azure import clock, scenario
from tests.reconcile.stack import APP, Stack, app, environment, running

SCALE = 400.0
"""The quarter of an hour for which Azure holds on to a change takes two seconds."""


@pytest.fixture
async def hurried(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, time=clock.ScaledClock(SCALE)) as stack:
        stack.local.server.scenario.play(scenario.Rule("pull-fails", image="*:missing"))
        yield stack


async def free(stack: Stack) -> float:
    """When the app's operation had come to its end."""
    while True:
        live = await stack.live_app()
        if live["properties"]["provisioningState"] != "InProgress":
            return time.monotonic()


async def test_what_is_newer_is_written_as_soon_as_azure_takes_it(hurried: Stack) -> None:
    """Within a second, though nobody could know when that would be; until then it is told what is waited for."""
    one = loop.Loop(origin.Folder(hurried.folder), hurried.reconciler, settings.Backoff(first=0.02, most=0.05))
    try:
        await one.load()
        await hurried.until(lambda: loop.settled(hurried.reconciler.statuses.get(APP)) is True)
        hurried.write(environment(), app(image="docker.io/library/app:missing"))
        await one.load()
        await hurried.until(lambda: hurried.told()[:2] == ("Stalled", "ImagePullFailed"))
        hurried.write(environment(), app(env=[{"name": "MODE", "value": "mended"}]))
        await one.load()
        await hurried.until(lambda: "what is newer waits for its end" in hurried.message())
        since = await free(hurried)
        await hurried.until(lambda: "is being updated" in hurried.message())
        assert time.monotonic() - since < 1.0
        await hurried.until(lambda: loop.settled(hurried.reconciler.statuses.get(APP)) is True)
    finally:
        await one.close()
    assert (await hurried.env())["MODE"] == "mended"
