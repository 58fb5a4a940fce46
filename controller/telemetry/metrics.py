"""The controller's Prometheus metrics, in a registry of their own, named as controller-runtime names its own.

It must not know where the numbers come from. What is told per object is kept as plain values and made into series when
asked for, so that a forgotten object's series are gone with it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import prometheus_client
from prometheus_client import registry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controller.model import conditions, outcome
from controller.telemetry import workqueue

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
PASS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
REQUEST_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0)

PHASES = ("pending", "rolling_out", "healthy", "overdue", "failed")
"""Of a rollout. pending: something must be there before; overdue: its deadline passed before its revision was ready or
answered the check; failed: the platform gave its revision up."""

_APP = "InferenceApp"
_CONTROLLERS = ("environment", "inferenceapp")
_RESULTS = ("success", "error", "requeue", "requeue_after")
_CONDITIONS = (conditions.READY, conditions.RECONCILING, conditions.STALLED)
_STATUSES = ("True", "False", "Unknown")
_LATE = (conditions.Reason.DEADLINE_EXCEEDED, conditions.Reason.CHECK_FAILED)


class Metrics:
    """Each method takes one fact; `exposition` gives them all. Labels take words of closed sets and the names of
    objects and receivers, nothing else. `clock` gives seconds since any moment."""

    def __init__(self, *, version: str, inventory: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry.CollectorRegistry()
        self.queue = workqueue.Queue(self.registry, clock=clock)
        self._objects = _Objects()
        self._source = _Source()
        for collector in (self._objects, self._source):
            self.registry.register(collector)
        prometheus_client.ProcessCollector(registry=self.registry)
        self._passes = _Passes(self.registry)
        self._azure = _Azure(self.registry)
        self._fetches = self._counter("acaops_source_fetches_total", "Fetches of the repository.", "result")
        self._hooks = self._counter("acaops_hook_requests_total", "Calls of the webhook.", "provider", "result")
        self._notifications = self._counter("acaops_notifications_total", "Messages sent out.", "receiver", "result")
        self._limit = self._gauge("acaops_max_concurrent_reconciles", "The most passes under way at a time.")
        self._problems = self._gauge("acaops_source_load_errors", "Problems found by the last load of the source.")
        self._leader = self._gauge("acaops_leader", "1 while this process may write.")
        self._leader.set(1)
        for result in ("success", "error"):
            self._fetches.labels(result)
        build = prometheus_client.Info("acaops_build", "What runs here.", registry=self.registry)
        build.info({"version": version, "inventory": inventory})

    def reconciled(self, kind: str, verdict: outcome.Outcome, *, seconds: float) -> None:
        """A pass over an object of `kind` came to `verdict` after `seconds`."""
        self._passes.count(kind.lower(), verdict, seconds=seconds)

    def workers(self, *, limit: int) -> None:
        """So many passes may be under way at a time."""
        self._limit.set(limit)

    def told(self, kind: str, name: str, *, current: Iterable[conditions.Condition]) -> None:
        """The conditions of an object. One that isn't there counts as False."""
        self._objects.of(kind, name).conditions = {one.type: one.status for one in current}

    def succeeded(self, kind: str, name: str, *, timestamp: float) -> None:
        """A pass left the object Ready at `timestamp`, seconds since 1970."""
        self._objects.of(kind, name).success = timestamp

    def drifted(self, kind: str, name: str) -> None:
        """A write put back what somebody else had changed."""
        self._objects.of(kind, name).drift += 1

    def rollout(self, name: str, verdict: outcome.Outcome) -> None:
        """What a pass found of the revision that the app called `name` is to run."""
        self._objects.of(_APP, name).phase = _phase(verdict)

    def released(self, name: str, release: str, *, timestamp: float) -> None:
        """`release` is what the app called `name` runs, Ready since `timestamp`, seconds since 1970."""
        self._objects.of(_APP, name).release = (release, timestamp)

    def forget(self, kind: str, name: str) -> None:
        """Remove the series of an object that is no longer desired."""
        self._objects.known.pop((kind, name), None)
        self.queue.dropped((kind, name))

    def requested(self, kind: str, method: str, code: str, *, seconds: float, throttled: bool) -> None:
        """A request to Azure about a `kind` of thing was answered with `code`, or got no answer, after `seconds`."""
        self._azure.requests.labels(kind, method, code).inc()
        self._azure.seconds.labels(kind).observe(seconds)
        if throttled:
            self._azure.throttled.labels(kind).inc()

    def fetched(self, result: str) -> None:
        """A fetch of the repository ended in success or error."""
        self._fetches.labels(result).inc()

    def loaded(self, *, problems: int) -> None:
        """A load of the source ended with so many problems."""
        self._problems.set(problems)

    def applied(self, *, timestamp: float, committed: float | None) -> None:
        """The source loaded whole at `timestamp`; its commit was made at `committed`, None without git. Both in
        seconds since 1970."""
        self._source.applied, self._source.committed = timestamp, committed

    def leading(self, *, leader: bool) -> None:
        """Whether this process may write. Where nobody is elected it always may, and this needs no call."""
        self._leader.set(leader)

    def hooked(self, provider: str, result: str) -> None:
        """The webhook was called by a `provider`'s message, with a `result` of few words."""
        self._hooks.labels(provider, result).inc()

    def notified(self, receiver: str, result: str) -> None:
        """A message to `receiver` ended in success or error."""
        self._notifications.labels(receiver, result).inc()

    def exposition(self) -> bytes:
        """All series in Prometheus' text format, of `CONTENT_TYPE`."""
        return prometheus_client.generate_latest(_WithoutCreated(self.registry))

    def _counter(self, name: str, about: str, *labels: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(name, about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(name, about, registry=self.registry)


def _result(verdict: outcome.Outcome) -> str:
    """The word that controller-runtime has for it.

    Done        success
    InProgress  requeue_after: it is known when to look again
    Waiting     requeue_after where Azure said when, else requeue: again after the growing pause, without an error
    Transient   error
    Stalled     error, which also counts as a terminal one
    """
    match verdict:
        case outcome.Done():
            return "success"
        case outcome.Waiting(after=None):
            return "requeue"
        case outcome.InProgress() | outcome.Waiting():
            return "requeue_after"
    return "error"


def _phase(verdict: outcome.Outcome) -> str:
    """One of `PHASES`."""
    match verdict:
        case outcome.Done():
            return "healthy"
        case outcome.InProgress():
            return "rolling_out"
        case outcome.Stalled(reason=reason):
            return "overdue" if reason in _LATE else "failed"
    return "pending"


class _Passes:
    def __init__(self, into: registry.CollectorRegistry) -> None:
        self._total = prometheus_client.Counter(
            "acaops_reconcile_total", "Passes by what they came to.", ("controller", "result"), registry=into
        )
        self._errors = prometheus_client.Counter(
            "acaops_reconcile_errors_total", "Passes that failed.", ("controller",), registry=into
        )
        self._terminal = prometheus_client.Counter(
            "acaops_terminal_reconcile_errors_total",
            "Passes that failed in a way that no repetition mends.",
            ("controller",),
            registry=into,
        )
        self._seconds = prometheus_client.Histogram(
            "acaops_reconcile_time_seconds",
            "How long passes took.",
            ("controller",),
            registry=into,
            buckets=PASS_BUCKETS,
        )
        # The first error must be seen as an increase.
        for controller in _CONTROLLERS:
            self._errors.labels(controller)
            self._terminal.labels(controller)
            for result in _RESULTS:
                self._total.labels(controller, result)

    def count(self, controller: str, verdict: outcome.Outcome, *, seconds: float) -> None:
        result = _result(verdict)
        self._total.labels(controller, result).inc()
        self._seconds.labels(controller).observe(seconds)
        if result == "error":
            self._errors.labels(controller).inc()
        if isinstance(verdict, outcome.Stalled):
            self._terminal.labels(controller).inc()


class _Azure:
    def __init__(self, into: registry.CollectorRegistry) -> None:
        self.requests = prometheus_client.Counter(
            "acaops_azure_requests_total", "Requests to Azure.", ("kind", "method", "code"), registry=into
        )
        self.throttled = prometheus_client.Counter(
            "acaops_azure_throttled_total",
            "Requests that Azure put off, being asked too much.",
            ("kind",),
            registry=into,
        )
        self.seconds = prometheus_client.Histogram(
            "acaops_azure_request_duration_seconds",
            "How long Azure took to begin its answers.",
            ("kind",),
            registry=into,
            buckets=REQUEST_BUCKETS,
        )


@dataclass
class _Object:
    """What was told of one object; None, and no conditions, where nothing was."""

    conditions: Mapping[str, str] = field(default_factory=dict)
    success: float | None = None
    drift: int = 0
    phase: str | None = None
    release: tuple[str, float] | None = None


@dataclass(eq=False)
class _Objects(registry.Collector):
    """What is told per object, by kind and name."""

    known: dict[tuple[str, str], _Object] = field(default_factory=dict)

    def of(self, kind: str, name: str) -> _Object:
        return self.known.setdefault((kind, name), _Object())

    def collect(self) -> Iterator[Metric]:
        families = (
            told := _gauges("acaops_condition", "1 for the status a condition has.", "kind", "name", "type", "status"),
            last := _gauges("acaops_last_success_timestamp_seconds", "When a pass last left it Ready.", "kind", "name"),
            drift := CounterMetricFamily(
                "acaops_drift_total",
                "Writes that put back what somebody else had changed.",
                labels=("controller", "name"),
            ),
            phase := _gauges("acaops_rollout_phase", "1 for the phase a rollout is in.", "name", "phase"),
            release := _gauges(
                "acaops_release_timestamp_seconds", "When the release that runs became Ready.", "name", "release"
            ),
        )
        for (kind, name), one in self.known.items():
            for condition, status in itertools.product(_CONDITIONS if one.conditions else (), _STATUSES):
                told.add_metric((kind, name, condition, status), one.conditions.get(condition, "False") == status)
            if one.success is not None:
                last.add_metric((kind, name), one.success)
            if kind == _APP or one.drift:
                drift.add_metric((kind.lower(), name), one.drift)
            for each in PHASES if one.phase else ():
                phase.add_metric((name, each), each == one.phase)
            if one.release:
                release.add_metric((name, one.release[0]), one.release[1])
        yield from families


def _gauges(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=labels)


@dataclass(eq=False)
class _Source(registry.Collector):
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


@dataclass(frozen=True)
class _WithoutCreated(registry.Collector):
    """The same without the time at which each series began: in the text format those are as many series again."""

    inner: registry.CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        for family in self.inner.collect():
            family.samples = [sample for sample in family.samples if sample.name != f"{family.name}_created"]
            yield family
