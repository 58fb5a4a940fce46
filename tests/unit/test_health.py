"""What the service's own answers say about a resource's health, state by state."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from controller import health
from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from tests.unit import answers

ACTIVATING = tuple(observed.Resource(one) for one in answers.revisions_starting())
CRASHING = tuple(observed.Resource(one) for one in answers.revisions_crashing())
RUNNING, NEW = ACTIVATING
STARTED = datetime.fromisoformat("2026-11-20T08:16:05+00:00")
"""When NEW began."""

ROLLOUT = health.Rollout("r1", deadline=600, successes=0, streak=0)
CHECKED = health.Rollout("r1", deadline=600, successes=3, streak=0)


def resource(**properties: Any) -> observed.Resource:
    return observed.Resource({"name": "phi3-env", "properties": properties})


def revision(**properties: Any) -> observed.Resource:
    return observed.Resource({**NEW.body, "properties": {**NEW.properties, **properties}})


def healthy(**properties: Any) -> observed.Resource:
    return revision(**{"healthState": "Healthy", "runningState": "Running"} | properties)


def judged(
    live: observed.Resource | None,
    *,
    rollout: health.Rollout = ROLLOUT,
    after: float = 60,
    check: observed.Check | None = None,
    replicas: tuple[observed.Resource, ...] = (),
    app: observed.Resource | None = None,
    why: health.Why | None = None,
    started: datetime | None = None,
) -> outcome.Outcome:
    """The verdict `after` seconds from the revision's creation."""
    seen = observed.Workload(observed.Stack(), app, (live,) if live else (), replicas, check=check)
    now = STARTED + timedelta(seconds=after)
    return health.revision(rollout, live, seen=seen, why=why, started=started, now=now)


# Resources


@pytest.mark.parametrize(
    ("properties", "verdict"),
    [
        ({}, outcome.Done()),
        ({"provisioningState": "Succeeded"}, outcome.Done()),
        ({"provisioningState": "succeeded", "deploymentErrors": "ManagedEnvironmentIdleWarning …"}, outcome.Done()),
        (
            {"provisioningState": "Updating"},
            outcome.InProgress(Reason.PROVISIONING, "managedEnvironment phi3-env is Updating"),
        ),
        (
            {"provisioningState": "Canceled"},
            outcome.Stalled(
                Reason.PROVISIONING_FAILED, "managedEnvironment phi3-env: provisioningState is Canceled", slowly=True
            ),
        ),
    ],
)
def test_a_resource_by_its_provisioning_state(properties: dict[str, Any], verdict: outcome.Outcome) -> None:
    """For kinds other than revisions it is all there is."""
    assert health.resource(Kind.ENVIRONMENT, resource(**properties)) == verdict


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        (
            answers.environment_failed(),
            Kind.ENVIRONMENT,
            "ErrorCode: ManagedEnvironmentUpgradeError, Message: Update the managed environment failed.",
        ),
        (answers.app_expired(), Kind.APP, "Operation expired"),
    ],
)
def test_a_failure_says_why(body: dict[str, Any], kind: Kind, why: str) -> None:
    """In the service's words; it is looked at again, seldom."""
    verdict = health.resource(kind, observed.Resource(body))

    assert isinstance(verdict, outcome.Stalled)
    assert (verdict.reason, verdict.slowly) == (Reason.PROVISIONING_FAILED, True)
    assert verdict.message.endswith(why)


def test_an_operation_began_with_the_last_write() -> None:
    """Its age sets the pace of looking; the answer to a PUT tells it."""
    verdict = health.resource(Kind.APP, observed.Resource(answers.app_accepted()))

    assert isinstance(verdict, outcome.InProgress)
    assert verdict.since == datetime.fromisoformat("2026-11-20T08:15:20.123456+00:00")


def test_nothing_there_is_waited_for() -> None:
    """It is about to be made."""
    assert health.resource(Kind.APP, None) == outcome.Waiting(
        Reason.DEPENDENCY_NOT_READY, "containerApp isn't there yet"
    )


# Revisions


@pytest.mark.parametrize(
    ("provisioning", "health_state", "running", "verdict"),
    [
        ("Provisioned", "Healthy", "Running", outcome.Done),
        ("Provisioned", "Healthy", "RunningAtMaxScale", outcome.Done),
        ("Provisioned", "None", "Activating", outcome.InProgress),
        ("Provisioning", "None", "Processing", outcome.InProgress),
        ("Provisioning", "Healthy", "Processing", outcome.InProgress),
        ("Provisioned", "None", "Running", outcome.InProgress),
        ("Provisioned", "Unhealthy", "Running", outcome.InProgress),
        ("Provisioned", "Healthy", "Deprovisioning", outcome.InProgress),
        ("Provisioned", "Healthy", "Stopped", outcome.InProgress),
        ("Provisioned", "Unhealthy", "Degraded", outcome.InProgress),
        ("Provisioned", "None", "ScaledToZero", outcome.Done),
        ("Provisioned", "Healthy", "ScaledToZero", outcome.Done),
        ("Provisioned", "Unhealthy", "ScaledToZero", outcome.InProgress),
        ("Failed", "Unhealthy", "Failed", outcome.Stalled),
        ("Provisioned", "Unhealthy", "Failed", outcome.Stalled),
        ("Failed", "None", "ScaledToZero", outcome.Stalled),
    ],
)
def test_a_revision_by_its_three_states(
    provisioning: str, health_state: str, running: str, verdict: type[outcome.Outcome]
) -> None:
    """Within its deadline."""
    live = revision(provisioningState=provisioning, healthState=health_state, runningState=running)

    assert type(judged(live)) is verdict


def test_revisions_as_the_service_lists_them() -> None:
    """The old one serves, the new one starts, and the crashing one is Stalled though its app says Succeeded."""
    assert health.healthy(RUNNING)
    assert not health.healthy(NEW)
    assert [health.broken(one) for one in (*ACTIVATING, *CRASHING)] == [False, False, True, True]

    starting = judged(NEW)
    assert starting == outcome.InProgress(Reason.ROLLING_OUT, "revision aiacaappokxj5--0000001 is Activating", STARTED)
    crashed = judged(CRASHING[1])
    assert crashed == outcome.Stalled(
        Reason.UNKNOWN,
        "revision aiacaappokxj5--0000001 is Failed; 1/1 Container crashing: aiacamountokxj5; "
        "Container crashing: aiacamountokxj5",
        slowly=True,
    )


def test_a_failure_has_a_cause() -> None:
    """Its reason and its words, and then the platform's that aren't in them."""
    live = revision(provisioningState="Failed", runningState=None, runningStateDetails="1/1 crashing: phi3")
    why = health.Why(Reason.COMMAND_FAILED, "it ends: 1/1 crashing: phi3")
    verdict = judged(live, why=why)
    said = "revision aiacaappokxj5--0000001 is Failed; it ends: 1/1 crashing: phi3"
    live = revision(provisioningState="Failed", runningState="Failed", runningStateDetails="1/1 crashing: phi3")
    assert judged(live, why=why) == outcome.Stalled(Reason.COMMAND_FAILED, said, slowly=True)
    assert isinstance(verdict, outcome.Stalled)


def test_a_gpu_may_come_at_any_moment() -> None:
    """However long it takes, the release isn't judged for it."""
    why = health.Why(Reason.NO_CAPACITY, "no GPU is free", passes=True)
    words = "aiacaappokxj5--0000001: no GPU is free"
    told = outcome.InProgress(Reason.NO_CAPACITY, f"{words}; it waits since 2026-11-20T08:16:05Z", STARTED)
    assert judged(NEW, why=why, after=10**6) == told
    undated = judged(revision(createdTime=None), why=why)
    assert undated == outcome.InProgress(Reason.NO_CAPACITY, words, None)


def test_what_is_the_platforms_doing_is_told_at_once() -> None:
    """People mend it; the deadline has nothing to do with it."""
    why = health.Why(Reason.IMAGE_PULL_FAILED, "no such image", passes=True)
    told = outcome.Stalled(Reason.IMAGE_PULL_FAILED, "aiacaappokxj5--0000001: no such image", slowly=True)
    assert judged(NEW, why=why) == told
    assert judged(healthy(), why=why) == outcome.Done(SERVES)


def test_replicas_tell_why() -> None:
    """Containers that aren't ready, each sentence once."""
    replicas = tuple(observed.Resource(one) for one in answers.replicas())
    fine = observed.Resource({"properties": {"containers": [{"ready": True, "runningStateDetails": "all well"}, {}]}})

    verdict = judged(NEW, replicas=(*replicas, fine, observed.Resource({})))

    assert verdict.message == (
        "revision aiacaappokxj5--0000001 is Activating; Container started at: 11/20/2026 8:16:12 AM."
    )


@pytest.mark.parametrize(("after", "stalled"), [(599, False), (600, False), (601, True)])
def test_the_deadline_runs_from_the_revisions_start(after: float, stalled: bool) -> None:
    """Past it, what keeps it from being ready is named."""
    verdict = judged(NEW, after=after)

    assert isinstance(verdict, outcome.Stalled) is stalled
    if isinstance(verdict, outcome.Stalled):
        assert verdict.reason == Reason.DEADLINE_EXCEEDED
        assert verdict.message.startswith(
            "not ready 600 s after its start; revision aiacaappokxj5--0000001 is Activating"
        )


def test_the_deadline_runs_from_the_containers_start() -> None:
    """Not from the day the revision began to wait for a GPU."""
    assert isinstance(judged(NEW, after=2000, started=STARTED + timedelta(seconds=1500)), outcome.InProgress)
    assert isinstance(judged(NEW, after=2101, started=STARTED + timedelta(seconds=1500)), outcome.Stalled)


def test_what_is_known_is_the_reason_past_the_deadline() -> None:
    """One that was ready before fails its probes; else it is what was recognised."""
    late = judged(revision(runningState="Degraded", healthState="Unhealthy"), after=601)
    assert isinstance(late, outcome.Stalled)
    assert late.reason == Reason.PROBE_FAILED
    late = judged(NEW, after=601, why=health.Why(Reason.MODEL_NOT_FOUND, "no such model"))
    assert isinstance(late, outcome.Stalled)
    assert late.reason == Reason.MODEL_NOT_FOUND
    assert "no such model" in late.message


def test_what_wakes_from_zero_has_no_deadline() -> None:
    """It was healthy before, and its revision is as old as it is."""
    assert isinstance(judged(revision(healthState="Healthy"), after=10**6), outcome.InProgress)


def test_without_a_start_there_is_no_deadline() -> None:
    """Nothing is judged by a time nobody told."""
    assert judged(revision(createdTime=None), after=10**6) == outcome.InProgress(
        Reason.ROLLING_OUT, "revision aiacaappokxj5--0000001 is Activating", None
    )


def test_a_revision_that_is_missing_is_waited_for() -> None:
    """Until the deadline, though the app's operation has succeeded."""
    app = observed.Resource(answers.app_rolling_out())
    written = datetime.fromisoformat("2026-11-20T08:15:59.765432+00:00")

    assert judged(None, app=app) == outcome.InProgress(
        Reason.ROLLING_OUT, "waiting for the revision of release r1", written
    )
    late = judged(None, app=app, after=900)
    assert late == outcome.Stalled(
        Reason.DEADLINE_EXCEEDED, "no revision of release r1 600 s after the app was written", slowly=True
    )
    assert isinstance(judged(None, after=900), outcome.InProgress)


# The check


def check(status: int | None = 200, release: str | None = "r1", *, conclusive: bool = True) -> observed.Check:
    return observed.Check(status, release, f"answered {status}", conclusive)


SERVES = "revision aiacaappokxj5--0000001 serves release r1"


@pytest.mark.parametrize(
    ("streak", "answer", "after", "verdict"),
    [
        (3, None, 60, outcome.Done(SERVES)),
        (3, check(503), 900, outcome.Done(SERVES)),
        (0, None, 60, "check 0 of 3 passed"),
        (2, check(), 60, "check 2 of 3 passed"),
        (2, check(release=None), 900, "check 2 of 3 passed"),
        (0, check(503), 60, "answered 503"),
        (0, check(200, "r0"), 60, "answered 200"),
        (0, check(None, None), 60, "answered None"),
        (
            0,
            check(503),
            601,
            outcome.Stalled(Reason.CHECK_FAILED, "aiacaappokxj5--0000001: answered 503", slowly=True),
        ),
        (0, check(403, conclusive=False), 601, outcome.Done(f"{SERVES}; the check was inconclusive: answered 403")),
    ],
)
def test_a_healthy_revision_must_answer(
    streak: int, answer: observed.Check | None, after: float, verdict: outcome.Outcome | str
) -> None:
    """So many times in a row, as the wanted release; an inconclusive answer leaves it to the platform's health."""
    rollout = health.Rollout("r1", deadline=600, successes=3, streak=streak)

    told = judged(healthy(), rollout=rollout, check=answer, after=after)

    if isinstance(verdict, str):
        assert isinstance(told, outcome.InProgress)
        assert told.message == f"aiacaappokxj5--0000001: {verdict}"
    else:
        assert told == verdict


def test_a_check_without_a_start_has_no_deadline() -> None:
    """As with readiness."""
    told = judged(healthy(createdTime="soon"), rollout=CHECKED, check=check(503), after=10**6)

    assert isinstance(told, outcome.InProgress)


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (None, False),
        (check(), True),
        (check(204, None), True),
        (check(release="r0"), False),
        (check(500), False),
        (check(None, "r1"), False),
    ],
)
def test_what_counts_as_an_answer_of_a_release(answer: observed.Check | None, counts: bool) -> None:
    """Success that names it, or names none: not every app tells."""
    assert health.answers(answer, "r1", live=healthy()) is counts


# The model


DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def naming(digest: str) -> observed.Resource:
    """A healthy revision that is to serve a model of that digest."""
    env = [{"name": "ACAOPS_MODEL_DIGEST", "value": digest}]
    return healthy(template={"containers": [{"env": env}]})


def serves(digest: str | None, release: str = "r1") -> observed.Check:
    return observed.Check(200, release, "answered 200", conclusive=True, model_digest=digest)


def test_a_release_that_serves_another_model_fails_its_check() -> None:
    """With both digests in the message, at once as what it waits for, past the deadline as its cause; however often it
    answered before."""
    told = f"aiacaappokxj5--0000001: answered 200: model_digest is {OTHER}, wanted {DIGEST}"
    for streak in (0, 3):
        rollout = health.Rollout("r1", deadline=600, successes=3, streak=streak)
        early = judged(naming(DIGEST), rollout=rollout, check=serves(OTHER))
        assert early == outcome.InProgress(Reason.ROLLING_OUT, told, STARTED)
        late = judged(naming(DIGEST), rollout=rollout, check=serves(OTHER), after=601)
        assert late == outcome.Stalled(Reason.CHECK_FAILED, told, slowly=True)


def test_the_right_model_serves() -> None:
    """Nothing else is asked of it; of an answer of another release nothing is said but that."""
    rollout = health.Rollout("r1", deadline=600, successes=3, streak=3)
    assert judged(naming(DIGEST), rollout=rollout, check=serves(DIGEST)) == outcome.Done(SERVES)
    other = judged(naming(DIGEST), rollout=CHECKED, check=serves(OTHER, "r0"))
    assert other == outcome.InProgress(Reason.ROLLING_OUT, "aiacaappokxj5--0000001: answered 200", STARTED)


@pytest.mark.parametrize(("digest", "counts"), [(DIGEST, True), (OTHER, False), (None, False)])
def test_an_answer_counts_with_the_model_that_is_wanted(digest: str | None, counts: bool) -> None:
    """Also one that doesn't tell is none: it was asked for."""
    assert health.answers(serves(digest), "r1", live=naming(DIGEST)) is counts
    assert health.answers(serves(digest), "r1", live=healthy()) is True
    assert health.answers(serves(digest, "r0"), "r1", live=naming(DIGEST)) is False
