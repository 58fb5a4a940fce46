"""Why a release failed outlives the controller: it stands on the app's share, is read once, and written once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from structlog import testing

from controller.model import tags
from infra.local_azure import clock, faults
from tests.reconcile.stack import APP, Stack, app, environment, running

FILE = ".acaops/one/chat/failures.json"
BAD = app(env=[{"name": "MODE", "value": "bad"}, {"name": "LOCAL_AZURE_SIMULATE", "value": "crash"}])
SAID = "print('it says hunter2hunter2'); import sys; sys.exit('and then no more')"


@pytest.fixture
async def rejected(built: Stack) -> Stack:
    """Its newest release crashed and was gone back from."""
    built.write(environment(), BAD)
    await built.settle()
    assert "was rejected" in built.message()
    return built


def asked(stack: Stack) -> list[str]:
    """The requests about the file so far."""
    return [each.method for each in stack.local.requests if "failures.json" in each.path]


async def test_after_a_restart_it_is_told_again(rejected: Stack) -> None:
    """Cause, evidence and log, from the first look on, also one that only looks; nothing is written."""
    before, written = rejected.status().failure, rejected.writes()
    assert before is not None
    assert before.log
    rejected.restart()
    for look in (rejected.reconciler.observe, rejected.reconciler.reconcile):
        await look(rejected.source, APP)
        after = rejected.status().failure
        assert after == dataclasses.replace(before, when=before.when.replace(microsecond=0))
        assert [(one.result, one.when) for one in rejected.status().history] == [("Failed", after.when)]
    assert rejected.writes() == written


async def test_a_quiet_pass_does_not_ask_for_it(rejected: Stack) -> None:
    """Neither where a release was rejected, nor where all is well. Who judged it asks only to write, here twice."""
    requests = asked(rejected)
    assert (requests.count("HEAD"), requests.count("GET")) == (2, 1)
    for _ in range(3):
        await rejected.one_round()
    assert asked(rejected) == requests
    rejected.restart()
    await rejected.one_round()
    requests = asked(rejected)
    await rejected.one_round()
    assert asked(rejected) == requests
    rejected.write(environment(), app())
    await rejected.converge()
    rejected.restart()
    requests = asked(rejected)
    await rejected.one_round()
    assert asked(rejected) == requests


@pytest.mark.parametrize(
    ("spec", "given"),
    [({"mode": "Observe"}, {}), ({"suspend": {"reason": "an incident"}}, {}), ({}, {"allow": ("elsewhere",)})],
    ids=["mode Observe", "suspended", "guarded"],
)
async def test_what_must_not_be_written_is_not(stack: Stack, spec: dict[str, Any], given: dict[str, Any]) -> None:
    """What is told of a failure isn't put on record where nothing else may be written either."""
    stack.write(environment(), BAD)
    await stack.settle()
    (stack.share / FILE).unlink()
    stack.restart(**given)
    stack.write(environment(), {**BAD, "spec": {**BAD["spec"], **spec}})
    written = stack.writes()
    await stack.look()
    await stack.reconciler.observe(stack.source, APP)
    await stack.one_pass(APP)
    assert stack.status().failure is not None
    assert stack.writes() == written
    stack.restart()
    stack.write(environment(), BAD)
    await stack.reconciler.observe(stack.source, APP)
    assert stack.status().failure is not None
    assert stack.writes() == written
    await stack.one_pass(APP)
    assert stack.writes() != written


async def test_nothing_is_written_about_what_is_not_ours(stack: Stack) -> None:
    """Somebody else took the app over since it failed."""
    stack.write(environment(), BAD)
    await stack.settle()
    (stack.share / FILE).unlink()
    await stack.arm("PATCH", stack.ids.app("chat"), {"tags": {tags.OWNER: "two/InferenceApp/chat"}})
    stack.restart()
    written = stack.writes()
    await stack.one_pass(APP)
    assert stack.told()[:2] == ("Stalled", "OwnedByOther")
    assert stack.status().failure is not None
    assert stack.writes() == written


async def test_a_share_that_can_not_be_written(built: Stack) -> None:
    """The pass goes on, and the rollout with it; a later one writes the file."""
    refusing = faults.Rule(r"failures\.json", "PUT", status=403, code="AuthorizationFailure")
    built.local.server.faults.rules.append(refusing)
    built.write(environment(), BAD)
    with testing.capture_logs() as logs:
        await built.settle()
    assert "was rejected" in built.message()
    assert FILE not in built.files()
    assert "a failure isn't kept on the share yet" in [one["event"] for one in logs]
    built.local.server.faults.rules.remove(refusing)
    await built.one_pass(APP)
    assert '"CommandFailed"' in built.files()[FILE]


@pytest.mark.parametrize("text", ["no JSON", '{"failures": [{"log": 7}]}'])
async def test_a_broken_file_breaks_nothing(rejected: Stack, text: str) -> None:
    """The cause is told from the app's tag; the next failure is written over it."""
    (rejected.share / FILE).write_text(text)
    rejected.restart()
    for _ in range(2):
        await rejected.one_round()
    assert rejected.told()[:2] == ("Stalled", "CommandFailed")
    assert rejected.status().failure is None
    assert rejected.files()[FILE] == text
    rejected.write(environment(), {**BAD, "spec": {**BAD["spec"], "commands": ["python -m other"]}})
    await rejected.settle()
    assert '"CommandFailed"' in rejected.files()[FILE]


async def test_its_log_is_kept_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the app printed, but for what nobody may read."""
    monkeypatch.setenv("TEST_FAILURES_KEY", "hunter2hunter2")
    secret: dict[str, Any] = {"secrets": [{"name": "key", "fromEnv": "TEST_FAILURES_KEY"}]}
    async with running(tmp_path, time=clock.ScaledClock(100), processes=True) as one:
        one.write(environment(), app(commands=[f'python3 -c "{SAID}"'], **secret))
        await one.settle(rounds=400)
        kept = one.files()[FILE]
    assert "and then no more" in kept
    assert "hunter2" not in kept
