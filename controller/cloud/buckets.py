"""Token buckets as ARM's are: what is in one, how long until there is something again. Nothing here waits or sends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

SIZES = {"reads": (250, 25.0), "writes": (200, 10.0), "deletes": (200, 10.0)}
"""Tokens, and how many come back in a second, for each principal in a subscription (documented: ARM request limits)."""

MARGIN = 1.0
"""Seconds of refill that stay in ARM's bucket: a request that was sent later may arrive sooner."""

WINDOW = 300.0
"""Seconds in which a bucket of unknown size fills again (documented for the storage provider: 800 in five minutes;
assumed for the others)."""

SMALLEST = 100
"""No bucket of unknown size was seen to be smaller (recorded: 99 left after the first write of an environment)."""

_NEARLY = 1e-6


@dataclass(frozen=True)
class Draw:
    """One request's share of a bucket: `at` what time, how many tokens."""

    at: float
    amount: int


class Bucket:
    """`capacity` tokens, refilled by `rate` a second. ARM's own count can lower it and never raises it."""

    def __init__(self, capacity: float, rate: float, *, now: Callable[[], float]) -> None:
        self._capacity = capacity
        self._rate = rate
        self._now = now
        self._tokens = capacity
        self._at = now()
        self._unanswered = 0

    @property
    def sized(self) -> bool:
        """It is known how much goes in."""
        return math.isfinite(self._capacity)

    def wait(self, *, ahead: int = 0) -> float:
        """Seconds until there is a token for one who comes after `ahead` others; 0 when there is one."""
        missing = ahead + 1 - self._filled()
        closed = max(0.0, self._at - self._now())
        return closed if missing <= _NEARLY else closed + missing / self._rate

    def draw(self) -> Draw:
        """Take a token, there or not."""
        self._tokens = self._filled() - 1
        self._unanswered += 1
        return Draw(self._now(), 1)

    def seen(self) -> Draw:
        """A draw of nothing: it may turn out that the request is counted here."""
        return Draw(self._now(), 0)

    def ended(self, draw: Draw) -> None:
        """The request was answered, or won't be."""
        self._unanswered -= draw.amount

    def give_back(self, draw: Draw) -> None:
        """The request was never sent."""
        self.ended(draw)
        self._tokens = min(self._capacity, self._filled() + draw.amount)

    def told(self, left: int, draw: Draw) -> None:
        """ARM said that `left` were left once it had counted the request of `draw`. No more is there now, but for what
        came back since. Where that is clearly less than ours, others draw too, and what is under way isn't counted."""
        most = left + (self._now() - draw.at) * self._rate
        clearly = self._filled() > most + 1
        self._tokens = most - self._unanswered if clearly else min(self._tokens, most)

    def close(self, seconds: float) -> None:
        """Nothing is to be had for so long, then one."""
        self._tokens = min(self._filled(), 1.0)
        self._at = max(self._at, self._now() + seconds)

    def _filled(self) -> float:
        # It is filled up to a later moment while it is closed.
        passed = max(0.0, self._now() - self._at)
        self._tokens = min(self._capacity, self._tokens + passed * self._rate)
        self._at += passed
        return self._tokens


class Learned(Bucket):
    """A bucket whose size nobody has written down: without limit until ARM tells of it, then as large as the most that
    was ever left. Its refill is assumed, so ARM's count raises it as well."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        super().__init__(math.inf, 0.0, now=now)

    def told(self, left: int, draw: Draw) -> None:
        super().told(left, draw)
        self._tokens = max(self._tokens, left - self._unanswered)
        self._capacity = max(self._capacity if self.sized else SMALLEST, left + 1)
        self._rate = self._capacity / WINDOW

    def close(self, seconds: float) -> None:
        super().close(seconds)
        if not self.sized:
            self._tokens = math.inf


def of(name: str, *, now: Callable[[], float]) -> Bucket:
    """A full bucket: one of `SIZES`, less the margin, else one to be learned of."""
    if name in SIZES:
        capacity, rate = SIZES[name]
        return Bucket(capacity - MARGIN * rate, rate, now=now)
    return Learned(now=now)
