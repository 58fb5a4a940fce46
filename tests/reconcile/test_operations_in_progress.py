"""Somebody else's operation is under way: waited for, never written into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.model import outcome
from controller.status import summarize
from infra.local_azure import clock, faults
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment, running

SCALED = {"minReplicas": 1, "maxReplicas": 3}


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Stack]:
    """A stack in an Azure whose time moves by the test's hand; converged."""
    time = clock.ManualClock(datetime.now(UTC))
    async with running(tmp_path, time=time) as one:
        # Not more at a time: signatures are dated by this machine's clock, and good for a quarter of an hour.
        for _ in range(10):
            await one.one_round()
            time.advance(60)
        await one.converge()
        yield one


async def test_the_steps_of_a_long_build_are_told_as_progress(tmp_path: Path) -> None:
    """While Azure is at work the object is Reconciling, never Stalled, and is looked at again soon."""
    time = clock.ManualClock(datetime.now(UTC))
    async with running(tmp_path, time=time) as one:
        for _ in range(2):
            await one.one_round()
        steps = {step.name: step.outcome for step in one.status(ENVIRONMENT).resources}
        assert isinstance(steps["storageAccount"], outcome.InProgress)
        assert one.told(ENVIRONMENT)[0] == "Reconciling"
        assert one.requeues[ENVIRONMENT].kind == "poll"
        written = one.writes()
        await one.one_round()
        assert written == one.writes()


async def test_an_app_being_updated_by_somebody_is_waited_for(slow: Stack) -> None:
    """Nothing is sent until the operation is over; then the change is."""
    await slow.arm("PATCH", slow.ids.app("chat"), {"properties": {"configuration": {"maxInactiveRevisions": 7}}})
    slow.write(environment(), app(scale=SCALED))
    written = slow.writes()
    await slow.one_pass(APP)
    assert (written, slow.told()[:2]) == (slow.writes(), ("Reconciling", "OperationInProgress"))
    assert slow.requeues[APP] == summarize.Requeue("poll", 0.5)
    slow.local.time.advance(60)
    await slow.one_pass(APP)
    slow.local.time.advance(60)
    await slow.converge()
    assert (await slow.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 3


async def test_a_409_is_waiting(built: Stack) -> None:
    """An operation that began between look and write: refused by Azure, tried again, no failure."""
    built.local.server.faults.rules.append(
        faults.Rule(r"containerapps/chat$", "PATCH", status=409, code="ContainerAppOperationInProgress", times=1)
    )
    built.write(environment(), app(scale=SCALED))
    await built.one_pass(APP)
    assert built.told()[:2] == ("Reconciling", "OperationInProgress")
    assert built.requeues[APP].kind == "backoff"
    await built.converge()
    assert (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 3


async def test_a_newer_state_does_not_wait_for_the_rollout(slow: Stack) -> None:
    """It is sent as soon as the app takes writes again, and the one in between is forgotten."""
    for most in (3, 4, 5):
        slow.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": most}))
        await slow.one_pass(APP)
    slow.local.time.advance(20)
    written = len(slow.writes())
    await slow.one_pass(APP)
    assert len(slow.writes()) == written + 1
    slow.local.time.advance(60)
    await slow.converge()
    assert (await slow.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 5
    assert len(await slow.revisions()) == 3
