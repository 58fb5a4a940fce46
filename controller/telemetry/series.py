"""What is told of each object and of the source, kept as plain values and made into series when they are asked for: a
forgotten object's series are gone with it, counters too, and what nobody knows has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import registry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from controller.model import conditions, outcome

APP = "InferenceApp"

PHASES = ("pending", "rolling_out", "healthy", "overdue", "failed")
"""Of a rollout. pending: something must be there first; overdue: its deadline passed before its revision was ready or
answered the check; failed: the platform gave its revision up."""

_CONDITIONS = (conditions.READY, conditions.RECONCILING, conditions.STALLED)
_STATUSES = ("True", "False", "Unknown")
_LATE = (conditions.Reason.DEADLINE_EXCEEDED, conditions.Reason.CHECK_FAILED)


def phase(verdict: outcome.Outcome) -> str:
    """One of `PHASES`."""
    match verdict:
        case outcome.Done():
            return "healthy"
        case outcome.InProgress():
            return "rolling_out"
        case outcome.Stalled(reason=reason):
            return "overdue" if reason in _LATE else "failed"
    return "pending"


@dataclass
class Object:
    """What was told of one object; None, and no conditions, where nothing was."""

    conditions: Mapping[str, str] = field(default_factory=dict)
    success: float | None = None
    drift: int = 0
    fields: int | None = None
    suspended: bool = False
    phase: str | None = None
    release: tuple[str, float] | None = None
    gpu_wait: float | None = None
    gpu_waits: int = 0
    gpu_waited: float = 0.0

    def waits(self, seconds: float) -> None:
        """For a GPU, so long by now. One that waits no longer has waited as long as it was last known to; one that
        waits less than before began anew."""
        before = self.gpu_wait or 0.0
        if seconds < before:
            self.gpu_waits += 1
            self.gpu_waited += before
        self.gpu_wait = seconds


@dataclass(eq=False)
class Objects(registry.Collector):
    """What is told per object, by kind and name."""

    known: dict[tuple[str, str], Object] = field(default_factory=dict)

    def of(self, kind: str, name: str) -> Object:
        return self.known.setdefault((kind, name), Object())

    def collect(self) -> Iterator[Metric]:
        families = (
            told := _gauges("acaops_condition", "1 for the status a condition has.", "kind", "name", "type", "status"),
            last := _gauges("acaops_last_success_timestamp_seconds", "When a pass last left it Ready.", "kind", "name"),
            drift := CounterMetricFamily(
                "acaops_drift_total",
                "Writes that put back what somebody else had changed.",
                labels=("controller", "name"),
            ),
            fields := _gauges(
                "acaops_drift_fields", "Fields that somebody else changed, at the last pass.", "kind", "name"
            ),
            paused := _gauges("acaops_suspended", "1 while the object is suspended.", "kind", "name"),
            phases := _gauges("acaops_rollout_phase", "1 for the phase a rollout is in.", "name", "phase"),
            release := _gauges(
                "acaops_release_timestamp_seconds", "When the release that runs became Ready.", "name", "release"
            ),
            gpu := _gauges(
                "acaops_gpu_wait_seconds", "How long a replica has been waiting for a GPU; 0 where none does.", "name"
            ),
            waited := SummaryMetricFamily(
                "acaops_gpu_waited_seconds", "Waits for a GPU that are over.", labels=("name",)
            ),
        )
        for (kind, name), one in self.known.items():
            for condition, status in itertools.product(_CONDITIONS if one.conditions else (), _STATUSES):
                told.add_metric((kind, name, condition, status), one.conditions.get(condition, "False") == status)
            if one.success is not None:
                last.add_metric((kind, name), one.success)
            if kind == APP or one.drift:
                drift.add_metric((kind.lower(), name), one.drift)
            if one.fields is not None:
                fields.add_metric((kind, name), one.fields)
                paused.add_metric((kind, name), one.suspended)
            for each in PHASES if one.phase else ():
                phases.add_metric((name, each), each == one.phase)
            if one.release:
                release.add_metric((name, one.release[0]), one.release[1])
            if one.gpu_wait is not None:
                gpu.add_metric((name,), one.gpu_wait)
                waited.add_metric((name,), count_value=one.gpu_waits, sum_value=one.gpu_waited)
        yield from families


def _gauges(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=labels)


@dataclass(eq=False)
class Source(registry.Collector):
    """Times of the source that was last applied; without one there is no series, for an age of 0 would be a lie."""

    applied: float | None = None
    committed: float | None = None

    def collect(self) -> Iterator[Metric]:
        if self.applied is not None:
            about = "When the source last loaded whole."
            yield GaugeMetricFamily("acaops_source_applied_timestamp_seconds", about, self.applied)
        if self.committed is not None:
            about = "When the commit was made that the source was last applied at."
            yield GaugeMetricFamily("acaops_source_commit_timestamp_seconds", about, self.committed)
