"""Azure throttles, with and without saying for how long, then refuses for ten minutes: fifty apps ask little, others go
on, and all is built once the trouble is over."""

from __future__ import annotations

import pytest

from infra.local_azure.faults import Rule
from tests.reconcile.stack import ENVIRONMENT, Stack, app, environment
from tests.reconcile.timeline import Timeline

APPS = [f"app-{number:02}" for number in range(50)]
FREE = "free"
MINUTE = 60.0


def creations(stack: Stack, since: int) -> list[str]:
    written = stack.writes()[since:]
    return [path.rpartition("/")[2] for method, path in written if method == "PUT" and "/containerApps/app-" in path]


@pytest.mark.parametrize("headers", [{"Retry-After": "20"}, {}], ids=["told", "not told"])
async def test_fifty_apps_ask_little(stack: Stack, faults: list[Rule], headers: dict[str, str]) -> None:
    """At most a dozen tries an app in a quarter of an hour; another app is Ready within the first minute."""
    content = [{"path": "../code", "target": "inference"}]
    stack.write(environment(), *(app(name, content=content) for name in [*APPS, FREE]))
    throttled = Rule("/containerapps/app-", "PUT", status=429, code="429", message="slow down", headers=headers)
    faults.append(throttled)
    timeline = Timeline(stack)
    since = len(stack.writes())
    await timeline.run(seconds=MINUTE)
    assert stack.told(("InferenceApp", FREE))[0] == "Ready"
    assert stack.told(ENVIRONMENT)[0] == "Ready"
    await timeline.run(seconds=2 * MINUTE)
    tried = creations(stack, since)
    assert max(tried.count(name) for name in APPS) <= 12

    faults[:] = [Rule("/containerapps/app-", "PUT", status=403, code="AuthorizationFailed", message="denied")]
    since = len(stack.writes())
    await timeline.run(seconds=10 * MINUTE)
    tried = creations(stack, since)
    assert 1 <= max(tried.count(name) for name in APPS) <= 8
    assert {stack.told(("InferenceApp", name))[:2] for name in APPS} == {("Stalled", "Forbidden")}

    faults.clear()
    await timeline.run(seconds=15 * MINUTE)
    assert {stack.told(("InferenceApp", name))[0] for name in APPS} == {"Ready"}
