"""How many replicas a revision has: by its requests, down to none after a while without any, and back on the next one.

It counts requests and decides; it knows no replica and starts none. Whoever runs revisions does, told by `scaled`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from types import TracebackType

from infra.local_azure import clock, replicas

# Documented: learn.microsoft.com/azure/container-apps/scale-app. HTTP rules are looked at every 15 s; fewer replicas
# are wanted once 300 s have agreed on it; more come in steps of 1, 4, 8, 16 and so on. In Azure's seconds.
WINDOW = 15.0
SETTLED = 300.0
FIRST_STEP = 4

_UNCOUNTED: AbstractContextManager[object] = nullcontext()


class Scaling:
    """`replicas.Scaler`, and the count of requests for the ingress.

    With a time scale of 0 no revision is scaled, as no period would have an end there.
    """

    def __init__(self, time: clock.Clock) -> None:
        self.scaled: Callable[[str, int], None] = lambda key, count: None
        self._time = time
        self._loads: dict[str, _Load] = {}

    def watch(self, key: str, scale: replicas.Scale) -> None:
        """A revision whose count can't change isn't counted; nor is one that a rule of another kind decides."""
        self.forget(key)
        fixed = scale.most == scale.least or scale.concurrent is None
        if not fixed and self._time.real(1.0):
            self._loads[key] = _Load(key, scale, self._time, self._tell)

    def forget(self, key: str) -> None:
        """Whoever waits for a replica of it looks again."""
        if key in self._loads:
            self._loads.pop(key).close()

    def noted(self, key: str, *, ready: bool) -> None:
        if ready and key in self._loads:
            self._loads[key].woke()

    def request(self, key: str) -> AbstractContextManager[object]:
        """Counts a request to `key` while it lasts."""
        return self._loads.get(key, _UNCOUNTED)

    async def awake(self, key: str, *, limit_s: float) -> bool:
        """Wait for a replica of `key` if it has none by its scale, starting one; whether it waited.

        Raises TimeoutError after `limit_s` real seconds.
        """
        waking = self._loads[key].wake() if key in self._loads else None
        if waking is None:
            return False
        async with asyncio.timeout(limit_s):
            await waking.wait()
        return True

    def close(self) -> None:
        for key in list(self._loads):
            self.forget(key)

    def _tell(self, key: str, count: int) -> None:
        self.scaled(key, count)


class _Load:
    """One revision's requests and the count they ask for. As a context it counts one request."""

    def __init__(self, key: str, scale: replicas.Scale, time: clock.Clock, scaled: Callable[[str, int], None]) -> None:
        self._key = key
        self._scale = scale
        self._time = time
        self._scaled = scaled
        self._count = max(1, scale.least)
        self._open = 0
        self._begun = 0
        self._last = time.now()
        self._asked: deque[tuple[datetime, int]] = deque()
        self._timer: clock.Cancel | None = None
        self._waking: asyncio.Event | None = None
        self._look_later()

    def __enter__(self) -> None:
        self._open += 1
        self._begun += 1
        self._look_later()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open -= 1
        self._last = self._time.now()

    def wake(self) -> asyncio.Event | None:
        """What is set once a replica is ready; None when one may be ready already."""
        if self._waking is not None and self._count == 0:
            self._become(1)
            self._look_later()
        return self._waking

    def woke(self) -> None:
        if self._waking is not None and self._count > 0:
            self._waking.set()
            self._waking = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._waking is not None:
            self._waking.set()

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = self._time.later(WINDOW, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._time.now()
        self._asked.append((now, math.ceil(self._load() / (self._scale.concurrent or 1))))
        while now - self._asked[0][0] >= self._span(SETTLED):
            self._asked.popleft()
        self._begun = 0
        self._become(self._wanted(now))
        if self._open or self._count > self._scale.least:
            self._look_later()

    def _load(self) -> float:
        """Documented: the requests of the past 15 s, divided by 15. That those under way count in full is assumed:
        else answers of minutes would ask for nothing. Real seconds, as the app's own work takes real time."""
        return max(self._open, self._begun / self._time.real(WINDOW))

    def _wanted(self, now: datetime) -> int:
        """The documented behaviour; the cool-down ends with no replica, SETTLED with the least or one."""
        idle = not self._open and now - self._last >= self._span(self._scale.cooldown)
        if self._scale.least == 0 and (idle or self._count == 0):
            return 0
        asked = max(count for _, count in self._asked)
        most = min(self._scale.most, max(FIRST_STEP, 2 * self._count))
        return min(max(asked, self._scale.least, 1), most)

    def _become(self, count: int) -> None:
        if count == self._count:
            return
        self._count = count
        if count == 0:
            self._waking = self._waking or asyncio.Event()
            self._asked.clear()
        self._scaled(self._key, count)

    def _span(self, seconds: float) -> timedelta:
        return timedelta(seconds=self._time.real(seconds))
