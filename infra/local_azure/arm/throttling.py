"""ARM's token buckets: what a subscription may still ask for, told in headers, refused when used up.

Buckets fill in Azure's time, so a server at twenty times the speed allows twenty times the requests. At time scale 0,
where provisioning takes no time, they fill in real time: requests cost as much as ever. Buckets live in memory: a
restarted server begins with full ones.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from infra.local_azure import clock, operations, wire

PREFIX = "x-ms-ratelimit-remaining-subscription-"
RESOURCE_REQUESTS = "resource-requests"
KINDS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
BY_PRINCIPAL = ("reads", "writes", "deletes")


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
# environments. Five minutes is assumed for both; `rate` of Throttle says otherwise.
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


class Refused(wire.ArmError):
    """The 429. `bucket` is the one that takes longest to fill, `principal` the client id of who asked.

    Recorded: arm-429-throttled. The recording's headers are scrubbed; Retry-After is documented.
    """

    def __init__(self, tenant: str, *, bucket: str, principal: str, seconds: int, headers: dict[str, str]) -> None:
        message = (
            f"Request is temporarily throttled because tenant {tenant} has issued too many requests. "
            f"Retry after {seconds} seconds."
        )
        super().__init__(429, "429", message, headers=headers)
        self.bucket = bucket
        self.principal = principal


class Throttle:
    """The buckets of every subscription and of every principal in it; `global-` and resource ones are for all.

    `rate` refills the buckets of resource requests instead of what is assumed of them, per second of Azure's time.
    With `enforced` False they never run out. `refused` counts the refusals by bucket.
    """

    def __init__(self, time: clock.Clock, tenant: str, *, enforced: bool = True, rate: float | None = None) -> None:
        self.refused: Counter[str] = Counter()
        self._time = time
        self._tenant = tenant
        self._enforced = enforced
        self._rate = rate
        self._buckets: dict[tuple[str, str, str], _Bucket] = {}

    def take(
        self, method: str, subscription: str, *, principal: str, bucket: str | None, resource_type: str
    ) -> dict[str, str]:
        """Count one request; returns the headers that tell what is left, raises Refused when nothing is.

        A request of the `resource-requests` bucket shows only that header (recorded: containerapp-put-*,
        storageaccount-listkeys); its PUT or PATCH counts as a write as well.
        """
        kind = KINDS.get(method, "writes")
        counted = [kind, f"global-{kind}"]
        shown = counted
        if bucket == RESOURCE_REQUESTS:
            counted = [bucket, *counted] if method in ("PUT", "PATCH") else [bucket]
            shown = [bucket]
        found = {name: self._bucket(subscription, name, principal, resource_type) for name in counted}
        now, second = self._time.now(), self._second()
        empty = [name for name, each in found.items() if each.fill(now, second) < 1]
        if empty:
            raise self._refusal(max(empty, key=lambda name: found[name].wait()), found, principal)
        left = {name: each.take() for name, each in found.items()}
        return {PREFIX + name: str(left[name]) for name in shown}

    def _second(self) -> float:
        """How long a second lasts for the buckets; 0 fills them at once."""
        return (self._time.real(1.0) or 1.0) if self._enforced else 0.0

    def _bucket(self, subscription: str, name: str, principal: str, resource_type: str) -> _Bucket:
        """Documented: reads, writes and deletes are counted by principal, too."""
        own = resource_type.lower() if name == RESOURCE_REQUESTS else principal if name in BY_PRINCIPAL else ""
        key = (subscription.lower(), name, own)
        if key not in self._buckets:
            self._buckets[key] = _Bucket(self._limit(name, own), self._time.now())
        return self._buckets[key]

    def _limit(self, name: str, resource_type: str) -> Limit:
        if name != RESOURCE_REQUESTS:
            return LIMITS[name]
        limit = RESOURCE_LIMITS.get(resource_type, RESOURCE_LIMIT)
        return limit if self._rate is None else Limit(limit.capacity, self._rate)

    def _refusal(self, name: str, found: dict[str, _Bucket], principal: str) -> Refused:
        self.refused[name] += 1
        seconds = max(1, math.ceil(found[name].wait()))
        scaled = operations.retry_after(self._time, seconds)
        headers = scaled if self._time.real(1.0) else {"Retry-After": str(seconds)}
        return Refused(self._tenant, bucket=name, principal=principal, seconds=seconds, headers=headers)
