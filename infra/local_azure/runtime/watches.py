"""Applies a container's probes to one run of its process, in Kubernetes' order.

The startup probe holds the other two back; readiness goes up and down; a failed startup or liveness probe
is told as unhealthy, and what to do about it is the container's business.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import probes

LEAST_PERIOD_S = 0.25
LEAST_TIMEOUT_S = 1.0
LEAST_STARTUP_S = 60.0
"""Starting takes its real time however fast Azure's goes: a startup probe gives up after its budget in scaled time or
this many real seconds, whichever is later, but never later than its budget in real time."""


class Told(Protocol):
    """Who hears of the verdicts."""

    def started(self) -> None:
        """The startup probe passed, or there is none."""

    def ready(self, ready: bool, why: str) -> None:
        """Readiness changed; `ready(True)` follows `started` at once where there is no readiness probe."""

    def unhealthy(self, why: str) -> None:
        """The container is to be restarted."""


class Watch:
    """`ask` makes one check, given its time limit in real seconds; `sleep` takes real seconds too."""

    def __init__(
        self,
        given: Sequence[replicas.Probe],
        *,
        time: clock.Clock,
        ask: Callable[[replicas.Probe, float], Awaitable[probes.Result]],
        told: Told,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._probes = {probe.kind: probe for probe in given}
        self._time = time
        self._ask = ask
        self._told = told
        self._sleep = sleep

    async def run(self) -> None:
        """Probes until cancelled, or until the container is unhealthy."""
        self._born = asyncio.get_running_loop().time()
        if probes.STARTUP in self._probes and not await self._startup():
            return
        self._told.started()
        if probes.READINESS not in self._probes:
            self._told.ready(True, "started")
        async with asyncio.TaskGroup() as tasks:
            if probes.READINESS in self._probes:
                tasks.create_task(self._each(probes.READINESS, self._readiness))
            if probes.LIVENESS in self._probes:
                tasks.create_task(self._each(probes.LIVENESS, self._liveness))

    async def _startup(self) -> bool:
        verdict = await self._each(probes.STARTUP, self._startup_verdict)
        return verdict is probes.Verdict.PASSED

    def _startup_verdict(self, verdict: probes.Verdict, why: str) -> bool:
        if verdict is probes.Verdict.FAILED:
            self._told.unhealthy(why)
        return True

    def _readiness(self, verdict: probes.Verdict, why: str) -> bool:
        self._told.ready(verdict is probes.Verdict.PASSED, why)
        return False

    def _liveness(self, verdict: probes.Verdict, why: str) -> bool:
        if verdict is probes.Verdict.FAILED:
            self._told.unhealthy(why)
        return verdict is probes.Verdict.FAILED

    def _patient(self, probe: replicas.Probe) -> replicas.Probe:
        """The startup probe with the failures it may have at this clock's pace."""
        period = self._time.real(probe.period, least=LEAST_PERIOD_S)
        budget = min(probe.period * probe.failure_threshold, LEAST_STARTUP_S)
        return replace(probe, failure_threshold=max(probe.failure_threshold, math.ceil(budget / period)))

    async def _each(self, kind: str, done: Callable[[probes.Verdict, str], bool]) -> probes.Verdict:
        """Check again and again; returns the verdict at which `done` says so. Delays run from the start."""
        probe = self._probes[kind]
        tally = probes.Tally(self._patient(probe) if kind == probes.STARTUP else probe)
        lived = asyncio.get_running_loop().time() - self._born
        await self._sleep(max(0.0, self._time.real(probe.initial_delay) - lived))
        while True:
            result = await self._ask(probe, self._time.real(probe.timeout, least=LEAST_TIMEOUT_S))
            verdict = tally.add(result.ok)
            if verdict is not None and done(verdict, f"{kind} probe {verdict.value}: {result.detail}"):
                return verdict
            await self._sleep(self._time.real(probe.period, least=LEAST_PERIOD_S))
