"""Kinds and the errors between rooms."""

from __future__ import annotations

from controller.model import kinds, outcome


def test_every_kind_has_a_label_of_its_own() -> None:
    """What people read in status, plans and metrics."""
    labels = [kind.label for kind in kinds.Kind]

    assert len(set(labels)) == len(kinds.Kind)
    assert kinds.Kind("Microsoft.App/containerApps").label == "containerApp"


def test_an_outcome_travels_as_an_error() -> None:
    """Whole, with its message as text."""
    why = outcome.Waiting("Throttled", "Azure asks to wait", after=7)

    error = outcome.OutcomeError(why)

    assert error.outcome is why
    assert str(error) == "Azure asks to wait"
