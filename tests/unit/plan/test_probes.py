"""Probes from the startup budget: within the service's limits, and never less patient than was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model import limits
from controller.plan import probes
from tests.unit.plan import wanted

OLD, NEW = "2022-03-01", limits.API_VERSION


@pytest.mark.parametrize(
    ("version", "failures", "longest"),
    [
        ("2021-01-01", {"Startup": 10, "Readiness": 10, "Liveness": 10}, 2220),
        (OLD, {"Startup": 10, "Readiness": 10, "Liveness": 10}, 2220),
        ("2023-05-02-preview", {"Startup": 240, "Readiness": 48, "Liveness": 30}, 57_420),
        (NEW, {"Startup": 240, "Readiness": 48, "Liveness": 30}, 57_420),
    ],
)
def test_limits_go_by_api_version(version: str, failures: dict[str, int], longest: int) -> None:
    """Ten failures for all in older ones, by type since."""
    assert limits.probes(version).failures == failures
    assert limits.longest_start(version) == longest


def given_up_after(probe: dict[str, int]) -> int:
    """Seconds until the last failure."""
    return probe["initialDelaySeconds"] + (probe["failureThreshold"] - 1) * probe["periodSeconds"]


@pytest.mark.parametrize("version", [OLD, NEW])
@given(data=st.data())
def test_every_budget_has_a_probe_that_is_patient_enough(version: str, data: st.DataObject) -> None:
    """Legal numbers; the time until the last failure is never less than the budget, and less than a period more."""
    milliseconds = data.draw(st.integers(min_value=1, max_value=limits.longest_start(version) * 1000))
    allowed, budget = limits.probes(version), milliseconds / 1000
    probe = probes.startup(budget, version=version)
    assert 1 <= probe["periodSeconds"] <= allowed.period
    assert 1 <= probe["failureThreshold"] <= allowed.failures["Startup"]
    assert 1 <= probe["timeoutSeconds"] <= min(allowed.timeout, probe["periodSeconds"])
    assert 1 <= probe["initialDelaySeconds"] <= allowed.delay
    assert probe["periodSeconds"] * probe["failureThreshold"] >= given_up_after(probe) >= budget
    assert given_up_after(probe) - budget < probe["periodSeconds"]


@pytest.mark.parametrize(
    ("budget", "delay", "period", "failures"),
    [
        pytest.param(0.5, 1, 1, 1, id="less than a second"),
        pytest.param(1, 1, 1, 1, id="one check"),
        pytest.param(61, 1, 1, 61, id="every second"),
        pytest.param(240, 1, 1, 240, id="every second, as often as it goes"),
        pytest.param(241, 2, 2, 121, id="every other second"),
        pytest.param(1200, 5, 5, 240, id="20 minutes"),
        pytest.param(14_400, 60, 60, 240, id="four hours: the longest delay"),
        pytest.param(14_401, 60, 61, 237, id="beyond"),
        pytest.param(57_420, 60, 240, 240, id="the most"),
    ],
)
def test_the_period_is_as_short_as_the_cap_allows(budget: float, delay: int, period: int, failures: int) -> None:
    """So that an app that listens is noticed soon."""
    probe = probes.startup(budget)
    assert (probe["initialDelaySeconds"], probe["periodSeconds"], probe["failureThreshold"]) == (
        delay,
        period,
        failures,
    )


@pytest.mark.parametrize(("version", "longest"), [(OLD, 2220), (NEW, 57_420)])
def test_a_budget_beyond_the_cap_is_refused(version: str, longest: int) -> None:
    """Naming the most."""
    assert given_up_after(probes.startup(longest, version=version)) == longest
    with pytest.raises(ValueError, match=f"is longer than {longest} s, the most a startup probe waits"):
        probes.startup(longest + 1, version=version)


def test_there_are_always_three() -> None:
    """Each within its own cap; startup and liveness succeed at once, as they must."""
    made = probes.wanted(wanted.app())
    assert [one["type"] for one in made] == ["Startup", "Readiness", "Liveness"]
    for one in made:
        assert one["failureThreshold"] <= limits.probes().failures[one["type"]]
        assert one["timeoutSeconds"] <= one["periodSeconds"] <= limits.probes().period
        assert one.get("successThreshold", 1) == 1


@pytest.mark.parametrize(
    ("rollout", "asked"),
    [
        ({}, {"tcpSocket": {"port": 8000}, "httpGet": None}),
        (
            {"check": {"path": "/readyz"}},
            {"tcpSocket": None, "httpGet": {"path": "/readyz", "port": 8000, "scheme": "HTTP"}},
        ),
    ],
)
def test_readiness_asks_what_the_check_asks(rollout: dict[str, Any], asked: dict[str, Any]) -> None:
    """The others ask for the port; none in two ways at once, whatever the live probe did."""
    startup, readiness, liveness = probes.wanted(wanted.app(rollout=rollout, ingress={"targetPort": 8000}))
    assert {key: readiness[key] for key in asked} == asked
    for probe in (startup, liveness):
        assert (probe["tcpSocket"], probe["httpGet"]) == ({"port": 8000}, None)
