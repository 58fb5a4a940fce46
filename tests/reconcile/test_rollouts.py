"""Rollouts from end to end: what serves, what is rejected and why, and that nothing is written once that is settled."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller import loop
from controller.status import summarize
from tests.reconcile.stack import APP, Stack, app, environment

CRASH, HANG = "crash", "never-ready"
BAD = [{"name": "MODE", "value": "bad"}]
CANARY = {"strategy": "Canary", "steps": [{"weight": 10, "hold": "1ms"}, {"weight": 50, "hold": "1ms"}]}
STRATEGIES: dict[str, dict[str, Any]] = {
    "Rolling": {"strategy": "Rolling"},
    "Recreate": {"strategy": "Recreate"},
    "BlueGreen": {"strategy": "BlueGreen"},
    "Canary": CANARY,
}


def bad(how: str, **spec: Any) -> dict[str, Any]:
    return app(env=[*BAD, {"name": "LOCAL_AZURE_SIMULATE", "value": how}], **spec)


async def serving(stack: Stack) -> list[dict[str, Any]]:
    """The revisions that run."""
    return [one["properties"] for one in await stack.revisions() if one["properties"]["active"]]


def mode(properties: dict[str, Any]) -> str:
    env = {one["name"]: one.get("value") for one in properties["template"]["containers"][0]["env"]}
    return str(env["MODE"])


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_good_release_takes_over(stack: Stack, strategy: str) -> None:
    """It has all the traffic, and nothing else runs."""
    stack.write(environment(), app(rollout=STRATEGIES[strategy]))
    await stack.converge()
    stack.write(environment(), app(rollout=STRATEGIES[strategy], env=[{"name": "MODE", "value": "new"}]))
    await stack.converge()
    await stack.one_round()
    (only,) = await serving(stack)
    assert (mode(only), only["trafficWeight"]) == ("new", 100)
    written = stack.writes()
    await stack.one_round()
    assert stack.writes() == written


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_crashing_release_is_gone_back_from(stack: Stack, strategy: str) -> None:
    """The last healthy one serves, the other is rejected and not tried again; no byte is moved for that."""
    stack.write(environment(), app(rollout=STRATEGIES[strategy]))
    await stack.converge()
    good = stack.status().release
    stack.write(environment(), bad(CRASH, rollout=STRATEGIES[strategy]))
    await stack.settle()
    for _ in range(8):
        await stack.one_round()
    (only,) = await serving(stack)
    assert (mode(only), only["trafficWeight"], only["healthState"]) == ("chat", 100, "Healthy")
    kind, reason, message = stack.told()
    assert (kind, reason) == ("Stalled", "CommandFailed")
    assert "was rejected: CommandFailed" in message
    assert stack.status().release == good
    failure = stack.status().failure
    assert failure is not None
    assert failure.rejected
    assert failure.cause == "CommandFailed"
    assert [entry.result for entry in stack.status().history] == ["Ready", "Failed"]
    written = stack.writes()
    stack.restart()
    for _ in range(3):
        await stack.one_round()
    assert stack.writes() == written
    assert stack.told()[0] == "Stalled"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_going_back_moves_no_byte(stack: Stack, strategy: str) -> None:
    """The old bundle is still there: all that is written to the share once the failed release was begun is why it
    failed."""
    stack.write(environment(), app(rollout=STRATEGIES[strategy]))
    await stack.converge()
    since = len(stack.writes())
    (stack.code / "app.py").write_text("print('worse')\n")
    stack.write(environment(), bad(CRASH, rollout=STRATEGIES[strategy]))
    await stack.settle()
    assert "was rejected" in stack.message()
    written = [path for _, path in stack.writes()[since:]]
    uploaded = [path for path in written if ".tar.gz" in path]
    begun = written.index(stack.ids.app("chat"))
    assert uploaded
    assert not set(uploaded) & set(written[begun:])
    assert {_share_file(path) for path in written[begun:] if not path.startswith("/subscriptions")} == {
        ".acaops/one/chat/failures.json"
    }


def _share_file(path: str) -> str:
    """The file on the share that a request is about, whatever it is called while it is written."""
    folder, _, name = path.partition("/models/")[2].rpartition("/")
    return f"{folder}/{re.sub(r'^[.](.+)[.]acaops-[0-9a-f]{8}$', lambda found: found[1], name)}"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_what_comes_after_a_rejected_release_is_tried(stack: Stack, strategy: str) -> None:
    """A newer state, or the old one again."""
    stack.write(environment(), app(rollout=STRATEGIES[strategy]))
    await stack.converge()
    stack.write(environment(), bad(CRASH, rollout=STRATEGIES[strategy]))
    await stack.settle()
    stack.write(environment(), app(rollout=STRATEGIES[strategy], env=[{"name": "MODE", "value": "mended"}]))
    await stack.converge()
    assert mode((await serving(stack))[-1]) == "mended"
    stack.write(environment(), app(rollout=STRATEGIES[strategy]))
    await stack.converge()
    assert mode((await serving(stack))[-1]) == "chat"


async def test_a_young_release_is_watched(stack: Stack) -> None:
    """Where there is something to go back to: the younger it is, the sooner the next look. Later it is looked at as
    often as any."""
    await stack.converge()
    assert stack.requeues[APP] == summarize.Requeue("interval", 600.0)
    stack.write(environment(), app(env=[{"name": "MODE", "value": "two"}]))
    await stack.converge()
    assert stack.requeues[APP].kind == "interval"
    for seconds, after in ((300, 30), (1700, 170), (1900, 600)):
        later = datetime.now(UTC) + timedelta(seconds=seconds)
        stack.reconciler.now = lambda later=later: later  # type: ignore[misc]
        await stack.one_pass(APP)
        assert stack.requeues[APP].after == pytest.approx(after, abs=2)


async def test_a_strategy_may_change(stack: Stack) -> None:
    """The mode is switched before the template, and back only when the latest revision has all the traffic."""
    await stack.converge()
    stack.write(environment(), app(rollout=CANARY, env=[{"name": "MODE", "value": "two"}]))
    await stack.converge()
    live = (await stack.live_app())["properties"]["configuration"]
    assert live["activeRevisionsMode"] == "Multiple"
    stack.write(environment(), app(env=[{"name": "MODE", "value": "three"}]))
    await stack.converge()
    live = (await stack.live_app())["properties"]["configuration"]
    assert live["activeRevisionsMode"] == "Single"
    assert live["ingress"]["traffic"] == [{"weight": 100, "latestRevision": True}]
    (only,) = await serving(stack)
    assert mode(only) == "three"


async def test_a_release_without_anything_before_it_stays(stack: Stack) -> None:
    """There is nothing to go back to; the cause is told."""
    stack.write(environment(), bad(CRASH))
    await stack.settle()
    assert stack.told()[:2] == ("Stalled", "CommandFailed")
    assert not loop.settled(stack.status(APP))
    assert len(await stack.revisions()) == 1
