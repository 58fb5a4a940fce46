"""Whether an app fits where it is to run: the machine, the room for a rollout, serverless GPUs, the image's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from controller.model import desired, observed
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, fit, preflight
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
UPDATE = actions.Action("Update", "changed", body={"properties": {"template": {}}})
ONE = wanted.PROFILE | {"maximumCount": 1}
RECREATE = {"strategy": "Recreate"}
CANARY = {"strategy": "Canary", "steps": [{"weight": 10}]}


def subject(
    one: desired.InferenceApp | None = None,
    *profiles: Mapping[str, Any],
    action: actions.Action | None = CREATE,
    seen: observed.Stack | None = None,
    peers: tuple[desired.InferenceApp, ...] = (),
    mode: str = "Manage",
    live: observed.Workload | None = None,
) -> fit.App:
    """An app, by default the usual one on two A100s, that is about to be created."""
    stands_on = wanted.environment(containerApps=wanted.profiles(*(profiles or (wanted.PROFILE,))), mode=mode)
    plan = actions.Plan((actions.Step(Kind.APP, "phi3", "/phi3", action),))
    return fit.App(one or wanted.app(), stands_on, seen or observed.Stack(), plan, peers, live)


def said(of: fit.App, answer: preflight.Answer = ()) -> list[tuple[str, str, str]]:
    found = of.findings(dict.fromkeys(of.questions, answer))
    return [(one.level, one.check, one.message) for one in found]


def on(profile: str, cpu: float, memory: str, **spec: Any) -> desired.InferenceApp:
    """An app of which it is said whether it keeps sessions."""
    whole = {"resources": {"cpu": cpu, "memory": memory}, "ingress": {"sticky": True}} | spec
    return wanted.app(workloadProfileName=profile, **whole)


def running(profile: str, *, least: int = 1, mode: str = "Single", counts: tuple[int, ...] = ()) -> observed.Workload:
    """A live app on the profile; `counts` are the replicas of its active revisions, none where they weren't read."""
    template = {"containers": [{"name": "phi3"}], "scale": {"minReplicas": least}}
    configuration = {"activeRevisionsMode": mode}
    properties = {"workloadProfileName": profile, "configuration": configuration, "template": template}
    app = wanted.live("Microsoft.App/containerApps", "phi3", properties=properties)
    active = [
        wanted.live("r", f"phi3--{at}", properties={"active": True, "replicas": n}) for at, n in enumerate(counts)
    ]
    gone = wanted.live("r", "phi3--old", properties={"active": False, "replicas": 7})
    return observed.Workload(observed.Stack(), app=app, revisions=(gone, *active))


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
    ("cpu", "memory", "fits"),
    [
        pytest.param(0.25, "0.5Gi", True, id="least"),
        pytest.param(4, "8Gi", True, id="most"),
        pytest.param(0.3, "0.6Gi", False, id="between"),
        pytest.param(1, "4Gi", False, id="no pair"),
    ],
)
def test_consumption_takes_pairs(cpu: float, memory: str, fits: bool) -> None:
    """Twice as many GiB as cores, in quarters of a core; without the profile being listed."""
    found = said(subject(on("Consumption", cpu, memory)))
    assert [one[:2] for one in found] == ([] if fits else [("error", "resources")])
    assert fits or "as in {cpu: 4, memory: 8Gi}; set such a pair or name another profile" in found[0][2]


def test_a_pair_counts_what_others_added() -> None:
    """The service sums the containers up, so that one of several needn't be a pair."""
    live = running("Consumption")
    assert live.app is not None
    alone = subject(on("Consumption", 1, "4Gi"), action=UPDATE, live=live)
    assert [one[1] for one in said(alone)] == ["resources"]
    two = wanted.with_properties(live.app, template={"containers": [{"name": "phi3"}, {"name": "sidecar"}]})
    assert said(subject(on("Consumption", 1, "4Gi"), action=UPDATE, live=replace(live, app=two))) == []


def test_a_type_of_tomorrow_is_left_to_azure() -> None:
    """Its machine isn't known here."""
    of = subject(on("new", 500, "900Gi"), {"name": "new", "type": "Consumption-GPU-NC99-B300"}, seen=THERE)
    assert said(of) == []
    assert of.questions == ()


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


@pytest.mark.parametrize("rollout", [{}, {"strategy": "BlueGreen"}, CANARY])
def test_one_machine_is_too_few_for_a_rollout(rollout: dict[str, Any]) -> None:
    """The new revision would wait for the old one's machine, which it keeps until the new one serves."""
    for action, live in ((CREATE, None), (UPDATE, running("GPU", mode="Multiple" if rollout else "Single"))):
        assert said(subject(wanted.app(rollout=rollout), ONE, action=action, live=live)) == [
            (
                "warning",
                "room",
                "workload profile GPU (NC24-A100) of Environment gpu-west: maximumCount 1 leaves no room for a new "
                "revision beside the one that serves: a rollout would wait for a machine; raise maximumCount to 2, or "
                "set spec.rollout.strategy to Recreate, which stops the old one first",
            )
        ]


def test_one_machine_is_enough_to_recreate() -> None:
    """At the price that nothing answers meanwhile, and that the machine may be gone."""
    app = wanted.app(rollout=RECREATE)
    assert said(subject(app, ONE)) == []
    assert said(subject(app, ONE, action=UPDATE, live=running("gpu"))) == [
        (
            "warning",
            "recreate",
            "spec.rollout.strategy: Recreate stops the old revision first: nothing answers until the new one is ready, "
            "and the 1 GPU it lets go on workload profile GPU (NC24-A100) may not come back",
        )
    ]


@pytest.mark.parametrize(
    ("profile", "live", "warned"),
    [
        pytest.param(ONE | {"minimumCount": 1}, "GPU", False, id="the machine is kept"),
        pytest.param({"name": "GPU", "type": "D4", "minimumCount": 0, "maximumCount": 1}, "GPU", False, id="no GPU"),
        pytest.param(ONE, "Other", False, id="runs elsewhere"),
        pytest.param({"name": "GPU", "type": "Consumption-GPU-NC8as-T4"}, "GPU", True, id="serverless"),
    ],
)
def test_a_gpu_may_not_come_back(profile: dict[str, Any], live: str, warned: bool) -> None:
    """Where there is one, where the old revision has it, and where nobody keeps it."""
    of = subject(wanted.app(rollout=RECREATE), profile, action=UPDATE, live=running(live))
    assert [one[1] for one in said(of)] == (["recreate"] if warned else [])


def test_too_many_apps_for_the_machines() -> None:
    """Then to stop the old revision first doesn't help."""
    for rollout, most in (({}, 3), (RECREATE, 2)):
        of = subject(wanted.app(rollout=rollout), ONE, peers=(wanted.app(),))
        assert said(of) == [
            (
                "warning",
                "room",
                "workload profile GPU (NC24-A100) of Environment gpu-west: maximumCount 1 is too few for the apps on "
                f"it; raise maximumCount to {most}",
            )
        ]


@pytest.mark.parametrize(
    ("live", "needed"),
    [
        pytest.param(running("GPU"), 2, id="one"),
        pytest.param(running("GPU", least=3), 4, id="by the scale"),
        pytest.param(running("GPU", counts=(2, 3)), 6, id="by the revisions"),
        pytest.param(running("Other", least=3), 2, id="elsewhere"),
    ],
)
def test_live_replicas_take_room(live: observed.Workload, needed: int) -> None:
    """As many as are known to run: the new revision gets its own beside them."""
    (one,) = said(subject(None, ONE, action=UPDATE, live=live))
    assert f"raise maximumCount to {needed}, or set" in one[2]


def test_small_replicas_share_a_machine() -> None:
    """Ten of 0.4 cores fit one machine of 4 cores, half of them for the rollout."""
    profile = {"name": "X", "type": "D4", "minimumCount": 0, "maximumCount": 1}
    small = on("X", 0.4, "1Gi", scale=replicas(5, 10))
    assert said(subject(small, profile)) == []
    full = on("X", 0.4, "1Gi", scale=replicas(6, 10))
    assert "raise maximumCount to 2" in said(subject(full, profile))[0][2]


def test_a_sleeping_app_counts_as_awake() -> None:
    """It is awake whenever somebody uses it."""
    assert said(subject(wanted.app(scale=replicas(0, 1)), ONE))[0][1] == "room"


def test_neighbours_take_room() -> None:
    """Those on the same profile, whatever the casing of its name; what is too large for it takes a whole machine."""
    two, three = (wanted.PROFILE | {"maximumCount": count} for count in (2, 3))
    assert said(subject(None, two, peers=(on("Consumption", 1, "2Gi"),))) == []
    assert "raise maximumCount to 3" in said(subject(None, two, peers=(wanted.app(),)))[0][2]
    assert said(subject(None, three, peers=(on("GPU", 96, "880Gi"),))) == []


def test_more_replicas_than_machines() -> None:
    """Scaling out would stop before maxReplicas."""
    (one,) = said(subject(on("GPU", 24, "220Gi", scale=replicas(1, 3))))
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


@pytest.mark.parametrize(
    ("rollout", "used", "live", "told"),
    [
        pytest.param({}, (2, 2), None, "in the Azure portal (Quotas)", id="nothing to stop"),
        pytest.param({}, (2, 2), running("A100"), "or set spec.rollout.strategy to Recreate,", id="Rolling"),
        pytest.param(RECREATE, (2, 2), running("A100"), None, id="Recreate"),
        pytest.param(RECREATE, (2, 2), running("Other"), "in the Azure portal (Quotas)", id="holds none"),
    ],
)
def test_a_quota_that_the_old_revision_uses_up(
    rollout: dict[str, Any], used: tuple[float, float], live: observed.Workload | None, told: str | None
) -> None:
    """It is free for the new one where the old one is stopped first."""
    of = subject(on("A100", 24, "220Gi", rollout=rollout), A100, action=UPDATE, seen=THERE, live=live)
    found = [message for _, check, message in said(of, gpus(*used)) if check == "quota"]
    assert [told is not None and told in message for message in found] == ([True] if told else [])
    assert all(("Recreate" in message) is ("Recreate" in str(told)) for message in found)


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


# What a rollout will do


@pytest.mark.parametrize(
    ("mode", "rollout", "told"),
    [
        ("Single", {}, None),
        ("single", RECREATE, None),
        ("Multiple", CANARY, None),
        (
            "Single",
            {"strategy": "BlueGreen"},
            "BlueGreen: the revision mode Single becomes Multiple, before a new revision is made; the one that serves "
            "keeps all traffic until that is proven",
        ),
        (
            "Multiple",
            {},
            "Rolling: the revision mode Multiple becomes Single, once the latest revision has all traffic; the others "
            "are stopped then",
        ),
    ],
)
def test_a_change_of_the_revision_mode_is_told(mode: str, rollout: dict[str, Any], told: str | None) -> None:
    """Whatever else is written; not of an app that isn't there yet, nor where nothing is to be written."""
    tags = actions.Action("Update", "changed", body={"tags": {}})
    live = running("GPU", mode=mode)
    expected = [("note", "mode", f"spec.rollout.strategy: {told}")] if told else []
    assert said(subject(wanted.app(rollout=rollout), action=tags, live=live)) == expected
    assert said(subject(wanted.app(rollout=rollout), action=None, live=live)) == []
    assert said(subject(wanted.app(rollout=rollout))) == []


def test_sticky_sessions_nobody_asked_for_are_told() -> None:
    """When they are set: with the app, or by an update; said in the YAML, they are no news."""
    many: dict[str, Any] = {"scale": replicas(1, 2)}
    config = {"ingress": {"stickySessions": {"affinity": "sticky"}}}
    sets, keeps = (
        actions.Action("Update", "changed", body={"properties": {"configuration": each}})
        for each in (config, {"ingress": {"targetPort": 8000}})
    )
    told = (
        "note",
        "sessions",
        "spec.scale.maxReplicas: 2: sticky sessions are set, so that a client stays with one replica; if the app keeps "
        "no sessions set spec.ingress.sticky to false",
    )
    assert said(subject(wanted.app(**many))) == [told]
    assert said(subject(wanted.app(**many), action=sets)) == [told]
    assert said(subject(wanted.app(**many), action=keeps)) == []
    assert said(subject(wanted.app())) == []
    for sticky in (True, False):
        assert said(subject(wanted.app(**many, ingress={"sticky": sticky}))) == []


@pytest.mark.parametrize(
    ("limit", "budget", "probes", "told"),
    [
        ("20m", "20m", None, False),
        ("20m", "21m", None, True),
        ("20m", "21m", "Keep", False),
    ],
)
def test_a_deadline_before_the_budget(limit: str, budget: str, probes: str | None, told: bool) -> None:
    """A release would be given up while its startup probe still waits for it; live probes aren't known."""
    found = said(subject(wanted.app(rollout={"deadline": limit}, startupBudget=budget, probes=probes)))
    expected = (
        "warning",
        "deadline",
        "spec.rollout.deadline: 20m is shorter than spec.startupBudget, 21m: a release that needs longer to start is "
        "given up before; raise the deadline or lower the budget",
    )
    assert found == ([expected] if told else [])


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


# The model


MODEL = {"base": "models/phi", "adapter": "models/pirate"}
EMPTY = observed.Folder(frozenset(), {})
SHARE = wanted.live("Microsoft.Storage/storageAccounts/fileServices/shares", "phi3share")


@pytest.mark.parametrize(
    ("seen", "live", "found"),
    [
        pytest.param(
            observed.Stack(),
            None,
            [
                (
                    "note",
                    "model",
                    "spec.model: the share isn't there yet: upload models/phi and models/pirate once it is; the "
                    "release waits for it",
                )
            ],
            id="no share",
        ),
        pytest.param(
            observed.Stack(share=SHARE),
            None,
            [
                (
                    "note",
                    "model",
                    "unknown: whether models/phi and models/pirate are on the share: needs "
                    "Microsoft.Storage/storageAccounts/listKeys/action",
                )
            ],
            id="a reader",
        ),
        pytest.param(observed.Stack(share=SHARE, keys=("k",)), running("GPU"), [], id="not looked at"),
        pytest.param(
            observed.Stack(share=SHARE, keys=("k",)),
            observed.Workload(observed.Stack(), weights=observed.Weights(EMPTY, None)),
            [
                (
                    "warning",
                    "model",
                    "spec.model.base: models/phi isn't on the share, or is empty; upload it: the release waits for it",
                )
            ],
            id="missing",
        ),
    ],
)
def test_the_model_is_looked_for(
    seen: observed.Stack, live: observed.Workload | None, found: list[tuple[str, str, str]]
) -> None:
    """Where a new release is to load it; what isn't known is told as that."""
    assert said(subject(wanted.app(env=[], model=MODEL), seen=seen, live=live)) == found
    assert said(subject(seen=seen, live=live)) == []
