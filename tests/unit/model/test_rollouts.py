"""What a rollout may say, alone and together with the rest of the app."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from controller.model import rollouts
from tests.unit.plan import wanted

CANARY = {"strategy": "Canary", "steps": [{"weight": 10, "hold": "5m"}]}


def problems(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """(place, message) of all that is wrong with an app of that spec."""
    with pytest.raises(ValidationError) as caught:
        wanted.app(**spec)
    return [(".".join(map(str, each["loc"][1:])), each["msg"]) for each in caught.value.errors()]


def test_a_canary_has_steps() -> None:
    """Upwards, and nobody else has any."""
    told = "strategy Canary needs steps, like [{weight: 10, hold: 5m}]"
    assert problems({"rollout": {"strategy": "Canary"}}) == [("rollout", told)]
    told = "strategy is BlueGreen: only Canary has steps"
    assert problems({"rollout": {**CANARY, "strategy": "BlueGreen"}}) == [("rollout.steps", told)]
    steps = [{"weight": 10}, {"weight": 50}, {"weight": 50}]
    found = problems({"rollout": {"strategy": "Canary", "steps": steps}})
    assert found == [("rollout.steps.2.weight", "50 isn't more than the 50 before it")]
    assert wanted.app(rollout=CANARY).spec.rollout.steps == (rollouts.Step(weight=10, hold="5m"),)


@pytest.mark.parametrize(("strategy", "beside"), [("Rolling", False), ("Recreate", False), ("BlueGreen", True)])
def test_some_strategies_run_two_revisions_side_by_side(strategy: str, beside: bool) -> None:
    """Those need multiple-revision mode."""
    assert rollouts.Rollout(strategy=strategy).beside is beside


def test_sessions_need_one_revision_at_a_time() -> None:
    """Several replicas keep sessions unless it is said that they don't; the refusal says what to do."""
    why = "runs two revisions side by side, and Azure has sticky sessions for one only"
    (found,) = problems({"rollout": CANARY, "scale": {"maxReplicas": 3}})
    assert found[0] == "scale.maxReplicas"
    assert found[1].startswith(f"3 replicas need sticky sessions; strategy Canary {why}: if the app keeps no sessions")
    (found,) = problems({"rollout": {"strategy": "BlueGreen"}, "ingress": {"sticky": True}})
    assert found[0] == "ingress.sticky"
    for spec in (
        {"rollout": CANARY, "scale": {"maxReplicas": 3}, "ingress": {"sticky": False}},
        {"rollout": CANARY},
        {"rollout": {"strategy": "Recreate"}, "scale": {"maxReplicas": 3}},
    ):
        assert wanted.app(**spec).spec.sticky is ("ingress" not in spec and "scale" in spec)
