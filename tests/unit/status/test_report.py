"""The end of a pass: what the store, the metrics and the loop are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from structlog import testing

from controller.model import conditions, outcome
from controller.model.commit import Commit
from controller.model.conditions import Reason
from controller.status import report, store, summarize
from controller.telemetry import metrics

KEY = ("InferenceApp", "phi3-chat")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
COMMIT = Commit("0" * 40, "Ann", "first", NOW)
DONE = outcome.Done("revision a--1 serves release r1")
WORKING = outcome.InProgress(Reason.ROLLING_OUT, "activating", NOW)
STALLED = outcome.Stalled(Reason.COMMAND_FAILED, "Container crashing", slowly=True)
WAITING = outcome.Waiting(Reason.THROTTLED, "429", 30.0)


@pytest.fixture
def statuses() -> store.Store:
    return store.Store(store.SourceStatus("desired_state"))


@pytest.fixture
def told() -> metrics.Metrics:
    return metrics.Metrics(version="1", inventory="prod")


def step(verdict: outcome.Outcome, *, verb: str = "", name: str = "revision") -> summarize.StepReport:
    return summarize.StepReport(name, f"/{name}", verb, verdict)


def passed(*steps: summarize.StepReport, release: str | None = "r1", minutes: int = 0) -> report.Pass:
    started = NOW + timedelta(minutes=minutes)
    return report.Pass(
        KEY,
        steps,
        source_revision=f"files:{minutes}",
        commit=COMMIT,
        started=started,
        ended=started + timedelta(seconds=2),
        interval=600.0,
        retry_interval=None,
        release=release,
        endpoint="https://phi3" if release else None,
        serving="a--1" if release else None,
    )


def status(statuses: store.Store) -> store.ObjectStatus:
    found = statuses.get(KEY)
    assert found is not None
    return found


def test_a_pass_is_told_whole(statuses: store.Store, told: metrics.Metrics) -> None:
    """Conditions, release, endpoint, resources, history: all of one pass."""
    requeue = report.tell(statuses, told, passed(step(DONE)))

    now = status(statuses)
    assert requeue == summarize.Requeue("interval", 600.0)
    assert [(one.type, one.status, one.revision) for one in now.conditions] == [("Ready", "True", "files:0")]
    assert (now.release, now.endpoint, now.source_revision) == ("r1", "https://phi3", "files:0")
    assert (now.attempted, now.applied) == (COMMIT, COMMIT)
    assert (now.passes, now.last_pass, now.last_error) == (1, NOW + timedelta(seconds=2), None)
    assert now.resources == (step(DONE),)
    assert [(one.release, one.revision, one.result) for one in now.history] == [("r1", "a--1", "Ready")]


def test_what_a_pass_didnt_learn_stays(statuses: store.Store, told: metrics.Metrics) -> None:
    """A failure before Azure was read takes away neither release nor endpoint; its message outlives the failure."""
    report.tell(statuses, told, passed(step(DONE)))
    report.tell(statuses, told, passed(step(WAITING, name="observe"), release=None, minutes=1))

    failing = status(statuses)
    assert (failing.release, failing.endpoint, failing.last_error) == ("r1", "https://phi3", "observe: 429")
    report.tell(statuses, told, passed(step(DONE), minutes=2))
    assert (status(statuses).last_error, status(statuses).passes) == ("observe: 429", 3)
    assert len(status(statuses).history) == 1


def test_a_commit_is_applied_once_it_is_ready(statuses: store.Store, told: metrics.Metrics) -> None:
    """The one that fails is the one last attempted; the one before stays the one last applied."""
    report.tell(statuses, told, passed(step(DONE)))
    later = Commit("1" * 40, "Bob", "second", NOW)
    report.tell(statuses, told, replace(passed(step(STALLED), minutes=1), commit=later))

    assert (status(statuses).attempted, status(statuses).applied) == (later, COMMIT)


@pytest.mark.parametrize(("verdict", "entered"), [(DONE, ["Ready"]), (STALLED, []), (WORKING, []), (WAITING, [])])
def test_a_release_enters_the_history_when_it_is_decided(
    statuses: store.Store, told: metrics.Metrics, verdict: outcome.Outcome, entered: list[str]
) -> None:
    """Ready, not on its way, nor held up by something else."""
    report.tell(statuses, told, passed(step(verdict)))

    assert [one.result for one in status(statuses).history] == entered


def test_a_failed_release_enters_the_history(statuses: store.Store, told: metrics.Metrics) -> None:
    """With what was found; it stays in the status while another one serves in its place."""
    found = store.Failure("r2", 1, "a--2", "CommandFailed", "it ends", ("exit code 1",), ("line",), NOW, rejected=True)
    report.tell(statuses, told, passed(step(DONE)))
    report.tell(statuses, told, replace(passed(step(WORKING), minutes=1), failure=found))
    report.tell(statuses, told, passed(step(STALLED), minutes=2))

    entries = [(one.release, one.result, one.message) for one in status(statuses).history]
    assert entries == [("r1", "Ready", entries[0][2]), ("r2", "Failed", "it ends")]
    assert status(statuses).failure == found
    assert status(statuses).release == "r1"


@pytest.mark.parametrize(
    ("before", "now", "soon"),
    [
        ((), (step(outcome.Done(), verb="Create", name="fileShare"),), True),
        ((), (step(WORKING, verb="Create", name="containerApp"),), False),
        ((), (step(DONE),), False),
        (
            (step(outcome.Done(), verb="Mirror", name="content"),),
            (step(outcome.Done(), verb="Mirror", name="content"),),
            False,
        ),
        (
            (step(outcome.Done(), verb="Create", name="fileShare"),),
            (step(outcome.Done(), verb="Create", name="environmentStorage"),),
            True,
        ),
    ],
)
def test_after_a_finished_write_the_next_look_is_at_once(
    statuses: store.Store,
    told: metrics.Metrics,
    before: tuple[summarize.StepReport, ...],
    now: tuple[summarize.StepReport, ...],
    soon: bool,
) -> None:
    """Something may have waited for it; a write that only repeats the last pass is no reason to hurry."""
    report.tell(statuses, told, passed(*before))

    assert (report.tell(statuses, told, passed(*now, minutes=1)) == summarize.Requeue("poll", 0.0)) is soon


@pytest.fixture
def plain_log() -> Iterator[None]:
    """Every level is logged, whatever the process has set up."""
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("plain_log")
def test_changes_are_logged_once(statuses: store.Store, told: metrics.Metrics) -> None:
    """A warning where it stalled; nothing where nothing changed."""
    with testing.capture_logs() as lines:
        report.tell(statuses, told, passed(step(STALLED)))
        report.tell(statuses, told, passed(step(STALLED), minutes=1))
        report.tell(statuses, told, passed(step(DONE), minutes=2))

    about = [
        (line["log_level"], line["event"], line["name"]) for line in lines if line["event"].startswith("condition")
    ]
    assert about == [
        ("warning", "condition: Stalled", "phi3-chat"),
        ("info", "condition: Ready", "phi3-chat"),
    ]


def series(told: metrics.Metrics) -> dict[str, float]:
    """Values by what stands before them in the exposition."""
    lines = [line for line in told.exposition().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_pass_is_counted(statuses: store.Store, told: metrics.Metrics) -> None:
    """By what it came to; an object with nothing to do is a success, one that just wrote isn't one yet."""
    report.tell(statuses, told, passed(step(DONE, verb="Create", name="fileShare")))
    now = series(told)
    assert now['acaops_reconcile_total{controller="inferenceapp",result="requeue_after"}'] == 1
    assert not [name for name in now if name.startswith("acaops_last_success")]

    report.tell(statuses, told, passed(minutes=1))
    now = series(told)
    assert now['acaops_reconcile_total{controller="inferenceapp",result="success"}'] == 1
    assert now['acaops_reconcile_time_seconds_sum{controller="inferenceapp"}'] == 4
    last = now['acaops_last_success_timestamp_seconds{kind="InferenceApp",name="phi3-chat"}']
    assert last == (NOW + timedelta(minutes=1, seconds=2)).timestamp()


def test_a_rollout_is_told(statuses: store.Store, told: metrics.Metrics) -> None:
    """Its phase, and since when the release that runs is Ready; while the next one comes up, that is still so."""
    for minutes, verdict in enumerate((DONE, DONE, WORKING)):
        report.tell(
            statuses, told, passed(step(verdict), release="r2" if verdict is WORKING else "r1", minutes=minutes)
        )

    now = series(told)
    assert now['acaops_rollout_phase{name="phi3-chat",phase="rolling_out"}'] == 1
    released = {name: value for name, value in now.items() if name.startswith("acaops_release_timestamp")}
    first = (NOW + timedelta(seconds=2)).timestamp()
    assert released == {'acaops_release_timestamp_seconds{name="phi3-chat",release="r1"}': first}


def test_the_time_of_a_condition_is_its_first(statuses: store.Store, told: metrics.Metrics) -> None:
    """What stays the same keeps the time it began."""
    report.tell(statuses, told, passed(step(STALLED)))
    report.tell(statuses, told, passed(step(replace(STALLED, message="still")), minutes=5))

    stalled = status(statuses).condition(conditions.STALLED)
    assert stalled is not None
    assert (stalled.changed, stalled.message) == (NOW + timedelta(seconds=2), "revision: still")


def test_a_pass_that_wrote_is_not_ready_yet(statuses: store.Store, told: metrics.Metrics) -> None:
    """Although the write was finished when it was answered: only the next pass sees what came of it."""
    soon = report.tell(statuses, told, passed(step(DONE, verb="Create")))
    assert (soon.kind, soon.after) == ("poll", 0.0)
    assert [(one.type, one.status) for one in status(statuses).conditions] == [
        ("Ready", "Unknown"),
        ("Reconciling", "True"),
    ]
    report.tell(statuses, told, passed(step(DONE), minutes=1))
    assert [(one.type, one.status) for one in status(statuses).conditions] == [("Ready", "True")]


def test_waiting_for_another_step_is_no_error(statuses: store.Store, told: metrics.Metrics) -> None:
    """Nearly every first pass waits; nothing went wrong."""
    report.tell(statuses, told, passed(step(outcome.Waiting("DependencyNotReady", "waits"))))
    assert status(statuses).last_error is None


def test_the_wait_for_a_gpu_is_counted(statuses: store.Store, told: metrics.Metrics) -> None:
    """As long as it lasts."""
    waiting = outcome.InProgress(Reason.NO_CAPACITY, "no GPU is free", NOW - timedelta(seconds=58))
    for verdict, seconds in ((waiting, 60.0), (outcome.InProgress(Reason.NO_CAPACITY, "?"), 0.0), (DONE, 0.0)):
        report.tell(statuses, told, passed(step(verdict)))
        lines = told.exposition().decode().splitlines()
        assert f'acaops_gpu_wait_seconds{{name="phi3-chat"}} {seconds}' in lines
