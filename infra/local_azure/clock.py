"""The local Azure's time: the wall clock for timestamps, and a scaled one for durations.

Every duration in this package is written in Azure's seconds. `Clock.later` divides it by the time
scale, so that a provisioning of 104 s takes 5.2 s at scale 20 and none at scale 0.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Cancel(Protocol):
    """A pending call that can be taken back."""

    def cancel(self) -> None:
        """Take the call back; no effect once it was made."""


class Clock(Protocol):
    """What the rest of the package knows of time."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC. Not scaled."""

    def real(self, seconds: float, *, least: float = 0.0) -> float:
        """Azure's `seconds` as seconds of the wall clock, at least `least`."""

    def later(self, seconds: float, call: Callable[[], None]) -> Cancel:
        """Make `call` once, `seconds` of Azure's time from now, on the event loop."""


class ScaledClock:
    """The clock of a running server. `scale` 0 means that provisioning takes no time at all."""

    def __init__(self, scale: float) -> None:
        if scale < 0:
            raise ValueError(f"time scale must be 0 or more, not {scale}")
        self.scale = scale

    def now(self) -> datetime:
        return datetime.now(UTC)

    def real(self, seconds: float, *, least: float = 0.0) -> float:
        return max(least, seconds / self.scale if self.scale else 0.0)

    def later(self, seconds: float, call: Callable[[], None]) -> Cancel:
        loop = asyncio.get_running_loop()
        if not self.scale:
            return loop.call_soon(call)
        return loop.call_later(self.real(seconds), call)


class ManualClock:
    """A clock that stands still until `advance` moves it; for tests of behaviour over time."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._order = itertools.count()
        self._pending: list[tuple[datetime, int, _Pending]] = []

    def now(self) -> datetime:
        return self._now

    def real(self, seconds: float, *, least: float = 0.0) -> float:
        return max(least, seconds)

    def later(self, seconds: float, call: Callable[[], None]) -> Cancel:
        pending = _Pending(call)
        heapq.heappush(self._pending, (self._now + timedelta(seconds=seconds), next(self._order), pending))
        return pending

    def advance(self, seconds: float) -> None:
        """Move time on, making every call that falls due on the way, in order."""
        until = self._now + timedelta(seconds=seconds)
        while self._pending and self._pending[0][0] <= until:
            self._now, _, pending = heapq.heappop(self._pending)
            pending.run()
        self._now = until


class _Pending:
    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self._call = None

    def run(self) -> None:
        if self._call is not None:
            self._call()
