"""The lease operation as requests ask for it, for shares and files alike: headers in, status and headers out."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from aiohttp import web

from infra.local_azure.files import calls, errors, leases


@dataclass(frozen=True)
class Outcome:
    """The lease that is there afterwards, and the answer."""

    lease: leases.Lease | None
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, more: Mapping[str, str]) -> Outcome:
        return replace(self, headers={**more, **self.headers})

    def response(self) -> web.Response:
        return web.Response(status=self.status, headers=dict(self.headers))


Action = Callable[[leases.Lease | None], Outcome]


def action(call: calls.Call, *, fixed_duration: int | None) -> Action:
    """What the request wants done with a lease; `fixed_duration` is the only one that a file's lease may have."""
    word = call.required("x-ms-lease-action").lower()
    actions = {"acquire": _acquire(call, fixed_duration), "change": _change(call), "break": _break(call)}
    actions |= {"release": _release(call)} | ({} if fixed_duration else {"renew": _renew(call)})
    if word not in actions:
        raise errors.header("x-ms-lease-action", word)
    return actions[word]


def shown(lease: leases.Lease | None, now: int) -> dict[str, str]:
    """x-ms-lease-state, -status and, while leased, -duration (recorded: files-head-file)."""
    state = leases.state(lease, now)
    headers = {
        "x-ms-lease-state": state,
        "x-ms-lease-status": "locked" if leases.is_locked(lease, now) else "unlocked",
    }
    if lease is not None and state == "leased":
        headers["x-ms-lease-duration"] = "infinite" if lease.seconds == leases.INFINITE else "fixed"
    return headers


def _acquire(call: calls.Call, fixed_duration: int | None) -> Action:
    def act(lease: leases.Lease | None) -> Outcome:
        seconds = call.number("x-ms-lease-duration")
        seconds = leases.INFINITE if seconds is None else seconds
        if fixed_duration is not None and seconds != fixed_duration:
            raise errors.header("x-ms-lease-duration", str(seconds))
        return _held(leases.acquire(lease, call.now, proposed=_proposed(call), seconds=seconds), 201)

    return act


def _renew(call: calls.Call) -> Action:
    return lambda lease: _held(leases.renew(lease, call.now, given=_given(call)), 200)


def _change(call: calls.Call) -> Action:
    def act(lease: leases.Lease | None) -> Outcome:
        proposed = _proposed(call)
        if proposed is None:
            raise errors.header("x-ms-proposed-lease-id", None)
        return _held(leases.change(lease, call.now, given=_given(call), proposed=proposed), 200)

    return act


def _release(call: calls.Call) -> Action:
    def act(lease: leases.Lease | None) -> Outcome:
        leases.release(lease, given=_given(call))
        return Outcome(None, 200)

    return act


def _break(call: calls.Call) -> Action:
    def act(lease: leases.Lease | None) -> Outcome:
        broken, left = leases.break_(lease, call.now, period=call.number("x-ms-lease-break-period"))
        return Outcome(broken, 202, {"x-ms-lease-time": str(left)})

    return act


def _held(lease: leases.Lease, status: int) -> Outcome:
    return Outcome(lease, status, {"x-ms-lease-id": lease.id})


def _proposed(call: calls.Call) -> str | None:
    text = call.header("x-ms-proposed-lease-id")
    try:
        return None if text is None else str(uuid.UUID(text))
    except ValueError:
        raise errors.header("x-ms-proposed-lease-id", text) from None


def _given(call: calls.Call) -> str:
    return call.required("x-ms-lease-id").lower()
