"""Two apps are written in one environment: the service takes one at a time ("operation in progress"), and once answers
with that conflict a write which it carried out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.local_azure import clock
from infra.local_azure.faults import Rule
from tests.reconcile.stack import APP, Stack, app, environment, running

SECOND = ("InferenceApp", "second")
SMALL = {"cpu": 4, "memory": "8Gi"}
STATUS_CONFLICT = 409


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Stack]:
    """An environment without apps, in an Azure whose operations end by the test's hand."""
    time = clock.ManualClock(datetime.now(UTC))
    async with running(tmp_path, time=time) as one:
        one.write(environment())
        for _ in range(10):
            await one.one_round()
            time.advance(60)
        await one.converge()
        yield one


def creations(stack: Stack) -> list[str]:
    return [path.rpartition("/")[2] for method, path in stack.writes() if method == "PUT" and "containerApps" in path]


async def test_the_second_waits_for_its_turn(slow: Stack) -> None:
    """It isn't even asked about while the first is being made, says whom it waits for, and is called when it may go."""
    slow.write(environment(), app(resources=SMALL), app("second", resources=SMALL))
    called: list[tuple[str, str]] = []
    slow.reconciler.called = called.extend
    for _ in range(2):
        await slow.one_pass(APP)
        await slow.one_pass(SECOND)
    assert creations(slow) == ["chat"]
    assert slow.told(SECOND)[:2] == ("Reconciling", "OperationInProgress")
    assert "waits for its turn in environment env-one: InferenceApp/chat is being written" in slow.message(SECOND)
    slow.local.time.advance(60)
    await slow.one_pass(APP)
    assert called == [SECOND]
    await slow.one_pass(SECOND)
    slow.local.time.advance(60)
    await slow.converge()
    assert creations(slow) == ["chat", "second"]
    assert STATUS_CONFLICT not in {each.status for each in slow.local.requests}


async def test_a_conflict_after_a_write_that_succeeded(stack: Stack, faults: list[Rule]) -> None:
    """It is waited for like any conflict, and then seen: nothing is made twice, no revision is one too many."""
    conflict = {"status": STATUS_CONFLICT, "code": "ContainerAppOperationInProgress", "message": "in progress"}
    faults.append(Rule("/containerapps/chat$", "PUT", does="answer-after", times=1, **conflict))  # type: ignore[arg-type]
    stack.write(environment(), app(resources=SMALL), app("second", resources=SMALL))
    await stack.converge()
    assert faults[0].times == 0
    assert creations(stack) == ["chat", "second"]
    assert [len(await stack.revisions(name)) for name in ("chat", "second")] == [1, 1]
