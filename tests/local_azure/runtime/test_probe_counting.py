"""How results of a probe add up to a verdict, and what the three kinds do to each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import probes, watches
from tests.local_azure.runtime.scripted_apps import probe


def verdicts(results: str, **values: int) -> list[probes.Verdict | None]:
    tally = probes.Tally(probe("Readiness", **values))
    return [tally.add(result == "+") for result in results]


PASSED, FAILED = probes.Verdict.PASSED, probes.Verdict.FAILED


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("+", [PASSED]),
        ("--", [None, None]),
        ("---", [None, None, FAILED]),
        ("--+---", [None, None, PASSED, None, None, FAILED]),
        ("----", [None, None, FAILED, None]),
    ],
)
def test_a_verdict_comes_when_its_threshold_is_reached_in_a_row(
    results: str, expected: list[probes.Verdict | None]
) -> None:
    """Only an unbroken run of results counts, and each run counts once."""
    assert expected == verdicts(results, success_threshold=1, failure_threshold=3)


def test_success_thresholds_above_one_are_counted_too() -> None:
    """Two successes in a row are needed where the probe says two."""
    assert verdicts("+-++", success_threshold=2) == [None, None, None, PASSED]


def test_an_app_with_ingress_gets_the_documented_default_of_each_missing_kind() -> None:
    """Defaults fill in kinds; they never replace a given probe."""
    own = probe("Readiness", path="/readyz")
    found = {each.kind: each for each in probes.complete((own,), 7860)}
    assert own == found["Readiness"]
    assert (
        found["Startup"].path,
        found["Startup"].port,
        found["Startup"].period,
        found["Startup"].failure_threshold,
    ) == (None, 7860, 1, 240)
    assert {"Startup", "Readiness", "Liveness"} == set(found)


def test_an_app_without_ingress_gets_no_default_probes() -> None:
    """Nothing is probed that nobody asked for."""
    assert probes.complete((), None) == ()


class Script:
    """Answers checks from a script, lets sleeping take no time, and records what it is told."""

    def __init__(self, **results: str) -> None:
        self.results = {kind.capitalize(): iter(marks) for kind, marks in results.items()}
        self.told: list[str] = []
        self.slept: list[float] = []

    async def ask(self, asked: replicas.Probe, timeout_s: float) -> probes.Result:
        mark = next(self.results[asked.kind], None)
        if mark is None:
            await asyncio.Event().wait()
        self.told.append(f"{asked.kind}{mark}")
        return probes.Result(mark == "+", "scripted", False)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def started(self) -> None:
        self.told.append("started")

    def ready(self, ready: bool, why: str) -> None:
        self.told.append("ready" if ready else "unready")

    def unhealthy(self, why: str) -> None:
        self.told.append("unhealthy")


async def played(
    script: Script, *given: replicas.Probe, until: Callable[[], bool], time: clock.Clock | None = None
) -> list[str]:
    watch = watches.Watch(
        given,
        time=time or clock.ManualClock(datetime(2026, 1, 1, tzinfo=UTC)),
        ask=script.ask,
        told=script,
        sleep=script.sleep,
    )
    task = asyncio.create_task(watch.run())
    for _ in range(1000):
        if until() or task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    return script.told


async def test_the_startup_probe_holds_the_others_back() -> None:
    """Readiness isn't asked before startup has passed."""
    script = Script(startup="--+", readiness="+")
    given = (probe("Startup", failure_threshold=5), probe("Readiness"))
    told = await played(script, *given, until=lambda: "ready" in script.told)
    assert told == ["Startup-", "Startup-", "Startup+", "started", "Readiness+", "ready"]


async def test_a_startup_probe_that_never_passes_makes_the_container_unhealthy() -> None:
    """After its failure threshold the container is given up."""
    script = Script(startup="--+")
    told = await played(script, probe("Startup", failure_threshold=2), until=lambda: "started" in script.told)
    assert told == ["Startup-", "Startup-", "unhealthy"]


@pytest.mark.parametrize(("period", "failures", "checks"), [(2.0, 3, 24), (60.0, 10, 240)])
async def test_a_fast_clock_leaves_a_container_its_time_to_start(period: float, failures: int, checks: int) -> None:
    """Four checks a second, for the real length of a short budget and for a minute of a long one."""
    script = Script(startup="-" * 1000)
    given = probe("Startup", period=period, failure_threshold=failures)
    told = await played(script, given, until=lambda: False, time=clock.ScaledClock(0))
    assert told == ["Startup-"] * checks + ["unhealthy"]


async def test_readiness_goes_down_and_up_again_without_a_restart() -> None:
    """A replica that fails its readiness probe only loses its traffic."""
    script = Script(readiness="+--+")
    given = (probe("Readiness", failure_threshold=2),)
    told = await played(script, *given, until=lambda: script.told.count("ready") == 2)
    assert [word for word in told if not word.startswith("Readiness")] == ["started", "ready", "unready", "ready"]


async def test_a_failed_liveness_probe_makes_the_container_unhealthy() -> None:
    """Liveness fails after its threshold in a row."""
    script = Script(liveness="+-+---")
    told = await played(script, probe("Liveness"), until=lambda: False)
    assert told[-1] == "unhealthy"
    assert told.count("unhealthy") == 1


async def test_without_probes_a_container_is_ready_as_it_starts() -> None:
    """Started and ready, in that order, and nothing after."""
    script = Script()
    assert await played(script, until=lambda: False) == ["started", "ready"]


async def test_delays_and_periods_are_the_probe_s() -> None:
    """The initial delay comes first, then the period between checks."""
    script = Script(liveness="++")
    await played(script, probe("Liveness", initial_delay=7.0, period=3.0), until=lambda: len(script.slept) == 3)
    assert [round(seconds) for seconds in script.slept] == [7, 3, 3]
