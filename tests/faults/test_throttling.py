"""Azure says 429: how long is waited, how often is asked, and that others go on."""

from __future__ import annotations

import pytest

from infra.local_azure.faults import Rule
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

SCALED = {"minReplicas": 1, "maxReplicas": 3}
THROTTLED = {"status": 429, "code": "429", "message": "slow down"}


def asked(stack: Stack, part: str) -> int:
    return sum(part in each.path.lower() for each in stack.local.requests)


@pytest.mark.parametrize(
    ("headers", "message", "requeue"),
    [
        ({"Retry-After": "17"}, "slow down", ("told", 17.0)),
        ({"retry-after-ms": "2500"}, "slow down", ("told", 2.5)),
        ({}, "Retry after 2 seconds.", ("told", 2.0)),
        ({}, "slow down", ("backoff", None)),
    ],
)
async def test_a_throttled_read(
    built: Stack, faults: list[Rule], headers: dict[str, str], message: str, requeue: tuple[str, float | None]
) -> None:
    """One request, then the pause that Azure named, else the growing one; the endpoint is still told."""
    faults.append(Rule("/containerapps/chat$", "GET", status=429, code="429", message=message, headers=headers))
    before = asked(built, "/containerapps/chat")
    await built.one_pass(APP)
    assert asked(built, "/containerapps/chat") == before + 1
    assert built.told()[:2] == ("Reconciling", "Throttled")
    assert (built.requeues[APP].kind, built.requeues[APP].after) == requeue
    assert built.status().endpoint


async def test_a_throttled_write_holds_the_subscription_s_writes_back(built: Stack, faults: list[Rule]) -> None:
    """The app waits as told, and so does the Environment, which isn't even asked about: the limit is theirs together.
    Reading goes on."""
    faults.append(Rule("/containerapps/chat$", "PATCH", headers={"Retry-After": "30"}, **THROTTLED))
    built.write(environment(), app(scale=SCALED))
    await built.one_pass(APP)
    assert (built.requeues[APP].kind, built.requeues[APP].after) == ("told", 30.0)
    built.write(environment(tags={"team": "one"}), app(scale=SCALED))
    since = len(built.writes())
    await built.one_pass(ENVIRONMENT)
    assert len(built.writes()) == since
    kind, reason, message = built.told(ENVIRONMENT)
    assert (kind, reason) == ("Reconciling", "Throttled")
    assert "held back: Azure allows no more writes in subscription" in message


async def test_a_throttle_is_kept_while_something_else_is_in_progress(stack: Stack, faults: list[Rule]) -> None:
    """Work under way is asked about soon, but not before a throttle's pause is over."""
    await stack.one_pass(ENVIRONMENT)
    faults.append(Rule("/workspaces/", "PUT", headers={"Retry-After": "30"}, **THROTTLED))
    status = await stack.one_pass(ENVIRONMENT)
    assert {step.name: type(step.outcome).__name__ for step in status.resources}["storageAccount"] == "InProgress"
    assert (stack.requeues[ENVIRONMENT].kind, stack.requeues[ENVIRONMENT].after) == ("told", 30.0)
