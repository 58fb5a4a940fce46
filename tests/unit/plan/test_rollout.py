"""One step of a rollout at a time, from what was seen: template, traffic, revisions to be stopped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.model import observed, outcome, releases, rollouts, tags
from controller.model.conditions import Reason
from controller.plan import rollout, takeover

A, B, C = ("a" * 16, "b" * 16, "c" * 16)
NOW = datetime.fromisoformat("2026-11-22T12:00:00+00:00")
ROLLING = rollouts.Rollout(deadline="30m")
BLUE_GREEN = rollouts.Rollout(strategy="BlueGreen", deadline="30m")
CANARY = rollouts.Rollout(
    strategy="Canary", deadline="30m", steps=[{"weight": 10, "hold": "5m"}, {"weight": 50, "hold": "10m"}]
)
RECREATE = rollouts.Rollout(strategy="Recreate", deadline="30m")
GOOD = outcome.Done("serves")
STARTING = outcome.InProgress(Reason.ROLLING_OUT, "activating")
LATEST = [{"weight": 100, "latestRevision": True}]

HEALTHY = {"active": True, "provisioningState": "Provisioned", "healthState": "Healthy", "runningState": "Running"}
ACTIVATING = {**HEALTHY, "healthState": "None", "runningState": "Activating"}
FAILED = {"active": True, "provisioningState": "Failed", "healthState": "Unhealthy", "runningState": "Failed"}
STOPPED = {"active": False, "provisioningState": "Provisioned", "healthState": "Healthy", "runningState": "Stopped"}


def template(run: releases.Run) -> dict[str, Any]:
    env = [{"name": "ACAOPS_RELEASE", "value": run.release}]
    env += [{"name": "ACAOPS_ATTEMPT", "value": str(run.attempt)}] if run.attempt > 1 else []
    return {"containers": [{"name": "chat", "env": env}]}


def revision(name: str, run: str | releases.Run, how: Mapping[str, Any] = HEALTHY, *, age: float = 60) -> Any:
    """`age` in seconds."""
    run = releases.Run(run) if isinstance(run, str) else run
    created = (NOW - timedelta(seconds=age)).isoformat()
    return observed.Resource(
        {"name": name, "id": f"/apps/chat/revisions/{name}", "properties": {**how, "createdTime": created}}
        | {"properties": {**how, "createdTime": created, "template": template(run)}}
    )


def seen(*revisions: Any, mode: str = "Single", traffic: Any = None, **told: str) -> rollout.Seen:
    """The last one is the latest, and the app's template its."""
    properties = {
        "template": revisions[-1].properties["template"],
        "latestRevisionName": revisions[-1].name,
        "configuration": {"activeRevisionsMode": mode, "ingress": {"traffic": traffic or LATEST}},
    }
    known = {f"acaops-{name}": text for name, text in told.items()}
    return rollout.Seen(observed.Resource({"name": "chat", "tags": known, "properties": properties}), revisions)


def beside(*revisions: Any, weights: Mapping[str, int], **told: str) -> rollout.Seen:
    traffic = [{"revisionName": name, "weight": weight} for name, weight in weights.items()]
    return seen(*revisions, mode="Multiple", traffic=traffic, **told)


def course(
    release: str,
    known: rollout.Seen,
    wish: rollouts.Rollout = ROLLING,
    verdict: outcome.Outcome | None = None,
    *,
    restarted: datetime | None = None,
) -> rollout.Course:
    judged = None if verdict is None else rollout.Judged(verdict, restarted=restarted)
    return takeover.course(rollout.wanted(release, known), known, wish=wish, judged=judged, now=NOW)


def stalled(reason: str) -> outcome.Stalled:
    return outcome.Stalled(reason, "why", slowly=True)


def to(**weights: int) -> list[dict[str, Any]]:
    return [{"revisionName": name, "weight": weight} for name, weight in weights.items()]


def names(some: tuple[observed.Resource, ...]) -> list[str]:
    return [one.name for one in some]


# What is tried


@pytest.mark.parametrize(
    ("live", "told", "attempt"),
    [
        (releases.Run(A), {}, 1),
        (releases.Run(B, 2), {}, 2),
        (releases.Run(B), {"rejected": f"{B}.1:CommandFailed"}, 1),
        (releases.Run(B), {"rejected": f"{B}.1:Retry"}, 2),
        (releases.Run(A), {"rejected": f"{A}.1:Undone,{B}.2:Retry"}, 3),
        (releases.Run(A), {"rejected": "nonsense"}, 1),
    ],
)
def test_the_attempt_is_the_live_one_or_the_one_asked_for(
    live: releases.Run, told: dict[str, str], attempt: int
) -> None:
    """Nothing but the template and the tags knows it."""
    assert rollout.wanted(B, seen(revision("r1", live), **told)) == releases.Run(B, attempt)


def test_a_rejected_run_is_not_served() -> None:
    """What was gone back to is, or what there is to go back to; else it stays."""
    rejected = f"{B}.1:CheckFailed"
    run = releases.Run(B)
    assert rollout.effective(run, seen(revision("r1", A), revision("r2", B))) == run
    assert rollout.effective(run, seen(revision("r2", B), revision("r3", A), rejected=rejected)).release == A
    assert rollout.effective(run, seen(revision("r1", A), revision("r2", B), rejected=rejected)).release == A
    assert rollout.effective(run, seen(revision("r2", B), rejected=rejected)) == run
    there = beside(revision("r1", A), revision("r2", B), weights={"r1": 100}, rejected=rejected)
    assert rollout.effective(run, there).release == A


def test_it_goes_back_to_the_release_that_was_healthy() -> None:
    """The one on record, whatever is newer; else the newest that ended healthy, never another rejected one."""
    older, newer = revision("r1", A, STOPPED), revision("r2", C, STOPPED)
    latest = revision("r3", B, FAILED)
    assert seen(older, newer, latest, healthy=A).fallback(releases.Run(B)) is older
    assert seen(older, newer, latest).fallback(releases.Run(B)) is newer
    assert seen(older, newer, latest, rejected=f"{C}.1:Undone").fallback(releases.Run(B)) is older
    assert seen(revision("r2", C, FAILED), latest).fallback(releases.Run(B)) is None
    foreign = observed.Resource({"name": "r0", "properties": {**STOPPED, "template": {"containers": [{}]}}})
    assert seen(foreign, latest).fallback(releases.Run(B)) is None


# Rolling


def test_the_traffic_is_by_revision() -> None:
    """The latest one by its name, entries of one revision together, without those that get none."""
    traffic = [
        {"latestRevision": True, "weight": 30},
        {"revisionName": "r2", "weight": 30},
        {"revisionName": "r1", "weight": 40},
        {"revisionName": "r0", "weight": 0, "label": "old"},
    ]
    known = seen(revision("r0", C), revision("r1", A), revision("r2", B), mode="Multiple", traffic=traffic)
    assert known.weights == {"r1": 40, "r2": 60}
    assert known.stable is not None
    assert known.stable.name == "r1"


def test_an_app_that_is_missing_is_made() -> None:
    """In the mode that its strategy needs; the platform gives all traffic to the first revision."""
    nothing = rollout.Seen(None)
    assert course(A, nothing) == rollout.Course(releases.Run(A), "Single", LATEST)
    assert course(A, nothing, BLUE_GREEN) == rollout.Course(releases.Run(A), "Multiple", LATEST)
    assert nothing.weights == {}
    assert nothing.healthy is None


def test_rolling_leaves_the_traffic_to_the_platform() -> None:
    """The template is written, and that's all."""
    made = course(B, seen(revision("r1", A)))
    assert (made.run.release, made.mode, made.traffic, made.first, made.stop) == (B, "Single", LATEST, (), ())


@pytest.mark.parametrize(
    "reason", [Reason.PROBE_FAILED, Reason.OUT_OF_MEMORY, Reason.MODEL_NOT_FOUND, Reason.DEADLINE_EXCEEDED]
)
def test_a_release_that_fails_is_rejected(reason: str) -> None:
    """The template of the last healthy one takes its place, and the tag says why."""
    made = course(B, seen(revision("r1", A), revision("r2", B, FAILED)), verdict=stalled(reason))
    assert made.run.release == A
    assert made.back == template(releases.Run(A))
    assert made.tags == {tags.REJECTED: f"{B}.1:{reason}"}
    assert made.reason == f"release {B} rejected: {reason}"
    assert made.rejection == releases.Rejection(releases.Run(B), reason)


@pytest.mark.parametrize(
    "reason", [Reason.NO_CAPACITY, Reason.QUOTA_EXCEEDED, Reason.IMAGE_PULL_FAILED, Reason.MOUNT_FAILED]
)
def test_what_is_the_platforms_doing_rejects_nothing(reason: str) -> None:
    """It passes, or is mended beside the release."""
    made = course(B, seen(revision("r1", A), revision("r2", B, ACTIVATING)), verdict=stalled(reason))
    assert (made.run.release, made.rejection, made.tags) == (B, None, {})


def test_a_command_that_fails_gets_a_second_attempt() -> None:
    """While the old revision serves; the second failure rejects it, and one that had answered isn't tried again."""
    first = course(B, seen(revision("r1", A), revision("r2", B, FAILED)), verdict=stalled(Reason.COMMAND_FAILED))
    assert (first.run, first.back, first.rejection) == (releases.Run(B, 2), None, None)
    assert first.reason == "second attempt after CommandFailed"
    again = seen(revision("r1", A), revision("r2", B, FAILED), revision("r3", releases.Run(B, 2), FAILED))
    second = course(B, again, verdict=stalled(Reason.COMMAND_FAILED))
    assert second.tags == {tags.REJECTED: f"{B}.2:CommandFailed"}
    alone = seen(revision("r1", A, STOPPED), revision("r2", B, FAILED))
    assert course(B, alone, verdict=stalled(Reason.COMMAND_FAILED)).run.release == A


def test_what_served_for_long_is_not_rejected() -> None:
    """Its failure is told, and not blamed on the release."""
    for age, back in ((1799, A), (1801, B)):
        known = seen(revision("r1", A, STOPPED), revision("r2", B, FAILED, age=age))
        assert course(B, known, verdict=stalled(Reason.COMMAND_FAILED)).run.release == back
    for age, back in ((2099, A), (2101, B)):
        known = seen(revision("r1", A, STOPPED), revision("r2", B, age=age))
        assert course(B, known, verdict=stalled(Reason.CHECK_FAILED)).run.release == back
    for weight, back in ((50, A), (100, B)):
        old = revision("r1", A, HEALTHY if weight < 100 else STOPPED)
        weights = {"r1": 100 - weight, "r2": weight}
        known = beside(old, revision("r2", B, FAILED, age=4000), weights=weights)
        assert course(B, known, CANARY, stalled(Reason.COMMAND_FAILED)).run.release == back
    started = NOW - timedelta(seconds=60)
    known = seen(revision("r1", A, STOPPED), revision("r2", B, FAILED, age=4000))
    judged = rollout.Judged(stalled(Reason.CHECK_FAILED), started)
    made = takeover.course(releases.Run(B), known, wish=ROLLING, judged=judged, now=NOW)
    assert made.run.release == A


def test_without_anything_to_go_back_to_it_stays() -> None:
    """The platform goes on trying."""
    made = course(B, seen(revision("r1", B, FAILED)), verdict=stalled(Reason.CHECK_FAILED))
    assert (made.run.release, made.rejection, made.tags) == (B, None, {})


def test_a_rejected_release_stays_away() -> None:
    """What was gone back to is what is wanted, to the letter; the rejection is told."""
    known = seen(revision("r1", B, STOPPED), revision("r2", A), rejected=f"{B}.1:CheckFailed")
    made = course(B, known, verdict=GOOD)
    assert (made.run.release, made.back, made.tags) == (A, template(releases.Run(A)), {})
    assert made.rejection is not None
    assert made.rejection.cause == "CheckFailed"


def test_what_was_gone_back_to_and_is_gone_is_left_as_it_is() -> None:
    """Its revision was removed from the list: there is no template to compare with."""
    properties = {"template": template(releases.Run(A)), "configuration": {"activeRevisionsMode": "Single"}}
    app = observed.Resource({"tags": {tags.REJECTED: f"{B}.1:Undone"}, "properties": properties})
    assert course(B, rollout.Seen(app, [revision("r1", B, STOPPED)])).kept


def test_what_hangs_gives_its_place_back_to_what_comes() -> None:
    """Older revisions that never served are stopped; the one that serves isn't."""
    known = seen(
        revision("r1", A), revision("r2", B, ACTIVATING), revision("r3", B, FAILED), revision("r4", C, ACTIVATING)
    )
    assert names(course(C, known, verdict=STARTING).stop) == ["r2", "r3"]


# Recreate


def test_recreate_stops_the_old_one_first() -> None:
    """Only what runs, and only while the template is another."""
    known = seen(revision("r0", C, STOPPED), revision("r1", A))
    assert names(course(B, known, RECREATE).first) == ["r1"]
    assert course(B, seen(revision("r1", A, STOPPED)), RECREATE).first == ()
    assert course(A, known, RECREATE, GOOD).first == ()
    leaving = {**HEALTHY, "runningState": "Deprovisioning"}
    assert course(B, seen(revision("r1", A, leaving)), RECREATE).first == ()


def test_recreate_goes_back_in_the_same_way() -> None:
    """There is no place for two: what failed is stopped as soon as it is on record that it did."""
    known = seen(revision("r1", A, STOPPED), revision("r2", B, ACTIVATING, age=4000))
    made = course(B, known, RECREATE, stalled(Reason.PROBE_FAILED))
    assert (made.run.release, made.first) == (A, ())
    back = seen(revision("r2", B, HEALTHY), revision("r3", A, ACTIVATING), rejected=f"{B}.1:CheckFailed")
    assert names(course(B, back, RECREATE, STARTING).stop) == ["r2"]


def test_what_somebody_stopped_is_started_again() -> None:
    """Where it is the one that is wanted."""
    known = seen(revision("r1", A, STOPPED))
    assert course(A, known, verdict=STARTING).start is known.latest
    assert course(B, known).start is None


# BlueGreen


def test_a_change_of_mode_comes_first() -> None:
    """What is healthy keeps all traffic, by its name, and the template waits."""
    made = course(B, seen(revision("r1", A)), BLUE_GREEN)
    assert (made.mode, made.traffic, made.kept) == ("Multiple", to(r1=100), True)
    assert made.reason == "revision mode Single becomes Multiple"
    assert course(B, seen(revision("r1", A), revision("r2", B, ACTIVATING)), BLUE_GREEN).traffic == to(r1=100)
    assert course(B, seen(revision("r1", A, FAILED)), BLUE_GREEN).traffic == to(r1=100)
    nameless = rollout.Seen(observed.Resource({"properties": {}}))
    assert course(B, nameless, BLUE_GREEN).traffic is None


def test_the_old_one_keeps_the_traffic_while_the_new_one_starts() -> None:
    """It is pinned by its name in the write of the template."""
    made = course(B, seen(revision("r1", A), mode="Multiple"), BLUE_GREEN)
    assert (made.run.release, made.traffic, made.kept) == (B, to(r1=100), False)
    waiting = beside(revision("r1", A), revision("r2", B, ACTIVATING), weights={"r1": 100})
    for verdict in (None, STARTING):
        made = course(B, waiting, BLUE_GREEN, verdict)
        assert (made.run.release, made.traffic, made.stop) == (B, None, ())
    nowhere = beside(revision("r1", A), weights={})
    nowhere.app.properties["configuration"]["ingress"]["traffic"] = None  # type: ignore[union-attr]
    assert course(B, nowhere, BLUE_GREEN).traffic is None


def test_a_stopped_one_that_has_the_traffic_is_started_again() -> None:
    """The new one isn't proven, so it doesn't stand in, however healthy; nor does what was rejected."""
    known = beside(revision("r1", A, STOPPED), revision("r2", B), weights={"r1": 100})
    made = course(B, known, BLUE_GREEN, STARTING)
    assert (made.start, made.traffic) == (known.revisions[0], None)
    bad = beside(
        revision("r1", A, STOPPED),
        revision("r2", B),
        revision("r3", C, ACTIVATING),
        weights={"r1": 100},
        rejected=f"{B}.1:CheckFailed",
    )
    assert course(C, bad, BLUE_GREEN, STARTING).start is bad.revisions[0]


@pytest.mark.parametrize("given", [{B: "b"}, {}], ids=["a release", "somebody's own"])
def test_what_runs_stands_in_for_a_stopped_one(given: dict[str, str]) -> None:
    """At once, and before anything else: a revision became ready, and the platform stopped the other, just as the other
    was given the traffic by its name."""
    newer = revision("r2", B)
    if not given:
        newer.properties["template"]["containers"][0]["env"] = []
    made = course(C, beside(revision("r1", A, STOPPED), newer, weights={"r1": 100}), BLUE_GREEN)
    assert (made.traffic, made.kept, made.start) == (to(r2=100), True, None)
    assert made.reason == "traffic to what runs, as the revision that had it was stopped"


def test_a_proven_one_gets_all_the_traffic_at_once() -> None:
    """Then the old one is stopped."""
    known = beside(revision("r1", A), revision("r2", B), weights={"r1": 100})
    made = course(B, known, BLUE_GREEN, GOOD)
    assert (made.traffic, made.reason, made.stop) == (to(r2=100), "traffic to the new revision", ())
    done = course(B, beside(revision("r1", A), revision("r2", B), weights={"r2": 100}), BLUE_GREEN, GOOD)
    assert (done.traffic, names(done.stop)) == (None, ["r1"])


def test_a_failed_one_never_gets_any() -> None:
    """The tag alone is written; then it is stopped, and the template stays as it is."""
    known = beside(revision("r1", A), revision("r2", B, FAILED), weights={"r1": 100})
    made = course(B, known, BLUE_GREEN, stalled(Reason.CHECK_FAILED))
    assert (made.run.release, made.traffic, made.kept) == (A, to(r1=100), True)
    assert made.tags == {tags.REJECTED: f"{B}.1:CheckFailed"}
    known = beside(revision("r1", A), revision("r2", B, FAILED), weights={"r1": 100}, rejected=f"{B}.1:CheckFailed")
    after = course(B, known, BLUE_GREEN, GOOD)
    assert (after.kept, after.traffic, names(after.stop)) == (True, None, ["r2"])


def test_one_that_fails_with_all_the_traffic_is_replaced() -> None:
    """By a new revision of the last healthy release, which is proven like any other."""
    old = revision("r1", A, STOPPED)
    known = beside(old, revision("r2", B, FAILED), weights={"r2": 100})
    made = course(B, known, BLUE_GREEN, stalled(Reason.COMMAND_FAILED))
    assert (made.run.release, made.traffic, made.back) == (A, to(r2=100), template(releases.Run(A)))
    rejected = {"rejected": f"{B}.1:CommandFailed"}
    coming = beside(old, revision("r2", B, FAILED), revision("r3", A), weights={"r2": 100}, **rejected)
    assert course(B, coming, BLUE_GREEN, GOOD).traffic == to(r3=100)


def test_a_new_commit_takes_the_place_of_one_that_is_tried() -> None:
    """What serves keeps the traffic, and the one that was tried is stopped."""
    known = beside(revision("r1", A), revision("r2", B, ACTIVATING), weights={"r1": 100})
    assert course(C, known, BLUE_GREEN).traffic == to(r1=100)
    known = beside(revision("r1", A), revision("r2", B, ACTIVATING), revision("r3", C, ACTIVATING), weights={"r1": 100})
    assert names(course(C, known, BLUE_GREEN, STARTING).stop) == ["r2"]


def test_single_mode_comes_back_last() -> None:
    """Only when the latest revision has all the traffic."""
    known = beside(revision("r1", A), revision("r2", B), weights={"r1": 100})
    assert course(B, known, ROLLING, GOOD).traffic == to(r2=100)
    known = beside(revision("r1", A), revision("r2", B), weights={"r2": 100})
    made = course(B, known, ROLLING, GOOD)
    assert (made.mode, made.traffic, made.reason) == ("Single", LATEST, "revision mode Multiple becomes Single")
    known = beside(revision("r1", A), revision("r2", B), weights={"r1": 100}, rejected=f"{B}.1:Undone")
    assert course(B, known, ROLLING, GOOD).mode == "Multiple"


# Canary


def test_a_canary_goes_step_by_step() -> None:
    """Each for as long as it is to be held; the tag remembers since when."""
    revisions = revision("r1", A), revision("r2", B)
    first = course(B, beside(*revisions, weights={"r1": 100}), CANARY, GOOD)
    assert first.traffic == to(r1=90, r2=10)
    assert first.notes == {tags.ROLLOUT: f"{B}.1:0:2026-11-22T12:00:00Z"}
    assert first.reason == "10 % of the traffic to the new revision"
    held = beside(*revisions, weights={"r1": 90, "r2": 10}, rollout=f"{B}.1:0:2026-11-22T11:56:00Z")
    made = course(B, held, CANARY, GOOD)
    assert made.traffic is None
    assert made.holds is not None
    assert made.holds.message == "canary step 1 of 2: 10 % of the traffic until 2026-11-22T12:01:00Z"
    due = beside(*revisions, weights={"r1": 90, "r2": 10}, rollout=f"{B}.1:0:2026-11-22T11:55:00Z")
    assert course(B, due, CANARY, GOOD).traffic == to(r1=50, r2=50)
    last = beside(*revisions, weights={"r1": 50, "r2": 50}, rollout=f"{B}.1:1:2026-11-22T11:50:00Z")
    done = course(B, last, CANARY, GOOD)
    assert (done.traffic, done.notes) == (to(r2=100), {tags.ROLLOUT: None})


def test_a_canary_that_ends_is_held_anew() -> None:
    """From when it was started again; an end before the step says nothing."""
    weights = {"r1": 90, "r2": 10}
    due = beside(revision("r1", A), revision("r2", B), weights=weights, rollout=f"{B}.1:0:2026-11-22T11:55:00Z")
    made = course(B, due, CANARY, GOOD, restarted=NOW - timedelta(minutes=1))
    assert made.holds is not None
    assert made.holds.message == "canary step 1 of 2: 10 % of the traffic until 2026-11-22T12:04:00Z"
    assert course(B, due, CANARY, GOOD, restarted=NOW - timedelta(hours=1)).traffic == to(r1=50, r2=50)


def test_a_canary_whose_record_is_lost_begins_again() -> None:
    """At its first step."""
    known = beside(revision("r1", A), revision("r2", B), weights={"r1": 50, "r2": 50}, rollout="?")
    assert course(B, known, CANARY, GOOD).traffic == to(r1=90, r2=10)


def test_a_canary_that_fails_gives_all_its_traffic_back() -> None:
    """At once, also while it is held; having answered, its command isn't tried again."""
    told = f"{B}.1:0:2026-11-22T11:59:00Z"
    known = beside(revision("r1", A), revision("r2", B, FAILED), weights={"r1": 90, "r2": 10}, rollout=told)
    made = course(B, known, CANARY, stalled(Reason.COMMAND_FAILED))
    assert (made.traffic, made.kept) == (to(r1=100), True)
    assert made.tags == {tags.REJECTED: f"{B}.1:CommandFailed"}
    assert made.notes == {tags.ROLLOUT: None}
