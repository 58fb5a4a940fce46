"""The series that Prometheus gets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from controller.model import conditions
from controller.telemetry.metrics import Metrics

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
APP = ("InferenceApp", "phi3-chat")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", inventory="default")


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


def test_passes_are_counted_and_timed(metrics: Metrics) -> None:
    """By kind, and the count by result."""
    metrics.reconciled("Environment", "Done", seconds=0.2)
    metrics.reconciled("Environment", "Stalled", seconds=0.4)
    assert value(metrics, "acaops_reconcile_total", kind="Environment", result="Done") == 1
    assert value(metrics, "acaops_reconcile_seconds_count", kind="Environment") == 2
    assert value(metrics, "acaops_reconcile_seconds_sum", kind="Environment") == pytest.approx(0.6)


def test_each_condition_has_one_status(metrics: Metrics) -> None:
    """1 for the status it has, 0 for the others; a condition that isn't there is False."""
    metrics.told(*APP, current=[conditions.Condition("Ready", "Unknown", "R", "", "r", NOW)])
    app = {"kind": APP[0], "name": APP[1]}
    told = {
        (kind, status): value(metrics, "acaops_condition", type=kind, status=status, **app)
        for kind in ("Ready", "Reconciling", "Stalled")
        for status in ("True", "False", "Unknown")
    }
    assert {pair for pair, is_it in told.items() if is_it} == {
        ("Ready", "Unknown"),
        ("Reconciling", "False"),
        ("Stalled", "False"),
    }
    assert set(told.values()) == {0.0, 1.0}


def test_single_numbers(metrics: Metrics) -> None:
    """Writes, load errors, queue depth, the last success and what runs."""
    metrics.wrote("Create", "storageAccount")
    metrics.loaded(problems=2)
    metrics.queued(7)
    metrics.succeeded(*APP, timestamp=123.0)
    assert value(metrics, "acaops_azure_writes_total", verb="Create", resource_kind="storageAccount") == 1
    assert value(metrics, "acaops_source_load_errors") == 2
    assert value(metrics, "acaops_queue_depth") == 7
    assert value(metrics, "acaops_last_success_timestamp_seconds", kind=APP[0], name=APP[1]) == 123.0
    assert value(metrics, "acaops_build_info", version="1.2.3", inventory="default") == 1


def test_a_forgotten_object_leaves_no_series(metrics: Metrics) -> None:
    """Another of its name may come; one that was never told is fine."""
    metrics.told(*APP, current=[])
    metrics.succeeded(*APP, timestamp=123.0)
    metrics.told("Environment", APP[1], current=[])
    metrics.forget(*APP)
    metrics.forget(*APP)
    kinds = {dict(labels).get("kind") for _, labels in series(metrics)}
    assert kinds == {None, "Environment"}


def test_nothing_is_global(metrics: Metrics) -> None:
    """Two controllers in one process don't meet, and the default registry stays as it was."""
    other = Metrics(version="2", inventory="other")
    metrics.queued(7)
    assert value(other, "acaops_queue_depth") == 0
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("acaops")]
