"""How releases take over, fail and are gone back from, as scenarios: each strategy, a change of it, what crashes at
once, late or between two checks, and what people decide.

What stands around the app is put to the test by the other scenarios: here only its own calls are faulted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from controller import apply
from controller.model import releases, tags
from controller.plan import template
from infra.local_azure import scenario as played
from tests.faults.scenarios import CHAT, IMAGE, LARGE, PLAIN, Check, Scenario, State, Step, app, ask
from tests.faults.world import World
from tests.reconcile.stack import APP, Stack, environment

HELD = 20.0
"""Seconds for which a canary's step of 30 is held at least: they count from the plan, not from the write."""

CHECKED = {"check": {"successes": 2, "period": "5s"}}
BLUE_GREEN = {"strategy": "BlueGreen"}
CANARY = {"strategy": "Canary", "steps": [{"weight": 10, "hold": "30s"}, {"weight": 50, "hold": "30s"}]}
RECREATE = {"strategy": "Recreate"}
LATE, FLAPPING = "docker.io/library/late:1", "docker.io/library/flapping:1"
CRASHED = {APP: "was rejected: CommandFailed"}
RELEASES = ".acaops/one/chat/releases"
OLD_SECONDS = 1_700_000_000


def rolled(rollout: Mapping[str, Any], mode: str = "chat", **spec: Any) -> State:
    """One app that rolls out so; the rest of its spec makes the release."""
    return State((environment(), app(rollout=dict(rollout), **{"env": [{"name": "MODE", "value": mode}], **spec})))


def crashing(rollout: Mapping[str, Any]) -> State:
    """A release that ends at once, each time."""
    return rolled(rollout, env=[{"name": "MODE", "value": "bad"}, {"name": "LOCAL_AZURE_SIMULATE", "value": "crash"}])


async def _crowded(stack: Stack) -> None:
    """Files newer than the bundle that serves, as many as are kept in any case."""
    (serving,) = (stack.share / RELEASES).iterdir()
    os.utime(serving, (OLD_SECONDS, OLD_SECONDS))
    for number in range(apply.KEPT):
        (stack.share / RELEASES / f"{number}.txt").touch()


async def _undone(world: World) -> None:
    """People go back from what serves, as `acaops rollout undo` says it."""
    await _decided(world, releases.UNDONE)


async def _retried(world: World) -> None:
    """People want what was rejected tried once more, as `acaops rollout retry` says it."""
    await _decided(world, releases.RETRY)


async def _decided(world: World, cause: str) -> None:
    live = await ask(world, "GET", CHAT)
    known = releases.rejections(live["tags"].get(tags.REJECTED))
    run = template.run_of(live["properties"]["template"])
    if cause == releases.RETRY:
        run = known[-1].run
    assert run is not None, "what serves is a release"
    text = releases.with_rejection(known, releases.Rejection(run, cause))
    await ask(world, "PATCH", CHAT, {"tags": {**live["tags"], tags.REJECTED: text}})
    world.time.advance(120)


def _went(*wanted: Mapping[int, int]) -> Check:
    """The traffic went so, by the numbers of the revisions, and was held where it was shared."""

    async def check(world: World) -> list[str]:
        seen = world.watch.shifts.weights
        found = [] if [one for _, one in seen] == list(wanted) else [f"the traffic went {[one for _, one in seen]}"]
        held = [(shares, (until - since).total_seconds()) for (since, shares), (until, _) in pairwise(seen)]
        return found + [f"{one} was held for {long} s" for one, long in held if len(one) > 1 and long < HELD]

    return check


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "blue-green",
        rolled(BLUE_GREEN),
        (Step(replace(rolled(BLUE_GREEN | CHECKED), code=LARGE)),),
        hand=_crowded,
        check=_went({1: 100}, {2: 100}),
    ),
    Scenario(
        "canary",
        rolled(CANARY),
        (Step(rolled(CANARY | CHECKED, "two")),),
        check=_went({1: 100}, {1: 90, 2: 10}, {1: 50, 2: 50}, {2: 100}),
    ),
    Scenario("switched", PLAIN, (Step(rolled(BLUE_GREEN, "two")), Step(rolled({}, "three")))),
    Scenario(
        "rejected",
        PLAIN,
        (Step(crashing({}), stalled=CRASHED), Step(rolled({}, "mended"))),
    ),
    Scenario(
        "blue-green-rejected",
        rolled(BLUE_GREEN),
        (Step(crashing(BLUE_GREEN), stalled=CRASHED), Step(rolled(BLUE_GREEN, "mended"))),
    ),
    Scenario(
        "canary-rejected",
        rolled(CANARY),
        (Step(rolled(CANARY, image=LATE), stalled={APP: "was rejected"}),),
        plays=(played.Rule("crash", image=LATE, after=20.0),),
    ),
    Scenario(
        "unproven",
        rolled(BLUE_GREEN),
        (Step(rolled(BLUE_GREEN | CHECKED, image=FLAPPING), stalled={APP: "was rejected"}),),
        plays=(played.Rule("crash", image=FLAPPING, after=4.0),),
    ),
    Scenario("recreate", rolled(RECREATE), (Step(rolled(RECREATE, "two")),), pausing=("chat",)),
    Scenario("recreate-rejected", rolled(RECREATE), (Step(crashing(RECREATE), stalled=CRASHED),), pausing=("chat",)),
    Scenario(
        "retried",
        PLAIN,
        (
            Step(IMAGE),
            Step(IMAGE, _undone, stalled={APP: "Undone"}),
            Step(IMAGE, _retried),
        ),
    ),
)

BY_NAME = {one.named: replace(one, about="/containerapps/") for one in SCENARIOS}
