"""The series that Prometheus gets."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from controller.model import conditions, outcome
from controller.telemetry.metrics import Metrics
from controller.telemetry.series import PHASES
from tests.unit.telemetry.telling import tell_everything

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KIND, NAME = APP = ("InferenceApp", "phi3-chat")
OTHER = ("Environment", "gpu-west")
READY = conditions.Condition("Ready", "Unknown", "R", "", "r", NOW)

DONE = outcome.Done()
WORKING = outcome.InProgress("RollingOut", "activating")
WAITING = outcome.Waiting("Conflict", "busy")
TOLD = outcome.Waiting("Throttled", "429", 30.0)
TRANSIENT = outcome.Transient("AzureError", "500")
STALLED = outcome.Stalled("CommandFailed", "crashing")
LATE = outcome.Stalled("DeadlineExceeded", "not ready after 1800 s")
UNANSWERED = outcome.Stalled("CheckFailed", "503")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(version="1.2.3", inventory="default", clock=clock)


def series(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scrape sees, by name and labels."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, series_name: str, /, **labels: str) -> float:
    return series(metrics)[series_name, frozenset(labels.items())]


def of(metrics: Metrics, series_name: str, label: str) -> dict[str, float]:
    """The values of one name by one of its labels."""
    return {dict(labels)[label]: found for (name, labels), found in series(metrics).items() if name == series_name}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool isn't installed")
def test_prometheus_own_lint_finds_nothing(metrics: Metrics) -> None:
    """Names, units and help texts are as Prometheus wants them."""
    tell_everything(metrics)
    command = ["promtool", "check", "metrics"]
    told = subprocess.run(command, input=metrics.exposition(), capture_output=True, timeout=30, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("verdict", "result", "errors", "terminal"),
    [
        (DONE, "success", 0, 0),
        (WORKING, "requeue_after", 0, 0),
        (TOLD, "requeue_after", 0, 0),
        (WAITING, "requeue", 0, 0),
        (TRANSIENT, "error", 1, 0),
        (STALLED, "error", 1, 1),
    ],
)
def test_an_outcome_has_a_result(
    metrics: Metrics, verdict: outcome.Outcome, result: str, errors: int, terminal: int
) -> None:
    """By controller and in controller-runtime's words; what could come is there as 0 before it does."""
    metrics.reconciled(KIND, verdict, seconds=0.2)
    totals = {
        result: count
        for (name, labels), count in series(metrics).items()
        if name == "acaops_reconcile_total" and ("controller", "inferenceapp") in labels
        for result in [dict(labels)["result"]]
    }
    assert totals == {**dict.fromkeys(("success", "error", "requeue", "requeue_after"), 0), result: 1}
    app = {"controller": "inferenceapp"}
    assert value(metrics, "acaops_reconcile_errors_total", **app) == errors
    assert value(metrics, "acaops_terminal_reconcile_errors_total", **app) == terminal
    assert value(metrics, "acaops_reconcile_time_seconds_sum", **app) == pytest.approx(0.2)
    assert value(metrics, "acaops_reconcile_errors_total", controller="environment") == 0


def test_each_condition_has_one_status(metrics: Metrics) -> None:
    """1 for the status it has, 0 for the others; a condition that isn't there is False."""
    metrics.told(*APP, current=[READY])
    told = {
        (kind, status): value(metrics, "acaops_condition", type=kind, status=status, kind=KIND, name=NAME)
        for kind in ("Ready", "Reconciling", "Stalled")
        for status in ("True", "False", "Unknown")
    }
    assert {pair for pair, is_it in told.items() if is_it} == {
        ("Ready", "Unknown"),
        ("Reconciling", "False"),
        ("Stalled", "False"),
    }
    assert set(told.values()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("verdict", "phase"),
    [
        (WAITING, "pending"),
        (WORKING, "rolling_out"),
        (DONE, "healthy"),
        (LATE, "overdue"),
        (UNANSWERED, "overdue"),
        (STALLED, "failed"),
    ],
)
def test_a_rollout_is_in_one_phase(metrics: Metrics, verdict: outcome.Outcome, phase: str) -> None:
    """1 for the phase it is in, 0 for the others."""
    metrics.rollout(NAME, DONE)
    metrics.rollout(NAME, verdict)
    assert of(metrics, "acaops_rollout_phase", "phase") == {**dict.fromkeys(PHASES, 0), phase: 1}


def test_one_release_runs(metrics: Metrics) -> None:
    """The next one takes the place of the last."""
    metrics.released(NAME, "r1", timestamp=122.0)
    metrics.released(NAME, "r2", timestamp=140.0)
    assert of(metrics, "acaops_release_timestamp_seconds", "release") == {"r2": 140}


def test_waits_for_a_gpu(metrics: Metrics) -> None:
    """The one under way, and of those that are over how many and how long; one known to be shorter is another one."""
    assert of(metrics, "acaops_gpu_wait_seconds", "name") == {}
    for seconds in (0.0, 15.0, 60.0, 0.0, 0.0, 40.0, 5.0):
        metrics.gpu_waiting(*APP, seconds=seconds)
    assert of(metrics, "acaops_gpu_wait_seconds", "name") == {NAME: 5}
    assert of(metrics, "acaops_gpu_waited_seconds_count", "name") == {NAME: 2}
    assert of(metrics, "acaops_gpu_waited_seconds_sum", "name") == {NAME: 100}


def test_drift_is_counted_by_object(metrics: Metrics) -> None:
    """From 0, so that the first one shows as an increase."""
    metrics.told(*APP, current=[READY])
    assert value(metrics, "acaops_drift_total", controller="inferenceapp", name=NAME) == 0
    metrics.drifted(*APP)
    metrics.drifted(*APP)
    assert value(metrics, "acaops_drift_total", controller="inferenceapp", name=NAME) == 2


def test_what_differs_is_told_by_object(metrics: Metrics) -> None:
    """How many fields somebody else changed, and whether the object is suspended, by its last pass."""
    metrics.differs(*APP, fields=2, suspended=True)
    metrics.differs(*APP, fields=1, suspended=False)
    assert value(metrics, "acaops_drift_fields", kind="InferenceApp", name=NAME) == 1
    assert value(metrics, "acaops_suspended", kind="InferenceApp", name=NAME) == 0


def test_requests_are_counted_and_timed(metrics: Metrics) -> None:
    """By what they are about, method and code; those that Azure put off once more."""
    metrics.requested("files", "PUT", "201", seconds=0.1, throttled=False)
    metrics.requested("files", "PUT", "503", seconds=0.3, throttled=True)
    assert of(metrics, "acaops_azure_requests_total", "code") == {"201": 1, "503": 1}
    assert value(metrics, "acaops_azure_request_duration_seconds_sum", kind="files") == pytest.approx(0.4)
    assert of(metrics, "acaops_azure_throttled_total", "kind") == {"files": 1}


def test_the_source_has_no_age_before_it_was_applied(metrics: Metrics) -> None:
    """Times come with the first state that loads; one without git has no commit's."""
    timestamps = ("acaops_source_applied_timestamp_seconds", "acaops_source_commit_timestamp_seconds")

    def told() -> list[float]:
        return [found for (name, _), found in series(metrics).items() if name in timestamps]

    assert told() == []
    metrics.applied(timestamp=100.0, committed=99.0)
    assert told() == [100, 99]
    metrics.applied(timestamp=101.0, committed=None)
    assert told() == [101]


def test_a_process_may_write_until_it_is_told_otherwise(metrics: Metrics) -> None:
    """Where nobody is elected there is one, and it leads."""
    assert value(metrics, "acaops_leader") == 1
    metrics.leading(leader=False)
    assert value(metrics, "acaops_leader") == 0


def test_what_is_held_back_by_us(metrics: Metrics) -> None:
    """The seconds by bucket, and how many subscriptions aren't asked."""
    metrics.held("reads", seconds=1.5)
    metrics.held("reads", seconds=0.5)
    for subscription, is_open in (("one", True), ("two", True), ("one", False)):
        metrics.circuit(subscription, is_open=is_open)
    assert of(metrics, "acaops_azure_held_seconds_total", "bucket") == {"reads": 2.0}
    assert value(metrics, "acaops_azure_circuits_open") == 1


def test_what_is_pruned_is_counted_by_state(metrics: Metrics) -> None:
    """As of the last round; a state that is over is 0."""
    metrics.pruning(["Failed", "Kept", "Kept"])
    metrics.pruning(["Kept"])
    assert of(metrics, "acaops_pruning", "state") == {"Deleting": 0, "Waiting": 0, "Held": 0, "Kept": 1, "Failed": 0}


def test_single_numbers(metrics: Metrics) -> None:
    """Fetches, load errors, hooks, messages, the last success and what runs."""
    tell_everything(metrics)
    assert of(metrics, "acaops_source_fetches_total", "result") == {"success": 0, "error": 1}
    assert value(metrics, "acaops_source_load_errors") == 2
    assert value(metrics, "acaops_max_concurrent_reconciles") == 32
    assert value(metrics, "acaops_hook_requests_total", provider="github", result="accepted") == 1
    assert value(metrics, "acaops_notifications_total", receiver="slack", result="dropped") == 3
    assert value(metrics, "acaops_last_success_timestamp_seconds", kind=KIND, name=NAME) == 123.0
    assert value(metrics, "acaops_build_info", version="1.2.3", inventory="default") == 1
    assert value(metrics, "process_start_time_seconds") > 0


def test_a_forgotten_object_leaves_no_series(metrics: Metrics) -> None:
    """Counters neither; another of its name may come, and one that was never told is fine."""
    tell_everything(metrics)
    metrics.told(*OTHER, current=[READY])
    metrics.queue.asked(APP)
    metrics.forget(*APP)
    metrics.forget(*APP)
    names = {dict(labels).get("name") for _, labels in series(metrics)}
    assert names == {None, OTHER[1]}
    assert value(metrics, "acaops_workqueue_depth") == 0


def test_nothing_is_global(metrics: Metrics) -> None:
    """Two controllers in one process don't meet, and the default registry stays as it was."""
    other = Metrics(version="2", inventory="other")
    metrics.loaded(problems=7)
    assert value(other, "acaops_source_load_errors") == 0
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("acaops")]


def test_series_do_not_tell_when_they_began(metrics: Metrics) -> None:
    """That would be one more series for each."""
    tell_everything(metrics)
    assert not [name for name, _ in series(metrics) if name.endswith("_created")]
