"""The fold from outcomes to conditions and the next look."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from controller.model import conditions, outcome
from controller.model.conditions import Condition, Reason
from controller.status import summarize
from controller.status.summarize import Requeue, StepReport, Verdict

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
INTERVAL = 600.0

DONE = outcome.Done("revision r1 serves")
IN_PROGRESS = outcome.InProgress(Reason.PROVISIONING, "Creating")
WAITING = outcome.Waiting(Reason.CONFLICT, "another operation is in progress")
DEPENDENT = outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waits for the environment")
THROTTLED = outcome.Waiting(Reason.THROTTLED, "429", 20.0)
OPEN = outcome.Transient(Reason.CIRCUIT_OPEN, "nothing but failures", 20.0)
TRANSIENT = outcome.Transient(Reason.AZURE_ERROR, "503 from Azure")
STALLED = outcome.Stalled(Reason.INVALID_REQUEST, "400 from Azure")
SLOWLY = outcome.Stalled(Reason.QUOTA_EXCEEDED, "no quota", slowly=True)


def fold(
    *outcomes: outcome.Outcome, previous: tuple[Condition, ...] = (), retry_interval: float | None = None
) -> Verdict:
    """The verdict on steps called s0, s1, … with these outcomes."""
    steps = [StepReport(f"s{index}", f"/s{index}", "", each) for index, each in enumerate(outcomes)]
    verdict = summarize.fold(
        steps, revision="git:abc", now=NOW, previous=previous, interval=INTERVAL, retry_interval=retry_interval
    )
    assert summarize.check(verdict.conditions) == []
    return verdict


def told(verdict: Verdict) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {condition.type: (condition.status, condition.reason) for condition in verdict.conditions}


@pytest.mark.parametrize(
    ("verdict", "ready", "also"),
    [
        (DONE, ("True", "Ready"), None),
        (IN_PROGRESS, ("Unknown", "Provisioning"), "Reconciling"),
        (WAITING, ("False", "Conflict"), "Reconciling"),
        (TRANSIENT, ("False", "AzureError"), "Reconciling"),
        (STALLED, ("False", "InvalidRequest"), "Stalled"),
        (SLOWLY, ("False", "QuotaExceeded"), "Stalled"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_outcome_has_its_conditions(verdict: outcome.Outcome, ready: tuple[str, str], also: str | None) -> None:
    """One step's outcome gives the conditions that the table says."""
    expected = {"Ready": ready} | ({also: ("True", ready[1])} if also else {})
    assert told(fold(verdict)) == expected


def test_the_worst_step_decides() -> None:
    """Of any two outcomes, in either order, the worse one decides."""
    worst_first: list[outcome.Outcome] = [STALLED, TRANSIENT, WAITING, IN_PROGRESS, DONE]
    for worse, better in itertools.combinations(worst_first, 2):
        assert told(fold(worse, better)) == told(fold(better, worse)) == told(fold(worse))


def test_what_waits_for_azures_work_is_no_news() -> None:
    """While something of the object is in progress, that is told; waiting for another object is told as such."""
    assert told(fold(IN_PROGRESS, DEPENDENT)) == told(fold(DEPENDENT, IN_PROGRESS)) == told(fold(IN_PROGRESS))
    assert told(fold(DONE, DEPENDENT)) == told(fold(DEPENDENT))


def test_an_object_without_steps_is_ready() -> None:
    """Nothing to do is done."""
    verdict = fold()
    assert told(verdict) == {"Ready": ("True", "Ready")}
    assert verdict.requeue == Requeue("interval", INTERVAL)


def test_the_message_names_each_deciding_step() -> None:
    """All steps as bad as the worst are named, the better ones aren't, and the first one's reason is used."""
    verdict = fold(DONE, SLOWLY, STALLED)
    assert {condition.message for condition in verdict.conditions} == {"s1: no quota; s2: 400 from Azure"}
    assert verdict.conditions[0].reason == Reason.QUOTA_EXCEEDED


def test_a_message_that_names_its_step_is_left_alone() -> None:
    """The name isn't put twice."""
    assert fold(outcome.Done("s0 is up")).conditions[0].message == "s0 is up"


def test_conditions_carry_the_source_revision() -> None:
    """Each condition says which revision it speaks of."""
    assert {condition.revision for condition in fold(STALLED).conditions} == {"git:abc"}


def test_the_time_of_change_is_kept_while_the_status_is() -> None:
    """A new reason with the same status is no transition; a new status, or a condition that wasn't there, is one."""
    before = NOW - timedelta(hours=1)
    previous = (
        Condition(conditions.READY, "False", Reason.AZURE_ERROR, "m", "old", before),
        Condition(conditions.RECONCILING, "True", Reason.AZURE_ERROR, "m", "old", before),
    )
    changed = {condition.type: condition.changed for condition in fold(WAITING, previous=previous).conditions}
    assert changed == {"Ready": before, "Reconciling": before}
    changed = {condition.type: condition.changed for condition in fold(STALLED, previous=previous).conditions}
    assert changed == {"Ready": before, "Stalled": NOW}
    assert fold(DONE, previous=previous).conditions[0].changed == NOW


@pytest.mark.parametrize(
    ("age", "after"), [(None, 0.3), (-60, 1.0), (0, 1.0), (10, 1.0), (40, 4.0), (150, 15.0), (3600, 15.0)]
)
def test_work_in_progress_is_polled_by_its_age(age: float | None, after: float) -> None:
    """A tenth of the age, from 1 to 15 seconds, also for a clock that runs ahead; a third of one at first."""
    since = None if age is None else NOW - timedelta(seconds=age)
    awaited = outcome.InProgress(Reason.OPERATION_IN_PROGRESS, "m", since, awaited=True)
    assert fold(awaited).requeue == Requeue("poll", 0.5)
    polled = fold(outcome.InProgress(Reason.PROVISIONING, "m", since)).requeue
    assert polled == Requeue("poll", after)


@pytest.mark.parametrize(("asked", "after"), [(0.0, 1.0), (17.0, 17.0), (86400.0, 3600.0)])
@pytest.mark.parametrize("kind", [outcome.Waiting, outcome.Transient])
def test_what_azure_asked_for_is_done(
    kind: type[outcome.Waiting | outcome.Transient], asked: float, after: float
) -> None:
    """A pause that was told is kept, from a second to an hour."""
    assert fold(kind(Reason.THROTTLED, "429", asked)).requeue == Requeue("told", after)


@pytest.mark.parametrize(
    ("outcomes", "requeue"),
    [
        ((DONE,), Requeue("interval", INTERVAL)),
        ((WAITING,), Requeue("backoff", None)),
        ((TRANSIENT,), Requeue("backoff", None)),
        ((STALLED,), Requeue("never", None)),
        ((SLOWLY,), Requeue("slow", INTERVAL)),
        ((STALLED, IN_PROGRESS), Requeue("poll", 0.3)),
        ((STALLED, DONE), Requeue("interval", INTERVAL)),
        ((TRANSIENT, DONE), Requeue("backoff", INTERVAL)),
        ((TRANSIENT, STALLED), Requeue("backoff", None)),
        ((TRANSIENT, outcome.Waiting(Reason.CONFLICT, "busy", 20.0)), Requeue("backoff", 20.0)),
        ((TRANSIENT, IN_PROGRESS), Requeue("poll", 0.3)),
        ((outcome.Waiting(Reason.CONFLICT, "busy", 20.0), IN_PROGRESS), Requeue("poll", 0.3)),
        ((STALLED, DEPENDENT), Requeue("never", None)),
        ((SLOWLY, DEPENDENT), Requeue("slow", INTERVAL)),
        ((outcome.Waiting(Reason.OPERATION_IN_PROGRESS, "busy", 300.0), DEPENDENT), Requeue("told", 300.0)),
        ((outcome.Waiting(Reason.OPERATION_IN_PROGRESS, "busy", 1200.0), DONE), Requeue("told", 1200.0)),
        ((DONE, DEPENDENT), Requeue("backoff", INTERVAL)),
        ((THROTTLED, IN_PROGRESS), Requeue("told", 20.0)),
        ((THROTTLED, TRANSIENT), Requeue("told", 20.0)),
        ((THROTTLED, DONE), Requeue("told", 20.0)),
        ((OPEN, IN_PROGRESS), Requeue("told", 20.0)),
    ],
)
def test_the_soonest_need_decides_the_next_look(outcomes: tuple[outcome.Outcome, ...], requeue: Requeue) -> None:
    """Whatever the conditions say, the step that needs a look soonest gets it."""
    assert fold(*outcomes).requeue == requeue
    assert fold(*reversed(outcomes)).requeue == requeue


def test_the_retry_interval_limits_pauses_after_a_failure() -> None:
    """It is the longest backoff, and the pace of what is looked at slowly."""
    assert fold(TRANSIENT, retry_interval=30.0).requeue == Requeue("backoff", 30.0)
    assert fold(SLOWLY, retry_interval=30.0).requeue == Requeue("slow", 30.0)
    assert fold(DONE, retry_interval=30.0).requeue == Requeue("interval", INTERVAL)


@pytest.mark.parametrize(
    ("requeue", "pause"),
    [
        (Requeue("backoff", None), 4.0),
        (Requeue("backoff", 2.0), 2.0),
        (Requeue("backoff", 9.0), 4.0),
        (Requeue("poll", 9.0), 9.0),
        (Requeue("never", None), None),
    ],
)
def test_a_backoff_is_limited_by_other_needs(requeue: Requeue, pause: float | None) -> None:
    """The loop's growing pause counts for backoff alone, and never past `after`."""
    assert requeue.pause(backoff=4.0) == pause


def test_a_desired_state_that_does_not_load_is_stalled_with_every_message() -> None:
    """Ready False, Stalled InvalidDesiredState, nothing to look at until the source changes."""
    verdict = summarize.load_error(["a.yaml:1:1: no", "b.yaml:2:2: no"], revision="r", now=NOW, previous=())
    assert summarize.check(verdict.conditions) == []
    reason = Reason.INVALID_DESIRED_STATE
    assert told(verdict) == {"Ready": ("False", reason), "Stalled": ("True", reason)}
    assert verdict.conditions[0].message == "a.yaml:1:1: no\nb.yaml:2:2: no"
    assert verdict.requeue == Requeue("never", None)


def test_messages_are_bounded() -> None:
    """4 KiB of UTF-8 at most, cut between characters and marked; shorter ones are left alone."""
    verdict = summarize.load_error(["ü" * 5000], revision="r", now=NOW, previous=())
    message = verdict.conditions[0].message
    assert len(message.encode()) <= summarize.MESSAGE_BYTES
    assert message.endswith("ü … (cut)")
    assert summarize.bounded("ü" * 2048) == "ü" * 2048


def condition(kind: str, status: str, *, reason: str = "R", message: str = "", revision: str = "r") -> Condition:
    return Condition(kind, status, reason, message, revision, NOW)


READY, RECONCILING, STALLED_TOO = (
    condition("Ready", "False"),
    condition("Reconciling", "True"),
    condition("Stalled", "True"),
)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ([], "Ready is missing"),
        ([READY, RECONCILING, RECONCILING], "a condition is there twice"),
        ([READY, RECONCILING, condition("Healthy", "True")], "an unknown type"),
        ([READY, condition("Reconciling", "False")], "Reconciling is there without being True"),
        ([READY, condition("Stalled", "Unknown")], "Stalled is there without being True"),
        ([READY, RECONCILING, STALLED_TOO], "Reconciling and Stalled together"),
        ([condition("Ready", "True"), RECONCILING], "Ready is True beside Reconciling or Stalled"),
        ([READY], "Ready isn't True and nothing says why"),
        ([condition("Ready", "Maybe"), RECONCILING], "Ready is neither True, False nor Unknown"),
        ([READY, condition("Stalled", "True", reason="")], "a reason is empty"),
        ([READY, condition("Stalled", "True", revision="s")], "the revisions differ"),
        ([READY, condition("Stalled", "True", message="m" * 5000)], "a message is too long"),
    ],
)
def test_the_checker_names_the_broken_rule(broken: list[Condition], rule: str) -> None:
    """Each rule, broken alone, is told."""
    assert rule in summarize.check(broken)


texts = some.text(max_size=3000)
reasons = some.sampled_from([Reason.PROVISIONING, Reason.THROTTLED, Reason.FORBIDDEN])
pauses = some.none() | some.floats(min_value=0, max_value=1e6)
moments = some.none() | some.timedeltas(timedelta(-400), timedelta(400)).map(lambda age: NOW - age)
outcomes_of_all_kinds = (
    some.builds(outcome.Done, texts)
    | some.builds(outcome.InProgress, reasons, texts, moments)
    | some.builds(outcome.Waiting, reasons, texts, pauses)
    | some.builds(outcome.Transient, reasons, texts, pauses)
    | some.builds(outcome.Stalled, reasons, texts, some.booleans())
)


@settings(deadline=None)  # a busy machine is no failure
@given(some.lists(outcomes_of_all_kinds, max_size=6), some.lists(outcomes_of_all_kinds, max_size=6))
def test_any_passes_keep_the_rules(first: list[outcome.Outcome], second: list[outcome.Outcome]) -> None:
    """After any two passes the kstatus rules hold, and the pause is a pause."""
    verdict = fold(*second, previous=fold(*first).conditions)
    pause = verdict.requeue.pause(backoff=0.75)
    assert pause is None or 0.3 <= pause <= 3600
    final = [isinstance(each, outcome.Stalled) and not each.slowly for each in second]
    assert (pause is None) == (bool(final) and all(final))
