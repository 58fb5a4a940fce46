"""Passes in virtual time: each object is looked at when its last pass asked for it, and no second of it is waited."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from controller import settings, worker
from controller.cloud import azure, pacing, shared
from controller.status import store
from tests.reconcile.stack import Stack


@dataclass
class Timeline:
    """Drives a stack's controller. `now` moves with the passes, and with what their requests wait for their turn."""

    stack: Stack
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _failures: dict[store.Key, int] = field(default_factory=dict)
    _due: list[tuple[datetime, store.Key]] = field(default_factory=list)

    async def run(self, *, seconds: float) -> None:
        """Every look that falls due within so many seconds, in order."""
        until = self.now + timedelta(seconds=seconds)
        known = {key for _, key in self._due}
        for key in self.stack.source.keys:
            if key not in known:
                heapq.heappush(self._due, (self.now, key))
        while self._due[0][0] <= until:
            due, key = heapq.heappop(self._due)
            self.now = max(self.now, due)
            await self.stack.one_pass(key)
            heapq.heappush(self._due, (self.now + self._pause(key), key))
        self.now = max(self.now, until)

    def call(self, keys: Iterable[store.Key]) -> None:
        """Their turn has come: they are looked at now."""
        called = set(keys)
        if called:
            self._due = [(self.now if key in called else due, key) for due, key in self._due]
            heapq.heapify(self._due)

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _pause(self, key: store.Key) -> timedelta:
        requeue = self.stack.requeues[key]
        failures = self._failures.get(key, 0) + 1 if requeue.kind in ("backoff", "slow") else 0
        self._failures[key] = failures
        wait = worker.pause(requeue, failures, backoff=settings.Backoff(), chance=0.5)
        return timedelta(days=1) if wait is None else timedelta(seconds=wait)


@contextlib.asynccontextmanager
async def timeline(stack: Stack) -> AsyncIterator[Timeline]:
    """A controller that remembers nothing, in a time of its own."""
    one = Timeline(stack)
    clock = pacing.Clock(now=lambda: one.now.timestamp(), sleep=one.sleep)
    async with azure.Azure(stack.local.url, clock=clock) as cloud:
        reads = shared.Shared(cloud, clock=clock.now)
        stack.restart(reads, now=lambda: one.now)
        stack.reconciler.refresh, stack.reconciler.called = reads.refresh, one.call
        yield one
        await reads.close()
