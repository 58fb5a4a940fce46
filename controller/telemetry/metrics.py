"""The controller's Prometheus metrics, in a registry of their own.

It must not know where the numbers come from. What is told per object is kept as plain values and made into series when
asked for, so that a forgotten object's series are gone with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import prometheus_client
from prometheus_client import registry
from prometheus_client.core import GaugeMetricFamily, Metric

from controller.model import conditions

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
SECONDS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_KINDS = (conditions.READY, conditions.RECONCILING, conditions.STALLED)
_STATUSES = ("True", "False", "Unknown")


class Metrics:
    """Each method takes one fact; `exposition` gives them all."""

    def __init__(self, *, version: str, inventory: str) -> None:
        self.registry = registry.CollectorRegistry()
        self._objects = _Objects()
        self.registry.register(self._objects)
        prometheus_client.ProcessCollector(registry=self.registry)
        self._reconciles = prometheus_client.Counter(
            "acaops_reconcile_total", "Passes by kind and result.", ("kind", "result"), registry=self.registry
        )
        self._seconds = prometheus_client.Histogram(
            "acaops_reconcile_seconds",
            "How long passes took.",
            ("kind",),
            registry=self.registry,
            buckets=SECONDS_BUCKETS,
        )
        self._writes = prometheus_client.Counter(
            "acaops_azure_writes_total",
            "Writes sent to Azure by verb and kind of resource.",
            ("verb", "resource_kind"),
            registry=self.registry,
        )
        self._load_errors = prometheus_client.Gauge(
            "acaops_source_load_errors", "Problems found by the last load of the source.", registry=self.registry
        )
        self._queue_depth = prometheus_client.Gauge(
            "acaops_queue_depth", "Objects that wait for a pass.", registry=self.registry
        )
        build = prometheus_client.Info("acaops_build", "What runs here.", registry=self.registry)
        build.info({"version": version, "inventory": inventory})

    def reconciled(self, kind: str, result: str, *, seconds: float) -> None:
        """A pass over an object of `kind` ended after `seconds` with `result`, an outcome's name."""
        self._reconciles.labels(kind, result).inc()
        self._seconds.labels(kind).observe(seconds)

    def told(self, kind: str, name: str, *, current: Iterable[conditions.Condition]) -> None:
        """The conditions of an object. One that isn't there counts as False."""
        self._objects.conditions[kind, name] = {condition.type: condition.status for condition in current}

    def succeeded(self, kind: str, name: str, *, timestamp: float) -> None:
        """A pass left the object Ready at `timestamp`, seconds since 1970."""
        self._objects.successes[kind, name] = timestamp

    def forget(self, kind: str, name: str) -> None:
        """Remove the series of an object that is no longer desired."""
        self._objects.conditions.pop((kind, name), None)
        self._objects.successes.pop((kind, name), None)

    def wrote(self, verb: str, resource_kind: str) -> None:
        """A write was sent."""
        self._writes.labels(verb, resource_kind).inc()

    def loaded(self, *, problems: int) -> None:
        """A load of the source ended with so many problems."""
        self._load_errors.set(problems)

    def queued(self, depth: int) -> None:
        """So many objects wait for a pass."""
        self._queue_depth.set(depth)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format, of `CONTENT_TYPE`."""
        return prometheus_client.generate_latest(self.registry)


@dataclass(eq=False)
class _Objects(registry.Collector):
    """What is told per object, by kind and name."""

    conditions: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    successes: dict[tuple[str, str], float] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        told = GaugeMetricFamily(
            "acaops_condition", "1 for the status a condition has.", labels=("kind", "name", "type", "status")
        )
        for (kind, name), current in self.conditions.items():
            for condition in _KINDS:
                for status in _STATUSES:
                    told.add_metric((kind, name, condition, status), float(current.get(condition, "False") == status))
        yield told
        last = GaugeMetricFamily(
            "acaops_last_success_timestamp_seconds", "When a pass last left it Ready.", labels=("kind", "name")
        )
        for (kind, name), timestamp in self.successes.items():
            last.add_metric((kind, name), timestamp)
        yield last
