"""mode Observe, suspend and dependsOn: when nothing is written, what is told instead, and how it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller import loop, settings
from controller.sources import origin
from tests.reconcile import timeline
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

SCALED = {"minReplicas": 1, "maxReplicas": 3}
SECOND = ("InferenceApp", "second")


async def test_observing_a_whole_stack(built: Stack) -> None:
    """What differs is told, nothing is written, and what runs is Ready."""
    storage = {**environment()["spec"]["storage"], "shareQuotaGiB": 2048}
    built.write(environment(mode="Observe", storage=storage), app(mode="Observe", scale=SCALED))
    since = built.writes()
    await built.converge()
    assert since == built.writes()
    assert {(each.resource, each.left) for each in built.status(ENVIRONMENT).drift} == {("fileShare", True)}
    paths = {each.path for each in built.status().drift}
    assert "properties.template.scale.maxReplicas" in paths
    assert built.status().release == (await built.env())["ACAOPS_RELEASE"]
    assert built.message().startswith("mode Observe: nothing is written; containerApp: left alone: ")


async def test_observing_what_is_not_there(stack: Stack) -> None:
    """It says so, and makes nothing."""
    stack.write(environment(mode="Observe"), app(mode="Observe"))
    await stack.settle()
    assert stack.told(ENVIRONMENT)[:2] == ("Stalled", "NotFound")
    assert stack.writes() == []


async def test_an_app_on_an_environment_that_is_only_observed(built: Stack) -> None:
    """Deploy only: content, secrets and revisions are managed, nothing of the rest is written."""
    await built.arm("DELETE", built.ids.app("chat"))
    built.write(environment(mode="Observe"), app())
    since = len(built.writes())
    await built.converge()
    assert {path for _, path in built.writes()[since:] if path.startswith("/subscriptions")} == {built.ids.app("chat")}
    (built.code / "app.py").write_text("print('two')\n")
    await built.converge()
    assert len(await built.revisions()) == 2


async def test_suspended_until(built: Stack) -> None:
    """Nothing is written meanwhile, the status says why and until when; the moment it ends, the change is made."""
    until = datetime.now(UTC) + timedelta(minutes=5)
    paused = {"reason": "a demo for the board", "until": until.isoformat(timespec="seconds")}
    built.write(environment(), app(scale=SCALED, suspend=paused))
    since = built.writes()
    async with timeline.timeline(built) as time:
        await time.run(seconds=240)
        assert since == built.writes()
        told = built.status().suspended
        assert told is not None
        assert (told.reason, told.until) == ("a demo for the board", until.replace(microsecond=0))
        assert "suspended until " in built.message()
        await time.run(seconds=120)
    assert built.told()[0] == "Ready"
    assert built.status().suspended is None
    assert (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 3


async def test_an_app_waits_for_what_it_depends_on(stack: Stack, tmp_path: Path) -> None:
    """Nothing of it is written before the other is Ready; afterwards the other may break without touching it."""
    broken = app(secrets=[{"name": "key", "fromFile": "../missing"}], env=[{"name": "KEY", "secretRef": "key"}])
    stack.write(environment(), broken, app("second", dependsOn=["chat"]))
    for _ in range(6):
        await stack.one_round()
    assert stack.told(APP)[:2] == ("Stalled", "SecretNotFound")
    kind, reason, message = stack.told(SECOND)
    assert (kind, reason) == ("Reconciling", "DependencyNotReady")
    assert "waiting for chat to be Ready (dependsOn)" in message
    assert await stack.arm("GET", stack.ids.app("second")) is None
    (stack.root / "missing").write_text("secret")
    await stack.converge()
    (stack.root / "missing").unlink()
    await stack.one_round()
    assert stack.told(APP)[0] == "Stalled"
    assert stack.told(SECOND)[0] == "Ready"


@pytest.mark.parametrize("until", [None, "2020-01-01T00:00:00Z"])
async def test_a_suspension_without_an_end_and_one_that_is_over(built: Stack, until: str | None) -> None:
    """The first lasts, the second doesn't count."""
    built.write(environment(), app(scale=SCALED, suspend={"reason": "later", "until": until}))
    await built.converge()
    most = (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"]
    assert most == (1 if until is None else 3)


async def test_an_app_is_called_when_what_it_depends_on_is_ready(stack: Stack) -> None:
    """At once, without a look in between: the pause after a failure is ten minutes here."""
    stack.write(environment(), app(), app("second", dependsOn=["chat"]))
    patient = settings.Backoff(first=600.0, most=600.0)
    one = loop.Loop(origin.Folder(stack.folder), stack.reconciler, patient)
    try:
        await one.load()
        await stack.until(lambda: loop.settled(stack.reconciler.statuses.get(SECOND)) is True)
    finally:
        await one.close()
