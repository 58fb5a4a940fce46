"""The hard cases of replicas, played on containers without processes, by a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import restarts, simulated
from infra.local_azure.scenario import Rule
from tests.local_azure.runtime.scripted_apps import Apps, probe

KEY = "app--one"
WAITING = "Container is waiting with reason: "
STARTUP = probe("Startup", path=None, period=1.0, failure_threshold=240)


@pytest.fixture
def time() -> clock.ManualClock:
    return clock.ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def runtime(time: clock.ManualClock) -> simulated.Simulated:
    return simulated.Simulated(time)


def status(runtime: simulated.Simulated) -> replicas.ContainerStatus:
    return runtime.replicas(KEY)[0].containers[0]


def start(apps: Apps, runtime: simulated.Simulated, *rules: Rule, startup: replicas.Probe | None = None) -> None:
    """One replica, to which `rules` are played."""
    runtime.scenario.play(*rules)
    probes = (startup,) if startup else ()
    runtime.start(apps.with_container(apps.container((), probes=probes), target_port=8080))


def test_an_image_that_cannot_be_pulled_is_tried_until_it_can(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """It waits for as long as the rule is in force, then it starts."""
    told: list[str] = []
    start(apps, runtime, Rule("pull-fails", image="*/app:1"))
    time.advance(3600)
    words = f"{WAITING}ImagePullBackOff on legion. Failed to pull image 'docker.io/library/app:1'."
    assert (status(runtime).state, status(runtime).details, status(runtime).container_id) == ("Waiting", words, None)
    runtime.changed = told.append
    runtime.scenario.play()
    assert (told, status(runtime).details) == ([KEY], f"{WAITING}PodInitializing.")
    time.advance(simulated.START_S)
    assert status(runtime).ready


def test_a_pull_that_fails_at_first_gets_through(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """For the first seconds of the replica only; then the pull takes its time."""
    start(apps, runtime, Rule("pull-fails", seconds=120.0), Rule("pull-takes", seconds=60.0))
    time.advance(119)
    assert "ImagePullBackOff" in status(runtime).details
    time.advance(1)
    assert status(runtime).details == f"{WAITING}PullingImage on legion."
    time.advance(60 + simulated.START_S)
    assert status(runtime).ready


def test_a_slow_start_within_the_startup_probes_budget_is_not_restarted(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """A model that loads for 20 minutes is running all the while, and ready at the end."""
    patient = probe("Startup", path=None, period=10.0, failure_threshold=121)
    start(apps, runtime, Rule("slow-start", seconds=1200.0), startup=patient)
    time.advance(simulated.START_S + 1199)
    assert (status(runtime).state, status(runtime).started, status(runtime).ready) == ("Running", False, False)
    time.advance(1)
    assert (status(runtime).started, status(runtime).ready, status(runtime).restarts) == (True, True, 0)
    time.advance(3600)
    assert status(runtime).restarts == 0


def test_a_slow_start_beyond_the_startup_probes_budget_is_restarted(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """As Kubernetes does; the app never gets ready."""
    start(apps, runtime, Rule("slow-start", seconds=1200.0), startup=STARTUP)
    time.advance(simulated.START_S + 240)
    assert status(runtime).details == "Container was terminated with reason: Error, exit code: 137."
    time.advance(2000)
    assert (status(runtime).ready, runtime.crashing(KEY)) == (False, ("main",))


def test_a_hanging_one_without_a_startup_probe_runs_for_ever(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """Never ready, never restarted."""
    start(apps, runtime, Rule("hang"))
    time.advance(3600)
    assert (status(runtime).state, status(runtime).ready, status(runtime).restarts) == ("Running", False, 0)


def test_a_crash_before_ready_backs_off_longer_and_longer(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """Exit code, restart count, and the way from Terminated to CrashLoopBackOff, again and again; never ready."""
    seen: list[bool] = []
    runtime.changed = lambda key: seen.append(runtime.replicas(key)[0].ready)
    start(apps, runtime, Rule("crash", exit_code=3))
    ended = "Container was terminated with reason: Error, exit code: 3."
    time.advance(simulated.START_S)
    assert (status(runtime).details, runtime.crashing(KEY)) == (ended, ())
    time.advance(simulated.START_S)
    assert (status(runtime).details, status(runtime).restarts) == (ended, 1)
    assert runtime.crashing(KEY) == ("main",)
    time.advance(restarts.BACK_OFF_FIRST * restarts.SHOWN)
    assert status(runtime).details == f"{WAITING}CrashLoopBackOff on legion."
    assert (status(runtime).state, status(runtime).container_id) == ("Waiting", None)
    time.advance(restarts.BACK_OFF_FIRST * (1 - restarts.SHOWN) + simulated.START_S)
    assert (status(runtime).details, status(runtime).restarts, set(seen)) == (ended, 2, {False})


def test_a_crash_after_it_was_ready(apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock) -> None:
    """It serves for a while each time; between times it counts as crashing."""
    start(apps, runtime, Rule("crash", after=30.0))
    time.advance(simulated.START_S + 29)
    assert status(runtime).ready
    time.advance(1)
    assert status(runtime).details == "Container was terminated with reason: Error, exit code: 1."
    time.advance(simulated.START_S + 30)
    assert (status(runtime).ready, runtime.crashing(KEY)) == (False, ("main",))
    time.advance(restarts.BACK_OFF_FIRST + simulated.START_S)
    assert (status(runtime).ready, runtime.crashing(KEY), status(runtime).restarts) == (True, (), 2)


def test_ten_minutes_of_running_clear_the_count_of_crashes(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """Then each crash is a first one, whose restart comes at once."""
    start(apps, runtime, Rule("crash", after=restarts.BACK_OFF_RESET))
    time.advance(3 * (simulated.START_S + restarts.BACK_OFF_RESET))
    assert (status(runtime).restarts, runtime.crashing(KEY)) == (2, ())
    assert status(runtime).details == "Container was terminated with reason: Error, exit code: 1."


def test_out_of_memory_is_told_as_the_kernel_does(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """Reason OOMKilled and exit code 137, then back-off as after any crash."""
    start(apps, runtime, Rule("out-of-memory"))
    time.advance(simulated.START_S)
    assert status(runtime).details == "Container was terminated with reason: OOMKilled, exit code: 137."
    time.advance(simulated.START_S + restarts.BACK_OFF_FIRST * restarts.SHOWN)
    assert "CrashLoopBackOff" in status(runtime).details


def test_a_flapping_one_is_ready_and_not_in_turns(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """Without a restart, and told each time."""
    told: list[str] = []
    start(apps, runtime, Rule("flap", ready=30.0, unready=10.0), startup=STARTUP)
    time.advance(simulated.START_S)
    runtime.changed = told.append
    seen = []
    for seconds in (29, 1, 9, 1, 29, 1):
        time.advance(seconds)
        seen.append(status(runtime).ready)
    assert seen == [True, False, False, True, True, False]
    assert (told, status(runtime).restarts, status(runtime).started) == ([KEY] * 3, 0, True)


def test_rules_choose_by_app_image_and_profile(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """A revision that no pattern fits is left alone."""
    start(
        apps,
        runtime,
        Rule("hang", app="other"),
        Rule("pull-fails", image="*:2"),
        Rule("crash", profile="GPU"),
    )
    time.advance(simulated.START_S)
    assert status(runtime).ready


def test_on_a_clock_that_takes_no_time_every_case_comes_to_rest(apps: Apps) -> None:
    """Each is where it ends up, and no call is left that calls itself for ever."""
    cases = {
        Rule("crash"): "CrashLoopBackOff",
        Rule("crash", after=5.0): "CrashLoopBackOff",
        Rule("flap", ready=1.0, unready=1.0): "Container started",
        Rule("hang"): "Container started",
    }
    for rule, words in cases.items():
        instant = Instant()
        runtime = simulated.Simulated(instant)
        start(apps, runtime, rule, startup=STARTUP)
        instant.run(most=50)
        assert words in status(runtime).details


class Instant:
    """A clock of scale 0 without an event loop."""

    def __init__(self) -> None:
        self._time = clock.ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self._left = 0

    def now(self) -> datetime:
        return self._time.now()

    def real(self, seconds: float, *, least: float = 0.0) -> float:
        return least

    def later(self, seconds: float, call: object) -> clock.Cancel:
        assert callable(call)
        self._left += 1
        return self._time.later(float(self._left), call)

    def run(self, *, most: int) -> None:
        self._time.advance(1000.0)
        assert self._left <= most


def test_more_replicas_start_at_once_and_the_newest_end_first(
    apps: Apps, runtime: simulated.Simulated, time: clock.ManualClock
) -> None:
    """The count is kept from then on, down to none and up again."""
    start(apps, runtime)
    time.advance(simulated.START_S)
    oldest = runtime.replicas(KEY)[0].name
    runtime.scale(KEY, 3)
    assert [replica.ready for replica in runtime.replicas(KEY)] == [True, False, False]
    time.advance(simulated.START_S)
    runtime.scale(KEY, 1)
    assert [replica.ready for replica in runtime.replicas(KEY)] == [True, False, False]
    time.advance(simulated.END_S)
    assert [replica.name for replica in runtime.replicas(KEY)] == [oldest]
    runtime.scale(KEY, 0)
    time.advance(simulated.END_S)
    assert runtime.replicas(KEY) == ()
    runtime.scale(KEY, 1)
    time.advance(simulated.START_S)
    assert [replica.ready for replica in runtime.replicas(KEY)] == [True]
    runtime.scale("app--unknown", 3)
    assert runtime.replicas("app--unknown") == ()
