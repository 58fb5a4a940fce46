"""Long-running operations: due in Azure's time, pollable to the end and after, finished over a restart."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local_azure import clock, operations, store, wire

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CALL = wire.Call(
    method="PUT",
    path="/x",
    names={"subscription": "s"},
    query={"api-version": "2025-01-01"},
    headers={},
    body=None,
    base="https://127.0.0.1:1",
    user="u",
)


class Rig:
    """Operations of one family on a store; `finished` has the ids that fell due."""

    def __init__(self, path: Path, time: Any) -> None:
        self.time = time
        self.finished: list[str] = []
        self.documents = store.Store(path)
        self.ops = operations.Operations(self.documents, time)
        self.ops.register(
            operations.Family("f", "Microsoft.App", "statuses", "results", self.finish, lambda _: wire.Reply(204))
        )

    def finish(self, operation: operations.Operation) -> None:
        self.finished.append(operation.id)
        if operation.data.get("broken"):
            raise RuntimeError("broken")
        if operation.data.pop("again", False):
            operation.due = self.time.now() + (operation.due - operation.started)
            return
        operation.status = "Succeeded"

    def begin(self, seconds: float = 30, **data: Any) -> operations.Operation:
        return self.ops.begin("f", CALL, location="westus3", resource_id="/x", seconds=seconds, data=data)

    async def poll(self, operation: operations.Operation, kind: str) -> wire.Reply:
        headers = self.ops.headers(operation, CALL, status=True, result=True)
        path = headers[kind].removeprefix(CALL.base).partition("?")[0]
        for route in self.ops.routes():
            found = route.compile().fullmatch(path)
            if found:
                call = wire.Call(**{**vars(CALL), "method": "GET", "path": path, "names": found.groupdict()})
                return await route.handler(call)
        raise AssertionError(path)

    def kill(self) -> None:
        """End without any orderly step."""
        self.documents.close()


@pytest.fixture
def rig(tmp_path: Path):
    made = Rig(tmp_path / "store.db", clock.ManualClock(START))
    yield made
    made.documents.close()


def test_headers_are_as_recorded(rig) -> None:
    """Absolute URLs with one id, and 15 s to wait."""
    operation = rig.begin()
    base = "https://127.0.0.1:1/subscriptions/s/providers/Microsoft.App/locations/westus3"
    assert rig.ops.headers(operation, CALL, status=True, result=True) == {
        "Azure-AsyncOperation": f"{base}/statuses/{operation.id}?api-version=2025-01-01&azureAsyncOperation=true",
        "Location": f"{base}/results/{operation.id}?api-version=2025-01-01",
        "Retry-After": "15",
    }


async def test_an_operation_is_polled_to_its_end_and_after(rig) -> None:
    """The status document has exactly four members; the result answers 202 until the end."""
    operation = rig.begin(30)
    rig.time.advance(29)
    early = await rig.poll(operation, "Azure-AsyncOperation")
    pending = await rig.poll(operation, "Location")
    rig.time.advance(1)
    late = await rig.poll(operation, "Azure-AsyncOperation")
    assert (early.status, early.headers) == (200, {})
    assert {**early.body, "id": ""} == {
        "id": "",
        "name": operation.id,
        "status": "InProgress",
        "startTime": "2026-01-02T03:04:05.6789010",
    }
    assert (pending.status, pending.body, pending.headers["Retry-After"]) == (202, None, "15")
    assert late.body["status"] == "Succeeded"
    assert (await rig.poll(operation, "Location")).status == 204
    assert rig.finished == [operation.id]


def test_a_killed_server_s_operations_are_finished_by_the_next(tmp_path) -> None:
    """At the time they were due; what is overdue at once; what was finished not again."""
    first = Rig(tmp_path / "store.db", clock.ManualClock(START))
    done, overdue, later = first.begin(1), first.begin(20), first.begin(60)
    first.time.advance(5)
    first.kill()
    time = clock.ManualClock(START)
    time.advance(30)
    second = Rig(tmp_path / "store.db", time)
    second.ops.resume()
    time.advance(0)
    assert second.finished == [overdue.id]
    time.advance(30)
    assert second.finished == [overdue.id, later.id]
    assert second.ops.get(done.id).status == "Succeeded"
    second.kill()


def test_old_operations_are_forgotten_at_a_start(tmp_path) -> None:
    """A day after their end."""
    first = Rig(tmp_path / "store.db", clock.ManualClock(START))
    operation = first.begin(1)
    first.time.advance(2 * 86400)
    first.ops.resume()
    assert first.ops.get(operation.id) is None
    first.kill()


def test_a_cancelled_operation_never_finishes(rig) -> None:
    """Its status says so."""
    operation = rig.begin(10)
    rig.ops.cancel(operation.id)
    rig.time.advance(10)
    assert rig.finished == []
    assert rig.ops.get(operation.id).status == "Canceled"


def test_an_operation_whose_finish_breaks_has_failed(rig, caplog) -> None:
    """Its client must not poll for ever."""
    operation = rig.begin(1, broken=True)
    rig.time.advance(1)
    assert rig.ops.get(operation.id).status == "Failed"
    assert "broken" in caplog.text


def test_an_operation_may_take_longer(rig) -> None:
    """A finish that moves `due` and leaves InProgress is asked again then."""
    operation = rig.begin(10, again=True)
    rig.time.advance(10)
    assert rig.ops.get(operation.id).status == "InProgress"
    rig.time.advance(10)
    assert rig.ops.get(operation.id).status == "Succeeded"
    assert rig.finished == [operation.id] * 2


async def test_an_unknown_operation_is_a_404(rig) -> None:
    """One of another subscription too."""
    operation = rig.begin()
    rig.ops.cancel(operation.id)
    rig.documents.delete(f"/operations/{operation.id}")
    with pytest.raises(wire.ArmError) as refused:
        await rig.poll(operation, "Location")
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (1, {"Retry-After": "15"}),
        (3, {"Retry-After": "5", "retry-after-ms": "5000"}),
        (20, {"retry-after-ms": "750"}),
        (0, {"retry-after-ms": "20"}),
    ],
)
def test_a_faster_clock_is_told_in_milliseconds(scale, expected) -> None:
    """A fraction of a second doesn't fit Retry-After, and a zero counts as none."""
    assert operations.retry_after(clock.ScaledClock(scale), 15) == expected
