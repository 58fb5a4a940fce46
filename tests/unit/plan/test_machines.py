"""The machines behind workload profiles, and what a replica gets of one."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model import desired
from controller.plan import machines
from tests.unit.plan import wanted

TOMORROW = "Consumption-GPU-NC99-B300"


def on(kind: str, **spec: Any) -> tuple[desired.InferenceApp, desired.Environment]:
    """An app on a profile of that type; Consumption itself isn't listed."""
    counts = {"minimumCount": 0, "maximumCount": 1} if kind in desired.DEDICATED_TYPES else {}
    listed = [] if kind == "Consumption" else [{"name": "GPU", "type": kind, **counts}]
    name = "GPU" if listed else "Consumption"
    return wanted.app(workloadProfileName=name, **spec), wanted.environment(containerApps=wanted.profiles(*listed))


def asked(cpu: float, memory: str) -> dict[str, Any]:
    return {"cpu": cpu, "memory": memory}


@pytest.mark.parametrize(
    ("kind", "cpu", "memory"),
    [
        ("NC24-A100", 24, "220Gi"),
        ("NC48-A100", 48, "440Gi"),
        ("NC96-A100", 96, "880Gi"),
        ("D4", 4, "16Gi"),
        ("E32", 32, "256Gi"),
        ("Consumption", 0.5, "1Gi"),
        ("Consumption-GPU-NC8as-T4", 8, "56Gi"),
        ("Consumption-GPU-NC24-A100", 24, "220Gi"),
    ],
)
def test_an_app_that_does_not_say_gets_what_its_machine_has(kind: str, cpu: float, memory: str) -> None:
    """All of it, but on Consumption; that is legal there."""
    app, environment = on(kind)
    assert machines.resources(app, environment) == (cpu, memory)
    assert machines.problem(app, environment) is None
    machine = machines.of(app, environment)
    assert machine is not None
    assert machine.pairable(cpu, machines.gib(memory))


def test_an_app_that_says_gets_that() -> None:
    """Whatever its machine, even one that isn't known here."""
    for kind in ("NC24-A100", "Consumption", TOMORROW):
        assert machines.resources(*on(kind, resources=asked(1, "1.5Gi"))) == (1, "1.5Gi")


@pytest.mark.parametrize(
    ("kind", "cpu", "memory", "fits"),
    [
        pytest.param("NC24-A100", 24, "220Gi", True, id="the whole machine"),
        pytest.param("NC24-A100", 24.1, "220Gi", False, id="too many cores"),
        pytest.param("NC24-A100", 24, "220.5Gi", False, id="too much memory"),
        pytest.param("NC96-A100", 96, "880Gi", True, id="four GPUs"),
        pytest.param("D4", 4, "16Gi", True, id="D4"),
        pytest.param("D4", 4, "17Gi", False, id="D4 memory"),
        pytest.param("E32", 32, "256Gi", True, id="E32"),
        pytest.param("E4", 8, "32Gi", False, id="E4 cores"),
        pytest.param("Consumption-GPU-NC8as-T4", 8, "56Gi", True, id="T4"),
        pytest.param("Consumption-GPU-NC8as-T4", 24, "220Gi", False, id="an A100's on a T4"),
        pytest.param("Consumption", 4, "8Gi", True, id="Consumption"),
        pytest.param("Consumption", 4.25, "8.5Gi", False, id="too large for Consumption"),
        pytest.param("Consumption", 1, "4Gi", True, id="no pair, which a sidecar may make one"),
        pytest.param(TOMORROW, 500, "900Gi", True, id="not known here"),
    ],
)
def test_what_no_machine_holds(kind: str, cpu: float, memory: str, fits: bool) -> None:
    """By cores and by memory; what isn't known is left to Azure."""
    assert (machines.problem(*on(kind, resources=asked(cpu, memory))) is None) is fits


def test_what_is_too_large_is_told_with_the_largest() -> None:
    """The value, the profile and its machine, and what would fit."""
    assert machines.problem(*on("NC48-A100", resources=asked(96, "880Gi"))) == (
        "spec.resources: cpu 96, memory 880Gi: don't fit workload profile GPU (NC48-A100), whose machines have 48 "
        "cores, 440 GiB, 2 GPUs; set at most {cpu: 48, memory: 440Gi} or name a larger profile"
    )
    told = machines.problem(*on("Consumption", resources=asked(8, "16Gi")))
    assert told is not None
    assert "don't fit workload profile Consumption, whose machines have 4 cores, 8 GiB; set at most" in told


def test_nobody_knows_what_a_machine_of_tomorrow_has() -> None:
    """So the app must say what it takes of it."""
    app, environment = on(TOMORROW)
    told = f"spec.resources: set cpu and memory: what workload profile GPU ({TOMORROW}) has isn't known here"
    assert machines.problem(app, environment) == told
    with pytest.raises(LookupError):
        machines.resources(app, environment)


def test_the_table_has_every_dedicated_type() -> None:
    """And no other with counts."""
    for kind in desired.DEDICATED_TYPES:
        machine = machines.find(kind.lower())
        assert machine is not None
        assert (machine.type, machine.serverless) == (kind, False)
    for kind in ("Consumption", "Consumption-GPU-NC8as-T4", "Consumption-GPU-NC24-A100"):
        machine = machines.find(kind)
        assert machine is not None
        assert machine.serverless


def test_a_replica_takes_a_gpu() -> None:
    """However little of the rest it needs."""
    machine = machines.find("NC48-A100")
    assert machine is not None
    assert [machine.replicas(cpu, 8) for cpu in (48, 24, 2)] == [1, 2, 2]
