"""Leases on files and shares: what each action makes of the lease that is there. Pure; time is in ticks.

Documented: Lease File and Lease Share. A file's lease is always infinite; a share's is that or 15 to 60 s.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from infra.local_azure.files import errors, moments

INFINITE = -1


@dataclass(frozen=True)
class Lease:
    """`seconds` is the duration asked for, -1 for ever. `ends` is the tick it expires, or, when `broken`, the
    tick at which breaking is over; None for never."""

    id: str
    seconds: int
    ends: int | None
    broken: bool = False


def state(lease: Lease | None, now: int) -> str:
    """available, leased, expired, breaking or broken."""
    if lease is None:
        return "available"
    over = lease.ends is not None and lease.ends <= now
    if lease.broken:
        return "broken" if over else "breaking"
    return "expired" if over else "leased"


def is_locked(lease: Lease | None, now: int) -> bool:
    """Whether writes need the lease's id."""
    return state(lease, now) in ("leased", "breaking")


def acquire(lease: Lease | None, now: int, *, proposed: str | None, seconds: int) -> Lease:
    """A new lease, or the same one begun anew when its own id is proposed (recorded: 409 LeaseAlreadyPresent)."""
    if seconds != INFINITE and not 15 <= seconds <= 60:
        raise errors.header("x-ms-lease-duration", str(seconds))
    if lease is not None and is_locked(lease, now):
        if proposed is None or proposed != lease.id:
            raise errors.FilesError("LeaseAlreadyPresent")
        if lease.broken:
            raise errors.FilesError("LeaseIsBreakingAndCannotBeAcquired")
    return _begun(proposed or str(uuid.uuid4()), now, seconds)


def renew(lease: Lease | None, now: int, *, given: str) -> Lease:
    """The same lease from `now` on; also one that expired since."""
    held = _named(lease, given)
    if held.broken:
        raise errors.FilesError("LeaseIsBrokenAndCannotBeRenewed")
    return _begun(held.id, now, held.seconds)


def change(lease: Lease | None, now: int, *, given: str, proposed: str) -> Lease:
    """The same lease under the id `proposed`; `given` may be the old id or already the new one."""
    if lease is None or not is_locked(lease, now):
        raise errors.FilesError("LeaseNotPresentWithLeaseOperation")
    if lease.id not in (given, proposed):
        raise errors.FilesError("LeaseIdMismatchWithLeaseOperation")
    if lease.broken:
        raise errors.FilesError("LeaseIsBreakingAndCannotBeChanged")
    return replace(lease, id=proposed)


def release(lease: Lease | None, *, given: str) -> None:
    """Checks that `given` may release the lease; nothing is left of it then."""
    _named(lease, given)


def break_(lease: Lease | None, now: int, *, period: int | None) -> tuple[Lease, int]:
    """The lease on its way out, and the seconds until it is broken.

    Without `period` an infinite lease breaks at once, another one when it would have expired; with it,
    after that many seconds or what is left of the lease, whichever is less.
    """
    if lease is None:
        raise errors.FilesError("LeaseNotPresentWithLeaseOperation")
    if period is not None and not 0 <= period <= 60:
        raise errors.header("x-ms-lease-break-period", str(period))
    left = 0 if lease.ends is None else max(0, -(-(lease.ends - now) // moments.SECOND))
    if not is_locked(lease, now):
        left = 0
    elif period is not None and (lease.ends is None or period < left):
        left = period
    return replace(lease, ends=now + left * moments.SECOND, broken=True), left


def permit(lease: Lease | None, now: int, *, given: str | None, kind: str) -> None:
    """Raises unless a write or delete with the lease id `given` may go on; `kind` is File or Share.

    Recorded for files: 412 LeaseIdMissing, 412 LeaseIdMismatchWithFileOperation.
    """
    locked = is_locked(lease, now)
    if given is None:
        if locked:
            raise errors.FilesError(
                "LeaseIdMissing",
                f"There is currently a lease on the {kind.lower()} and no lease ID was specified in the request.",
            )
    elif lease is None or not locked:
        raise errors.FilesError(f"LeaseNotPresentWith{kind}Operation")
    elif lease.id != given:
        raise errors.FilesError(f"LeaseIdMismatchWith{kind}Operation")


def _begun(lease_id: str, now: int, seconds: int) -> Lease:
    return Lease(lease_id, seconds, None if seconds == INFINITE else now + seconds * moments.SECOND)


def _named(lease: Lease | None, given: str) -> Lease:
    if lease is None:
        raise errors.FilesError("LeaseNotPresentWithLeaseOperation")
    if lease.id != given:
        raise errors.FilesError("LeaseIdMismatchWithLeaseOperation")
    return lease
