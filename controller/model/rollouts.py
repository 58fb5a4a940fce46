"""How an app says that a new release is to take over: the strategy, its steps, and what proves a release.

What stands here is checked against itself; what a strategy asks of the rest of the app is checked in `desired`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from controller.model import fields
from controller.model.base import Model

Strategy = Literal["Rolling", "BlueGreen", "Canary", "Recreate"]


class Check(Model):
    path: fields.UrlPath = "/readyz"
    """The path asked."""
    successes: Annotated[int, Field(ge=1, le=1000)] = 3
    """How many good answers in a row, each naming the release."""
    period: fields.Duration = 2.0
    """The time between two questions."""


class Step(Model):
    weight: Annotated[int, Field(ge=1, le=99)]
    """The share of the requests, in percent, that the new release answers."""
    hold: fields.Duration = 300.0
    """How long it stays so before the next step."""


class Rollout(Model):
    strategy: Strategy = "Rolling"
    """Rolling: the platform moves the traffic when the new revision is ready, one revision at a time. BlueGreen: the
    new revision runs beside the old one and gets all traffic once it is proven on its own address. Canary: the same,
    in steps. Recreate: the old revision is stopped first, for where there is no second GPU."""
    steps: Annotated[tuple[Step, ...], Strict(False)] = ()
    """For Canary, and needed there: the shares of the traffic before all of it."""
    check: Check | None = None
    """What the endpoint must answer before a release counts as healthy. null: the platform's health alone."""
    deadline: fields.Duration = 1800.0
    """From the container's start until the release counts as failed."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Rollout:
        fields.refuse(_problems(self.strategy, self.steps))
        return self

    @property
    def beside(self) -> bool:
        """Whether a new revision runs beside the old one until it is proven: multiple-revision mode."""
        return self.strategy in ("BlueGreen", "Canary")


def _problems(strategy: Strategy, steps: Sequence[Step]) -> Iterable[tuple[fields.Loc, str]]:
    if strategy == "Canary" and not steps:
        yield (), "strategy Canary needs steps, like [{weight: 10, hold: 5m}]"
    if strategy != "Canary" and steps:
        yield ("steps",), f"strategy is {strategy}: only Canary has steps"
    for index, (before, after) in enumerate(pairwise(steps)):
        if after.weight <= before.weight:
            yield ("steps", index + 1, "weight"), f"{after.weight} isn't more than the {before.weight} before it"
