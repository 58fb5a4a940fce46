"""Whether an app fits where it is to run: the machine, the room for a rollout, serverless GPUs, the image's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from controller.model import desired, observed
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, fit, machines, preflight
from tests.unit.plan import wanted
from tests.unit.plan.quotas import usage

A100 = {"name": "A100", "type": "Consumption-GPU-NC24-A100"}
LIVE = wanted.live(
    "Microsoft.App/managedEnvironments",
    "phi3-env",
    properties={"workloadProfiles": [{"name": "Big", "workloadProfileType": "D4", "maximumCount": 2}]},
)
THERE = observed.Stack(environment=LIVE)
QUESTION = preflight.Question("environment", wanted.SUBSCRIPTION, LIVE.id)
CREATE = actions.Action("Create", "missing")


def subject(
    one: desired.InferenceApp | None = None,
    *profiles: Mapping[str, Any],
    action: actions.Action | None = CREATE,
    seen: observed.Stack | None = None,
    peers: tuple[desired.InferenceApp, ...] = (),
    mode: str = "Manage",
) -> fit.App:
    """An app, by default the usual one on two A100s, that is about to be created."""
    stands_on = wanted.environment(containerApps=wanted.profiles(*(profiles or (wanted.PROFILE,))), mode=mode)
    plan = actions.Plan((actions.Step(Kind.APP, "phi3", "/phi3", action),))
    return fit.App(one or wanted.app(), stands_on, seen or observed.Stack(), plan, peers)


def said(of: fit.App, answer: preflight.Answer = ()) -> list[tuple[str, str, str]]:
    found = of.findings(dict.fromkeys(of.questions, answer))
    return [(one.level, one.check, one.message) for one in found]


def on(profile: str, cpu: float, memory: str, **spec: Any) -> desired.InferenceApp:
    return wanted.app(workloadProfileName=profile, resources={"cpu": cpu, "memory": memory}, **spec)


def replicas(least: int, most: int) -> dict[str, int]:
    return {"minReplicas": least, "maxReplicas": most}


def gpus(current: float, limit: float) -> preflight.Answer:
    return (usage("ManagedEnvironmentConsumptionNCA100Gpus", current, limit),)


# What is judged


@pytest.mark.parametrize(
    ("action", "judged"),
    [
        pytest.param(None, False, id="nothing"),
        pytest.param(CREATE, True, id="create"),
        pytest.param(actions.Action("Update", "adopted", body={"tags": {}}), False, id="tags"),
        pytest.param(
            actions.Action("Update", "drift", body={"properties": {"configuration": {}}}), False, id="ingress"
        ),
        pytest.param(actions.Action("Update", "changed", body={"properties": {"template": {}}}), True, id="template"),
        pytest.param(
            actions.Action("Update", "changed", body={"properties": {"workloadProfileName": "T4"}}), True, id="profile"
        ),
    ],
)
def test_only_what_starts_replicas_is_judged(action: actions.Action | None, judged: bool) -> None:
    """What runs already was taken once."""
    of = subject(on("A100", 99, "99Gi", image="python"), A100, action=action, seen=THERE)
    assert bool(said(of)) is judged
    assert of.questions == ((QUESTION,) if judged else ())


def test_where_all_fits_nothing_is_said() -> None:
    """One replica on each of two machines: the old revision's and the new one's."""
    assert said(subject()) == []


# The machine


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
    ],
)
def test_a_replica_fits_a_dedicated_machine(kind: str, cpu: float, memory: str, fits: bool) -> None:
    """By cores and by memory."""
    of = subject(on("X", cpu, memory), {"name": "X", "type": kind, "minimumCount": 0, "maximumCount": 9})
    assert [one[:2] for one in said(of)] == ([] if fits else [("error", "resources")])


def test_what_does_not_fit_is_told_with_the_machine() -> None:
    """The value, the profile and its size, and what to do."""
    profile = {"name": "big", "type": "NC48-A100", "minimumCount": 0, "maximumCount": 9}
    assert said(subject(on("big", 96, "880Gi"), profile)) == [
        (
            "error",
            "resources",
            "spec.resources: cpu 96, memory 880Gi: don't fit workload profile big (NC48-A100), whose machines have 48 "
            "cores, 440 GiB, 2 GPUs; lower them or name a larger profile",
        )
    ]


@pytest.mark.parametrize(
    ("cpu", "memory", "fits"),
    [
        pytest.param(0.25, "0.5Gi", True, id="least"),
        pytest.param(4, "8Gi", True, id="most"),
        pytest.param(4.25, "8.5Gi", False, id="too large"),
        pytest.param(0.3, "0.6Gi", False, id="between"),
        pytest.param(1, "4Gi", False, id="no pair"),
    ],
)
def test_consumption_takes_pairs(cpu: float, memory: str, fits: bool) -> None:
    """Twice as many GiB as cores, in quarters of a core; without the profile being listed."""
    found = said(subject(on("Consumption", cpu, memory)))
    assert [one[:2] for one in found] == ([] if fits else [("error", "resources")])
    assert fits or "as in {cpu: 4, memory: 8Gi}; set such a pair or name another profile" in found[0][2]


def test_a_type_of_tomorrow_is_left_to_azure() -> None:
    """Its machine isn't known here."""
    of = subject(on("new", 500, "900Gi"), {"name": "new", "type": "Consumption-GPU-NC99-B300"}, seen=THERE)
    assert said(of) == []
    assert of.questions == ()
    assert machines.find("Consumption-GPU-NC99-B300") is None


def test_a_profile_that_nobody_adds() -> None:
    """An Environment that is only observed stays without it; the ones there are told."""
    of = subject(mode="Observe", seen=THERE)
    assert said(of) == [
        (
            "error",
            "profile",
            "spec.workloadProfileName: the managed environment has no workload profile GPU (NC24-A100), only Big (D4), "
            "and Environment gpu-west, in mode Observe, adds none; add it in Azure or set mode: Manage there",
        )
    ]
    assert of.questions == ()
    bare = subject(mode="Observe", seen=observed.Stack(environment=wanted.live("e", "e")))
    assert "only Consumption, and" in said(bare)[0][2]


def test_a_profile_that_is_there_or_will_be() -> None:
    """Consumption always is; an Environment that isn't observed adds what it lacks."""
    assert said(subject(on("Consumption", 1, "2Gi"), mode="Observe", seen=THERE)) == []
    big = {"name": "big", "type": "D4", "minimumCount": 0, "maximumCount": 2}
    assert said(subject(on("big", 4, "16Gi"), big, mode="Observe", seen=THERE)) == []
    assert said(subject(mode="Observe")) == []
    assert said(subject(seen=THERE)) == []


# The room for a rollout


def test_one_machine_is_too_few_for_a_rollout() -> None:
    """The new revision would wait for the old one's machine, which it keeps until the new one is ready."""
    assert said(subject(None, wanted.PROFILE | {"maximumCount": 1})) == [
        (
            "warning",
            "room",
            "workload profile GPU (NC24-A100) of Environment gpu-west: maximumCount 1 leaves no room for a new "
            "revision beside the one that serves: a rollout would wait for a machine; raise maximumCount to 2",
        )
    ]


def test_small_replicas_share_a_machine() -> None:
    """Ten of 0.4 cores fit one machine of 4 cores, two of them for the rollout."""
    profile = {"name": "X", "type": "D4", "minimumCount": 0, "maximumCount": 1}
    small = on("X", 0.4, "1Gi", scale=replicas(9, 10))
    assert said(subject(small, profile)) == []
    full = on("X", 0.4, "1Gi", scale=replicas(10, 10))
    assert "raise maximumCount to 2" in said(subject(full, profile))[0][2]


def test_a_sleeping_app_counts_as_awake() -> None:
    """It is awake whenever somebody uses it."""
    assert said(subject(wanted.app(scale=replicas(0, 1)), wanted.PROFILE | {"maximumCount": 1}))[0][1] == "room"


def test_neighbours_take_room() -> None:
    """Those on the same profile, whatever the casing of its name; what is too large for it takes a whole machine."""
    two, three = (wanted.PROFILE | {"maximumCount": count} for count in (2, 3))
    assert said(subject(None, two, peers=(on("Consumption", 1, "2Gi"),))) == []
    assert "raise maximumCount to 3" in said(subject(None, two, peers=(wanted.app(),)))[0][2]
    assert said(subject(None, three, peers=(on("GPU", 96, "880Gi"),))) == []


def test_more_replicas_than_machines() -> None:
    """Scaling out would stop before maxReplicas."""
    (one,) = said(subject(wanted.app(scale=replicas(1, 3))))
    assert one == (
        "warning",
        "room",
        "spec.scale.maxReplicas: 3 can't all run: workload profile GPU (NC24-A100) holds 2 at maximumCount 2; raise "
        "that or lower maxReplicas",
    )


# Serverless GPUs


def test_serverless_gpus_ask_the_environment() -> None:
    """One that isn't there yet can't be asked, and other profiles need not."""
    assert subject(on("A100", 24, "220Gi"), A100, seen=THERE).questions == (QUESTION,)
    assert subject(on("A100", 24, "220Gi"), A100).questions == ()
    assert subject(on("Consumption", 1, "2Gi"), A100, seen=THERE).questions == ()
    assert subject(seen=THERE).questions == ()


@pytest.mark.parametrize(
    ("used", "scale", "level", "told"),
    [
        pytest.param((0, 2), (1, 2), None, "", id="enough"),
        pytest.param((1, 2), (1, 2), None, "", id="one left for the rollout"),
        pytest.param((0, 0), (0, 1), "error", "needs 1 GPU, the environment has none: 0 of 0 in use", id="none"),
        pytest.param((2, 2), (1, 2), "warning", "the environment has 0 left: 2 of 2 in use", id="all in use"),
        pytest.param((0, 2), (3, 3), "warning", "needs 3 GPUs, the environment has 2 left", id="too many at once"),
        pytest.param((0, 2), (1, 3), "warning", "maxReplicas: 3 can't all run: 0 of 2 in use", id="too many at most"),
    ],
)
def test_quota_of_serverless_gpus(
    used: tuple[float, float], scale: tuple[int, int], level: str | None, told: str
) -> None:
    """None at all can't work; too few for the rollout may wait; too few for the most is never reached."""
    of = subject(on("A100", 24, "220Gi", scale=replicas(*scale)), A100, seen=THERE)
    found = said(of, gpus(*used))
    assert [one[:2] for one in found] == ([(level, "quota")] if level else [])
    assert told in "".join(one[2] for one in found)


def test_quota_that_is_not_told() -> None:
    """Neither by the service, nor to a reader."""
    of = subject(on("A100", 24, "220Gi"), A100, seen=THERE)
    (missing,) = said(of, ())
    assert missing[:2] == ("note", "quota")
    assert "tells none called ManagedEnvironmentConsumptionNCA100Gpus" in missing[2]
    (denied,) = said(of, preflight.Unanswered(Reason.FORBIDDEN, "no"))
    assert denied == (
        "note",
        "environment",
        "unknown: what quota is left in the environment: needs Microsoft.App/managedEnvironments/usages/read",
    )


# The image's name


@pytest.mark.parametrize(
    ("image", "told"),
    [
        pytest.param("docker.io/library/python:3.12", None, id="tag"),
        pytest.param("python@sha256:" + "0" * 64, None, id="digest"),
        pytest.param("python:latest@sha256:" + "0" * 64, None, id="latest by digest"),
        pytest.param("registry.example:5000/python:3.12", None, id="port and tag"),
        pytest.param("registry.example:5000/python", "has no tag, which means latest", id="port, no tag"),
        pytest.param("python", "has no tag, which means latest", id="no tag"),
        pytest.param("python:latest", "has the tag latest", id="latest"),
    ],
)
def test_an_image_that_may_be_another_tomorrow(image: str, told: str | None) -> None:
    """A restart pulls it again."""
    found = said(subject(wanted.app(image=image)))
    expected = f"spec.image: {image} {told}: a restart may run other code; name a version or a digest"
    assert found == ([("warning", "image", expected)] if told else [])
