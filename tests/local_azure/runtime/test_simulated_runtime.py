"""Replicas without processes: they come, crash and go by the clock alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import simulated
from tests.local_azure.runtime.scripted_apps import Apps


@pytest.fixture
def time() -> clock.ManualClock:
    return clock.ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def runtime(time: clock.ManualClock) -> simulated.Simulated:
    return simulated.Simulated(time)


def revision(apps: Apps, *, count: int = 1, problem: str | None = None, **env: str) -> replicas.Revision:
    return apps.with_container(apps.container((), env=env), count=count, problem=problem, target_port=8080)


def test_replicas_become_ready_and_say_so(apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock) -> None:
    """After the start time all are ready, and the release answers."""
    told: list[str] = []
    runtime.changed = told.append
    runtime.start(revision(apps, count=2, ACAOPS_RELEASE="abc"))
    assert [replica.ready for replica in runtime.replicas("app--one")] == [False, False]
    time.advance(simulated.START_S)
    assert [replica.ready for replica in runtime.replicas("app--one")] == [True, True]
    assert told == ["app--one", "app--one"]
    assert runtime.answer("app--one") == {"release": "abc", "status": "ready"}


def test_a_crashing_one_ends_in_back_off(apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock) -> None:
    """First Terminated, then CrashLoopBackOff and named as crashing."""
    runtime.start(revision(apps, LOCAL_AZURE_SIMULATE="crash"))
    time.advance(simulated.START_S)
    assert runtime.replicas("app--one")[0].containers[0].state == "Terminated"
    assert runtime.crashing("app--one") == ()
    time.advance(15)
    assert "CrashLoopBackOff" in runtime.replicas("app--one")[0].containers[0].details
    assert runtime.crashing("app--one") == ("main",)


def test_a_never_ready_one_runs_without_being_ready(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """Started and running, however long one waits."""
    runtime.start(revision(apps, LOCAL_AZURE_SIMULATE="never-ready"))
    time.advance(3600)
    status = runtime.replicas("app--one")[0].containers[0]
    assert (status.state, status.started, status.ready) == ("Running", True, False)


def test_a_problem_keeps_it_waiting(apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock) -> None:
    """The reason is the problem's words."""
    runtime.start(revision(apps, problem="MountVolume failed"))
    time.advance(3600)
    status = runtime.replicas("app--one")[0].containers[0]
    assert (status.state, status.details) == ("Waiting", "Container is waiting with reason: MountVolume failed")


def test_stopped_replicas_are_not_ready_at_once_and_gone_after_a_while(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """Traffic ends before the replica does."""
    runtime.start(revision(apps))
    time.advance(simulated.START_S)
    runtime.stop("app--one")
    assert [replica.ready for replica in runtime.replicas("app--one")] == [False]
    time.advance(simulated.END_S)
    assert runtime.replicas("app--one") == ()


def test_a_restart_replaces_the_replicas(apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock) -> None:
    """The successor starts when its predecessor has ended."""
    runtime.start(revision(apps))
    time.advance(simulated.START_S)
    before = runtime.replicas("app--one")[0].name
    runtime.restart("app--one")
    time.advance(simulated.END_S + simulated.START_S)
    assert [replica.ready for replica in runtime.replicas("app--one")] == [True]
    assert before != runtime.replicas("app--one")[0].name
