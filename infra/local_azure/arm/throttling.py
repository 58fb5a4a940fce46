"""ARM's token buckets: what a subscription may still ask for, told in headers, refused when used up.

Buckets fill in Azure's time, so a server at twenty times the speed allows twenty times the requests. At time
scale 0 nothing is limited. Buckets live in memory: a restarted server begins with full ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from infra.local_azure import clock, operations, wire

PREFIX = "x-ms-ratelimit-remaining-subscription-"
RESOURCE_REQUESTS = "resource-requests"
KINDS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}


@dataclass(frozen=True)
class Limit:
    """`capacity` requests at once, refilled by `rate` per second of Azure's time."""

    capacity: float
    rate: float


LIMITS = {
    # Documented: ARM's limits per service principal and subscription.
    "reads": Limit(250, 25),
    "writes": Limit(200, 10),
    "deletes": Limit(200, 10),
    # Recorded: 16499 and 11999 left after a call. The rates are documented: fifteen times the principal's.
    "global-reads": Limit(16500, 375),
    "global-writes": Limit(12000, 150),
    "global-deletes": Limit(12000, 150),
}
# Documented for storage accounts: 800 per five minutes; recorded: 799 left for apps and listKeys, 99 for
# environments. Five minutes is assumed for both.
RESOURCE_LIMIT = Limit(800, 800 / 300)
RESOURCE_LIMITS = {"microsoft.app/managedenvironments": Limit(100, 100 / 300)}


class _Bucket:
    def __init__(self, limit: Limit, now: datetime) -> None:
        self._limit = limit
        self._tokens = limit.capacity
        self._at = now

    def fill(self, now: datetime, second: float) -> float:
        """The tokens there are at `now`; `second` is how long Azure's second lasts."""
        passed = max(0.0, (now - self._at).total_seconds()) / second if second else math.inf
        self._tokens = min(self._limit.capacity, self._tokens + passed * self._limit.rate)
        self._at = now
        return self._tokens

    def take(self) -> int:
        self._tokens -= 1
        return int(self._tokens)

    def wait(self) -> float:
        """Azure's seconds until there is a token."""
        return max(0.0, (1 - self._tokens) / self._limit.rate)


class Throttle:
    """The buckets of every subscription, for the one principal there is."""

    def __init__(self, time: clock.Clock, tenant: str) -> None:
        self._time = time
        self._tenant = tenant
        self._buckets: dict[tuple[str, str, str], _Bucket] = {}

    def take(self, method: str, subscription: str, *, bucket: str | None, resource_type: str) -> dict[str, str]:
        """Count one request; returns the headers that tell what is left, raises the 429 when nothing is.

        A request of the `resource-requests` bucket shows only that header (recorded: containerapp-put-*,
        storageaccount-listkeys); its PUT or PATCH counts as a write as well.
        """
        kind = KINDS.get(method, "writes")
        counted = [kind, f"global-{kind}"]
        shown = counted
        if bucket == RESOURCE_REQUESTS:
            counted = [bucket, *counted] if method in ("PUT", "PATCH") else [bucket]
            shown = [bucket]
        now, second = self._time.now(), self._time.real(1.0)
        found = {name: self._bucket(subscription, name, resource_type) for name in counted}
        empty = [each for each in found.values() if each.fill(now, second) < 1]
        if empty:
            raise self._refused(max(each.wait() for each in empty))
        left = {name: each.take() for name, each in found.items()}
        return {PREFIX + name: str(left[name]) for name in shown}

    def _bucket(self, subscription: str, name: str, resource_type: str) -> _Bucket:
        own = resource_type.lower() if name == RESOURCE_REQUESTS else ""
        key = (subscription.lower(), name, own)
        if key not in self._buckets:
            limit = RESOURCE_LIMITS.get(own, RESOURCE_LIMIT) if own else LIMITS.get(name, RESOURCE_LIMIT)
            self._buckets[key] = _Bucket(limit, self._time.now())
        return self._buckets[key]

    def _refused(self, wait: float) -> wire.ArmError:
        """Recorded: arm-429-throttled. The recording's headers are scrubbed; Retry-After is documented."""
        seconds = max(1, math.ceil(wait))
        message = (
            f"Request is temporarily throttled because tenant {self._tenant} has issued too many requests. "
            f"Retry after {seconds} seconds."
        )
        return wire.ArmError(429, "429", message, headers=operations.retry_after(self._time, seconds))
