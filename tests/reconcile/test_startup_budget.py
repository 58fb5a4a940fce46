"""The startup probe that the controller asks for, as Azure plays it: a container isn't restarted within its budget."""

from __future__ import annotations

import asyncio

import pytest

from controller.plan import probes as planned
from infra.local_azure import clock, replicas
from infra.local_azure.apps import template
from infra.local_azure.runtime import probes, watches
from tests.unit.plan import wanted


class Loading:
    """A container that listens after `seconds`, in a time that only passes by sleeping."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0
        self.told = ("", 0.0)
        self.judged = asyncio.Event()

    async def ask(self, asked: replicas.Probe, timeout_s: float) -> probes.Result:
        return probes.Result(self.now >= self.seconds, "connection refused", True)

    async def sleep(self, seconds: float) -> None:
        if self.judged.is_set():
            await asyncio.Event().wait()
        self.now += seconds
        await asyncio.sleep(0)

    def started(self) -> None:
        self._judged("started")

    def ready(self, ready: bool, why: str) -> None:
        """Not this test's business."""

    def unhealthy(self, why: str) -> None:
        self._judged("restarted")

    def _judged(self, word: str) -> None:
        self.told = (word, self.now)
        self.judged.set()


async def played(budget: str, *, loads: float) -> tuple[str, float]:
    """What becomes of it, and when."""
    container, app = Loading(loads), wanted.app(startupBudget=budget)
    given = [template._probe({key: one for key, one in probe.items() if one}) for probe in planned.wanted(app)]
    watch = watches.Watch(given, time=clock.ScaledClock(1), ask=container.ask, told=container, sleep=container.sleep)
    async with asyncio.timeout(10):
        task = asyncio.create_task(watch.run())
        await container.judged.wait()
    task.cancel()
    await asyncio.wait((task,))
    return container.told


@pytest.mark.parametrize(
    ("budget", "seconds", "period"),
    [("2m", 120, 1), ("20m", 1200, 5), ("40m", 2400, 10), ("6h", 21_600, 91)],
)
async def test_a_model_may_load_as_long_as_its_budget(budget: str, seconds: float, period: float) -> None:
    """It isn't restarted before, but soon after; and that it listens is seen within a period."""
    for loads in (seconds - 0.5, seconds / 2, 0.1):
        word, at = await played(budget, loads=loads)
        assert word == "started"
        assert loads <= at <= loads + period
    word, at = await played(budget, loads=float("inf"))
    assert word == "restarted"
    assert seconds - 0.5 < at < seconds + period
