"""Each cause of a release that doesn't come up: status names it within the deadline, with the words it rests on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.local_azure import clock, faults
from infra.local_azure.scenario import Rule
from tests.reconcile.stack import APP, Stack, app, environment, running
from tests.situations.aged import aged, minutes, serving

DEADLINE = 8
"""Minutes."""

BAD = {"image": "docker.io/library/app:bad", "rollout": {"deadline": f"{DEADLINE}m"}}


@pytest.fixture
async def built(built_once: Path, tmp_path: Path) -> AsyncIterator[Stack]:
    async with aged(built_once, tmp_path) as one:
        yield one


@pytest.mark.parametrize(
    ("rule", "cause", "words"),
    [
        (Rule("capacity", profile="GPU", replicas=1), "NoCapacity", "insufficient nvidia.com/gpu"),
        (Rule("quota", profile="GPU", gpus=1), "QuotaExceeded", "quota of SubscriptionDedicatedNCA100Gpus exceeded"),
        (Rule("pull-fails", image="*:bad"), "ImagePullFailed", "Failed to pull image 'docker.io/library/app:bad'"),
    ],
    ids=lambda one: one if isinstance(one, str) and " " not in one else "",
)
async def test_what_is_the_platforms_doing(built: Stack, rule: Rule, cause: str, words: str) -> None:
    """It is told soon, nothing is rejected, and the old release serves."""
    old = await serving(built)
    built.local.server.scenario.play(rule)
    built.write(environment(), app(**BAD))
    await minutes(built, DEADLINE, until=lambda: built.told()[1] == cause)
    assert built.told()[1] == cause
    assert words in built.message()
    await minutes(built, 2)
    assert "acaops-rejected" not in (await built.live_app())["tags"]
    assert await serving(built) == old


async def test_a_share_that_can_not_be_mounted(built: Stack) -> None:
    """Somebody puts a wrong key into the environment storage: what runs goes on, what is new can't start."""
    old = await serving(built)
    path = built.ids.storage("mount")
    live = await built.arm("GET", path)
    facts = {**live["properties"]["azureFile"], "accountKey": "d3Jvbmc="}
    await built.arm("PUT", path, {"properties": {"azureFile": facts}})
    built.write(environment(), app(**BAD))
    await minutes(built, DEADLINE, until=lambda: built.told()[1] == "MountFailed")
    assert built.told()[1] == "MountFailed"
    assert "Permission denied" in built.message()
    assert await serving(built) == old


@pytest.mark.parametrize(
    ("rule", "cause", "words"),
    [
        (Rule("crash", image="*:bad", exit_code=3), "CommandFailed", "Container crashing: chat"),
        (Rule("out-of-memory", image="*:bad"), "OutOfMemory", "OOMKilled"),
        (Rule("hang", image="*:bad"), "ProbeFailed", "Container started at"),
    ],
    ids=lambda one: one if isinstance(one, str) and " " not in one else "",
)
async def test_what_is_the_releases_doing(built: Stack, rule: Rule, cause: str, words: str) -> None:
    """It is rejected for it, its words are kept, and the old release serves all the time."""
    old = await serving(built)
    built.local.server.scenario.play(rule)
    built.write(environment(), app(**BAD))
    for _ in range(12 * (DEADLINE + 6)):
        built.local.time.advance(5)
        await built.one_pass(APP)
        if "was rejected" in built.message():
            break
    assert built.told()[:2] == ("Stalled", cause)
    failure = built.status().failure
    assert failure is not None
    assert (failure.cause, failure.rejected) == (cause, True)
    assert words in "\n".join((failure.message, *failure.evidence))
    assert await serving(built) == old == built.status().release


async def test_what_nobody_recognises(built: Stack) -> None:
    """Past the deadline, without a word from anybody: it is rejected all the same, and said to be unknown."""
    old = await serving(built)
    built.local.server.scenario.play(Rule("hang", image="*:bad"))
    built.local.server.faults.rules.append(faults.Rule(r"/replicas$", "GET", does="absent"))
    built.write(environment(), app(**BAD))
    await minutes(built, DEADLINE + 6, until=lambda: "was rejected" in built.message())
    assert built.told()[:2] == ("Stalled", "Unknown")
    assert await serving(built) == old


async def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    """Only the app's own output tells; its last lines are kept, without secrets."""
    says = "OSError: ./model does not appear to have a file named config.json"
    command = f"python3 -c \"import sys; print('key hunter2'); sys.exit('{says}')\""
    secret: dict[str, Any] = {"secrets": [{"name": "key", "fromEnv": "TEST_CAUSES_KEY"}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_CAUSES_KEY", "hunter2")
        async with running(tmp_path, time=clock.ScaledClock(100), processes=True) as one:
            one.write(environment(), app(commands=[command], **secret))
            await one.settle(rounds=400)
            assert one.told(APP)[:2] == ("Stalled", "ModelNotFound")
            failure = one.status().failure
    assert failure is not None
    assert says in failure.log
    assert not any("hunter2" in line for line in (*failure.log, *failure.evidence, failure.message))
