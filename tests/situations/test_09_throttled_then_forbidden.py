"""Azure throttles, with and without saying for how long, then refuses for ten minutes: fifty apps ask little, others go
on, and all is built once the trouble is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.local_azure.faults import Rule
from tests.reconcile import timeline
from tests.reconcile.stack import ENVIRONMENT, Stack, app, environment, running

HERE, ELSEWHERE = "00000000-0000-0000-0000-000000000000", "11111111-1111-1111-1111-111111111111"
APPS = [f"app-{number:02}" for number in range(50)]
FREE = ("InferenceApp", "free")
MINUTE = 60.0
SMALL = {"workloadProfileName": "Consumption", "resources": {"cpu": 0.5, "memory": "1Gi"}}
OTHER = {
    "subscriptionId": ELSEWHERE,
    "storage": {"accountName": "accounttwo", "shareName": "models"},
    "containerApps": {**environment()["spec"]["containerApps"], "environmentName": "env-two"},
}
ENVIRONMENTS = [environment(), {**environment(**OTHER), "metadata": {"name": "elsewhere"}}]


@pytest.fixture
async def fifty(tmp_path: Path) -> AsyncIterator[Stack]:
    """Two Environments that are there, each in a subscription of its own."""
    async with running(tmp_path, subscriptions=(HERE, ELSEWHERE)) as stack:
        stack.write(*ENVIRONMENTS)
        await stack.converge()
        yield stack


def creations(stack: Stack, since: int) -> list[str]:
    written = stack.writes()[since:]
    return [path.rpartition("/")[2] for method, path in written if method == "PUT" and "/containerApps/app-" in path]


def states(stack: Stack) -> set[tuple[str, str]]:
    return {stack.told(("InferenceApp", name))[:2] for name in APPS}


@pytest.mark.parametrize("headers", [{"Retry-After": "20"}, {}], ids=["told", "not told"])
async def test_fifty_apps_ask_little(fifty: Stack, headers: dict[str, str]) -> None:
    """Throttled, all of them together ask but once in each pause; refused, each asks ever more seldom."""
    faults = fifty.local.server.faults.rules
    fifty.write(*ENVIRONMENTS, *(app(name, **SMALL) for name in APPS), app(FREE[1], environmentRef="elsewhere"))
    throttled = {"status": 429, "code": "429", "message": "slow down", "headers": headers}
    async with timeline.timeline(fifty) as time:
        faults.append(Rule(f"/{HERE}/.*/containerapps/app-", "PUT", **throttled))  # type: ignore[arg-type]
        since = len(fifty.writes())
        await time.run(seconds=2 * MINUTE)
        assert fifty.told(FREE)[0] == "Ready"
        assert fifty.told(ENVIRONMENT)[0] == "Ready"
        assert 1 <= len(creations(fifty, since)) <= 2 * MINUTE / (20 if headers else 2) + 2

        faults[:] = [Rule(f"/{HERE}/.*/containerapps/app-", "PUT", status=403, code="AuthorizationFailed")]
        since = len(fifty.writes())
        await time.run(seconds=10 * MINUTE)
        tried = creations(fifty, since)
        assert max(tried.count(name) for name in APPS) <= 8
        assert states(fifty) == {("Stalled", "Forbidden")}

        faults.clear()
        await time.run(seconds=15 * MINUTE)
        assert {kind for kind, _ in states(fifty)} == {"Ready"}
