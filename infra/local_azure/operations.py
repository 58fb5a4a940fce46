"""Long-running operations: begun by a provider, due after a scaled time, kept on disk, pollable afterwards.

An operation is data; what happens when it falls due is a function its provider registered under the
operation's `family`, so that a restarted server finishes what a stopped one began. Finished operations stay
queryable (clients poll at least once more after the end) for a day.

One can be made to end badly: `Operations.outcome` is asked when it begins (see `faults`), and its family's `fail`
is called instead of `finish`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from infra.local_azure import clock, store, wire

log = logging.getLogger(__name__)

# Recorded: containerapp-delete-with-retry-after; the recordings of 2022-23 say 5.
RETRY_AFTER = 15.0
# A zero counts as absent for the SDK, which then waits its own 30 s.
LEAST_RETRY = 0.02
KEPT = timedelta(days=1)
KIND = "operations"
IN_PROGRESS = "InProgress"
# How an operation that isn't to succeed ends; see `faults.Rule`.
FAILED, CANCELED, STUCK = "failed", "canceled", "stuck"
# Announced in x-ms-async-operation-timeout and recorded: an app's operation stayed InProgress until then, and the app
# was Failed with "Operation expired". Assumed for everything else.
EXPIRES = 15 * 60.0
EXPIRED = "Operation expired"
# How often one that is held is looked at again.
HOLD = 5.0


@dataclass
class Operation:
    """`status` is InProgress, Succeeded, Failed or Canceled. `data` is the provider's, JSON only.

    `data["error"]`, where a provider sets it, is shown as `error` in the status document (documented: ARM's
    asynchronous operations; no recording has one). `outcome` is FAILED, CANCELED or STUCK for one that isn't to
    succeed.
    """

    id: str
    family: str
    verb: str
    subscription: str
    location: str
    resource_id: str
    started: datetime
    due: datetime
    status: str
    data: dict[str, Any]
    outcome: str = ""


def _nothing_follows(operation: Operation) -> None:
    """For a family whose failed operations leave no trace."""


@dataclass(frozen=True)
class Family:
    """How one provider's operations look on the wire.

    `status_path` and `result_path` are segments under `/subscriptions/S/providers/<namespace>/locations/<loc>/`,
    e.g. `containerappOperationStatuses`; None where the provider doesn't offer that form of polling. With an
    empty `namespace` they lie right under `/subscriptions/S/`.
    `finish` is called once when the operation falls due, on the event loop; it makes the side effects and
    sets `operation.status`. One that isn't over yet leaves InProgress, moves `due` and is called again then.
    `fail` is called instead of it for an operation that ended Failed or Canceled, which is its `status` by then.
    `result` builds the terminal answer of the result URL (200 + resource, 204, …).
    `status_query` and `result_query` are the URLs' queries; `{version}` is the caller's api-version.
    `document` builds the status document where it isn't the usual one.
    """

    name: str
    namespace: str
    status_path: str | None
    result_path: str | None
    finish: Callable[[Operation], None]
    result: Callable[[Operation], wire.Reply]
    fail: Callable[[Operation], None] = _nothing_follows
    status_query: str = "api-version={version}&azureAsyncOperation=true"
    result_query: str = "api-version={version}"
    document: Callable[[Operation, str], dict[str, Any]] | None = None


class Operations:
    """All operations of the server. `outcome` tells, of a request's method and path, how what it begins is to end;
    `hold`, of one that is due, that it isn't over yet: it stays InProgress until then, or until it expires."""

    def __init__(self, documents: store.Store, time: clock.Clock) -> None:
        self.outcome: Callable[[str, str], str] = lambda method, path: ""
        self.hold: Callable[[Operation], bool] = lambda operation: False
        self._documents = documents
        self._time = time
        self._families: dict[str, Family] = {}
        self._pending: dict[str, tuple[Operation, clock.Cancel]] = {}

    def register(self, family: Family) -> None:
        """Make `family` known. Call before `resume`."""
        self._families[family.name] = family

    def begin(
        self,
        family: str,
        call: wire.Call,
        *,
        location: str,
        resource_id: str,
        seconds: float,
        data: dict[str, Any],
        outcome: str = "",
    ) -> Operation:
        """Begin an operation that falls due `seconds` of Azure's time from now. At time scale 0 it falls due
        on the next turn of the event loop, never before the caller's answer is built."""
        now = self._time.now()
        outcome = outcome or self.outcome(call.method, call.path)
        seconds = EXPIRES if outcome == STUCK else seconds
        operation = Operation(
            id=str(uuid.uuid4()),
            family=family,
            verb=call.method,
            subscription=call.names["subscription"],
            location=location,
            resource_id=resource_id,
            started=now,
            due=now + timedelta(seconds=self._time.real(seconds)),
            status=IN_PROGRESS,
            data=data,
            outcome=outcome,
        )
        self._write(operation)
        self._schedule(operation, seconds)
        return operation

    def get(self, operation_id: str) -> Operation | None:
        """The operation, pending or finished, or None."""
        if operation_id in self._pending:
            return self._pending[operation_id][0]
        document = self._documents.get(_key(operation_id))
        return None if document is None else _read(document)

    def resume(self) -> None:
        """Schedule what a stopped server left InProgress; what is overdue finishes on the next turn."""
        for operation in [_read(document) for document in self._documents.list(KIND)]:
            if operation.status == IN_PROGRESS:
                self._schedule(operation, self._remaining(operation))
            elif operation.due + KEPT < self._time.now():
                self._documents.delete(_key(operation.id))

    def cancel(self, operation_id: str) -> None:
        """Take an operation back (a delete that pre-empts a create): status Canceled, `finish` not called."""
        pending = self._pending.pop(operation_id, None)
        if pending is not None:
            operation, call = pending
            call.cancel()
            operation.status = "Canceled"
            self._write(operation)

    def pending(self) -> list[Operation]:
        """The operations under way, oldest first."""
        return [operation for operation, _ in self._pending.values()]

    def expire(self) -> None:
        """End every stuck operation now. At time scale 0 nothing else does."""
        for operation, call in list(self._pending.values()):
            if operation.outcome == STUCK:
                call.cancel()
                self._finish(operation)

    def headers(self, operation: Operation, call: wire.Call, *, status: bool, result: bool) -> dict[str, str]:
        """Azure-AsyncOperation and/or Location as absolute URLs, and Retry-After."""
        family = self._families[operation.family]
        found = retry_after(self._time, RETRY_AFTER)
        version = call.api_version
        if status and family.status_path:
            path = _path(family, operation, family.status_path)
            found["Azure-AsyncOperation"] = f"{call.base}{path}?{family.status_query.format(version=version)}"
        if result and family.result_path:
            path = _path(family, operation, family.result_path)
            found["Location"] = f"{call.base}{path}?{family.result_query.format(version=version)}"
        return found

    def routes(self) -> list[wire.Route]:
        """The polling routes of every registered family."""
        found = []
        for family in self._families.values():
            if family.status_path:
                found.append(wire.Route("GET", _pattern(family, family.status_path), self._status))
            if family.result_path:
                found.append(wire.Route("GET", _pattern(family, family.result_path), self._result))
        return found

    def stop(self) -> None:
        """Take back every scheduled call; the operations stay InProgress on disk for the next start."""
        for _, call in self._pending.values():
            call.cancel()
        self._pending.clear()

    def _schedule(self, operation: Operation, seconds: float) -> None:
        endless = operation.outcome == STUCK and not self._time.real(1.0)
        call = _Never() if endless else self._time.later(seconds, lambda: self._finish(operation))
        self._pending[operation.id] = (operation, call)

    def _remaining(self, operation: Operation) -> float:
        """Azure's seconds until `operation` is due. The time scale may have changed since it began."""
        second = self._time.real(1.0)
        left = (operation.due - self._time.now()).total_seconds()
        return max(0.0, left / second) if second else 0.0

    def _finish(self, operation: Operation) -> None:
        self._pending.pop(operation.id, None)
        try:
            self._end(operation)
        except Exception:
            # An operation must end, or its client polls for ever.
            log.exception("operation failed: %s %s", operation.verb, operation.resource_id)
            operation.status = "Failed"
        self._write(operation)
        if operation.status == IN_PROGRESS:
            self._schedule(operation, self._remaining(operation))

    def _end(self, operation: Operation) -> None:
        family = self._families[operation.family]
        if not operation.outcome and self.hold(operation):
            self._put_off(operation)
            return
        if not operation.outcome:
            family.finish(operation)
            return
        operation.status = "Canceled" if operation.outcome == CANCELED else "Failed"
        family.fail(operation)

    def _put_off(self, operation: Operation) -> None:
        """Look again in a while; at its expiry it ends as a stuck one does."""
        now, expiry = self._time.now(), operation.started + timedelta(seconds=self._time.real(EXPIRES))
        if now >= expiry:
            operation.outcome = STUCK
            self._end(operation)
        else:
            operation.due = min(now + timedelta(seconds=self._time.real(HOLD)), expiry)

    def _write(self, operation: Operation) -> None:
        document = {
            **vars(operation),
            "started": operation.started.isoformat(),
            "due": operation.due.isoformat(),
        }
        self._documents.put(_key(operation.id), KIND, document)

    def _asked(self, call: wire.Call) -> Operation:
        """The operation a poll asks for; an unknown one is a 404 (assumed: no recording has one)."""
        operation = self.get(call.names["operation"].lower())
        if operation is None or operation.subscription.lower() != call.names["subscription"].lower():
            raise wire.ArmError(404, "NotFound", f"The operation '{call.names['operation']}' was not found.")
        return operation

    async def _status(self, call: wire.Call) -> wire.Reply:
        operation = self._asked(call)
        document = self._families[operation.family].document or status_document
        return wire.Reply(200, document(operation, call.path), self._poll_headers(operation))

    def _poll_headers(self, operation: Operation) -> dict[str, str]:
        """Recorded: a status poll carries no Retry-After, and the SDK waits 30 s then. With time sped up that
        would hide the speed, so a scaled clock does send one."""
        if operation.status != IN_PROGRESS or self._time.real(1.0) == 1.0:
            return {}
        return retry_after(self._time, RETRY_AFTER)

    async def _result(self, call: wire.Call) -> wire.Reply:
        operation = self._asked(call)
        if operation.status == IN_PROGRESS:
            return wire.Reply(202, None, self.headers(operation, call, status=False, result=True))
        return self._families[operation.family].result(operation)


class _Never:
    """A call that nothing makes."""

    def cancel(self) -> None:
        """There is nothing to take back."""


def retry_after(time: clock.Clock, seconds: float) -> dict[str, str]:
    """When to ask again, in headers: `Retry-After` in whole seconds, as recorded, where a second or more is
    left of Azure's `seconds`, and `retry-after-ms` where time is scaled (the SDKs and az honour both)."""
    real = time.real(seconds, least=LEAST_RETRY)
    found = {"Retry-After": str(round(real))} if real >= 1 else {}
    if time.real(1.0) != 1.0:
        found["retry-after-ms"] = str(round(real * 1000))
    return found


def stamp(moment: datetime) -> str:
    """`moment` as the service writes it: seven digits, no zone (recorded: containerapp-poll-inprogress)."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f0")


def status_document(operation: Operation, path: str) -> dict[str, Any]:
    """The status document (recorded: containerapp-poll-inprogress)."""
    document: dict[str, Any] = {
        "id": path,
        "name": operation.id,
        "status": operation.status,
        "startTime": stamp(operation.started),
    }
    if operation.status == "Failed" and "error" in operation.data:
        document["error"] = operation.data["error"]
    return document


def _key(operation_id: str) -> str:
    return f"/{KIND}/{operation_id}"


def _read(document: store.Document) -> Operation:
    times = {name: datetime.fromisoformat(document[name]) for name in ("started", "due")}
    return Operation(**{**document, **times})


def _pattern(family: Family, segment: str) -> str:
    if not family.namespace:
        return f"/subscriptions/{{subscription}}/{segment}/{{operation}}"
    return (
        f"/subscriptions/{{subscription}}/providers/{family.namespace}/locations/{{location}}/{segment}/{{operation}}"
    )


def _path(family: Family, operation: Operation, segment: str) -> str:
    return _pattern(family, segment).format(
        subscription=operation.subscription, location=operation.location, operation=operation.id
    )
