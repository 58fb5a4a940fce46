"""When an object is done with, for better or worse."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller import loop
from controller.model.conditions import Condition
from controller.status import store

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def status(*words: tuple[str, str], passes: int = 1) -> store.ObjectStatus:
    told = tuple(Condition(kind, value, "Reason", "", "r", NOW) for kind, value in words)
    return store.ObjectStatus("Environment", "gpu-west", conditions=told, passes=passes)


@pytest.mark.parametrize(
    ("told", "settled"),
    [
        (None, None),
        (status(("Ready", "True"), passes=0), None),
        (status(), None),
        (status(("Ready", "True")), True),
        (status(("Ready", "Unknown"), ("Reconciling", "True")), None),
        (status(("Ready", "False"), ("Reconciling", "True")), None),
        (status(("Ready", "False"), ("Stalled", "True")), False),
    ],
)
def test_settled(told: store.ObjectStatus | None, settled: bool | None) -> None:
    """Ready is, Stalled is too; before the first pass, or on the way, nobody knows."""
    assert loop.settled(told) is settled
