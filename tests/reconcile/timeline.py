"""Passes in virtual time: each object is looked at when its last pass asked for it, and no second of it is waited."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest import mock

from controller import settings, worker
from controller.cloud import azure, pacing, shared
from controller.status import store
from tests.reconcile.stack import Stack

DAY = 86_400.0


@dataclass
class Timeline:
    """Drives a stack's controller, one pass at a time. `seconds` since the beginning move from look to look."""

    stack: Stack
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    _failures: dict[store.Key, int] = field(default_factory=dict)
    _due: list[tuple[float, store.Key]] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        return self.began + timedelta(seconds=self.seconds)

    async def run(self, *, seconds: float) -> None:
        """Every look that falls due within so many seconds, in order, at the state as it is now."""
        source, until = self.stack.source, self.seconds + seconds
        known = {key for _, key in self._due}
        for key in source.keys:
            if key not in known:
                heapq.heappush(self._due, (self.seconds, key))
        while self._due[0][0] <= until:
            due, key = heapq.heappop(self._due)
            self.seconds = max(self.seconds, due)
            self.stack.requeues[key] = await self.stack.reconciler.reconcile(source, key)
            heapq.heappush(self._due, (self.seconds + self._pause(key), key))
        self.seconds = max(self.seconds, until)

    def call(self, keys: Iterable[store.Key]) -> None:
        """Their turn has come: they are looked at now."""
        called = set(keys)
        if called:
            self._due = [(self.seconds if key in called else due, key) for due, key in self._due]
            heapq.heapify(self._due)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def _pause(self, key: store.Key) -> float:
        requeue = self.stack.requeues[key]
        failures = self._failures.get(key, 0) + 1 if requeue.kind in ("backoff", "slow") else 0
        self._failures[key] = failures
        wait = worker.pause(requeue, failures, backoff=settings.Backoff(), chance=0.5)
        return DAY if wait is None else wait


@contextlib.asynccontextmanager
async def timeline(stack: Stack) -> AsyncIterator[Timeline]:
    """A controller that remembers nothing, in a time of its own. A request that would wait for its turn is handed back
    at once: a pass that waited would hold up all others."""
    one = Timeline(stack)
    clock = pacing.Clock(now=lambda: one.seconds, sleep=one.sleep)
    with mock.patch.object(pacing, "LONGEST_WAIT", 0.0):
        async with azure.Azure(stack.local.url, clock=clock) as cloud:
            reads = shared.Shared(cloud, clock=clock.now)
            stack.restart(reads, now=lambda: one.now)
            stack.reconciler.refresh, stack.reconciler.called = reads.refresh, one.call
            yield one
            await reads.close()
