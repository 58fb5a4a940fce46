"""Passes in virtual time: each object is looked at when its last pass asked for it, and no second of it is waited."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta

from controller import settings, worker
from controller.cloud import port
from controller.status import store
from tests.reconcile.stack import Stack


class Timeline:
    """Drives a stack's controller. `now` moves with the passes only."""

    def __init__(self, stack: Stack, cloud: port.Cloud | None = None) -> None:
        self.stack = stack
        self.now = datetime.now(UTC)
        stack.restart(cloud, now=lambda: self.now)
        self._failures: dict[store.Key, int] = {}
        self._due = [(self.now, key) for key in stack.source.keys]
        heapq.heapify(self._due)
        self.passes = 0

    async def run(self, *, seconds: float) -> None:
        """Every look that falls due within so many seconds, in order."""
        until = self.now + timedelta(seconds=seconds)
        while self._due and self._due[0][0] <= until:
            due, key = heapq.heappop(self._due)
            self.now = max(self.now, due)
            await self.stack.one_pass(key)
            self.passes += 1
            requeue = self.stack.requeues[key]
            failures = self._failures.get(key, 0) + 1 if requeue.kind in ("backoff", "slow") else 0
            self._failures[key] = failures
            wait = worker.pause(requeue, failures, backoff=settings.Backoff(), chance=0.5)
            if wait is not None:
                heapq.heappush(self._due, (self.now + timedelta(seconds=wait), key))
        self.now = until
