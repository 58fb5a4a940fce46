"""A rollout with a check: Ready only once the endpoint named the release often enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller import loop
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

CHECKED = {"check": {"path": "/readyz", "successes": 3, "period": "2s"}}


class Time:
    """A clock that moves by the test's hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def checked(stack: Stack) -> Stack:
    """Everything is there; the app's revision was just found healthy."""
    stack.write(environment(), app(rollout=CHECKED))
    stack.reconciler.now = Time()
    while not loop.settled(stack.reconciler.statuses.get(ENVIRONMENT)):
        await stack.one_pass(ENVIRONMENT)
    while "check" not in stack.message(APP):
        await stack.one_pass(APP)
    return stack


async def test_answers_are_counted_over_time(checked: Stack) -> None:
    """One question a period, three good answers in a row; quick looks in between don't count."""
    seen = []
    for _ in range(3):
        await checked.one_pass(APP)
        seen.append((checked.told()[0], "1 of 3" in checked.message(APP)))
    assert seen == [("Reconciling", True)] * 3
    for expected in ("2 of 3", "serves release"):
        checked.reconciler.now.now += timedelta(seconds=2)  # type: ignore[attr-defined]
        await checked.one_pass(APP)
        assert expected in checked.message(APP)
    assert checked.told()[0] == "Ready"


async def test_a_fresh_controller_counts_anew(checked: Stack) -> None:
    """Forgetting the count costs a few questions, and writes nothing."""
    written = checked.writes()
    checked.restart()
    time = checked.reconciler.now = Time()
    for _ in range(3):
        await checked.one_pass(APP)
        time.now += timedelta(seconds=2)
    assert (checked.told()[0], written) == ("Ready", checked.writes())


async def test_what_ends_between_two_questions_does_not_pass(checked: Stack) -> None:
    """It answers each of them, and is counted anew after each end."""
    time = checked.reconciler.now
    for _ in range(5):
        (revision,) = await checked.revisions()
        await checked.arm("POST", f"{revision['id']}/restart")
        time.now += timedelta(seconds=2)  # type: ignore[attr-defined]
        await checked.one_pass(APP)
        assert checked.told()[0] == "Reconciling"
        assert "2 of 3" not in checked.message(APP)
