"""The controller's Prometheus metrics, in a registry of their own, named as controller-runtime names its own.

It must not know where the numbers come from.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import prometheus_client
from prometheus_client import registry
from prometheus_client.core import Metric

from controller.model import conditions, outcome
from controller.telemetry import series, workqueue

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
PASS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
REQUEST_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0)

PRUNING = ("Deleting", "Waiting", "Held", "Kept", "Failed")
"""States of resources of objects that aren't desired any more."""

_CONTROLLERS = ("environment", "inferenceapp")
_RESULTS = ("success", "error", "requeue", "requeue_after")


class Metrics:
    """Each method takes one fact; `exposition` gives them all. Labels take words of closed sets and the names of
    objects and receivers, nothing else. `clock` gives seconds since any moment."""

    def __init__(self, *, version: str, inventory: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry.CollectorRegistry()
        self.queue = workqueue.Queue(self.registry, clock=clock)
        self._objects = series.Objects()
        self._source = series.Source()
        for collector in (self._objects, self._source):
            self.registry.register(collector)
        prometheus_client.ProcessCollector(registry=self.registry)
        self._passes = _Passes(self.registry)
        self._azure = _Azure(self.registry)
        self._fetches = self._counter("acaops_source_fetches_total", "Fetches of the repository.", "result")
        self._hooks = self._counter("acaops_hook_requests_total", "Calls of the webhook.", "provider", "result")
        self._notifications = self._counter(
            "acaops_notifications_total", "Messages to receivers.", "receiver", "result"
        )
        self._limit = self._gauge("acaops_max_concurrent_reconciles", "The most passes under way at a time.")
        self._problems = self._gauge("acaops_source_load_errors", "Problems found by the last load of the source.")
        self._pruning = prometheus_client.Gauge(
            "acaops_pruning", "Resources of objects that aren't desired any more.", ("state",), registry=self.registry
        )
        self.pruning(())
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

    def differs(self, kind: str, name: str, *, fields: int, suspended: bool) -> None:
        """So many fields of the object's resources were changed by somebody else, by its last pass; and whether it is
        suspended."""
        one = self._objects.of(kind, name)
        one.fields, one.suspended = fields, suspended

    def rollout(self, name: str, verdict: outcome.Outcome) -> None:
        """What a pass found of the revision that the app called `name` is to run."""
        self._objects.of(series.APP, name).phase = series.phase(verdict)

    def released(self, name: str, release: str, *, timestamp: float) -> None:
        """`release` is what the app called `name` runs, Ready since `timestamp`, seconds since 1970."""
        self._objects.of(series.APP, name).release = (release, timestamp)

    def gpu_waiting(self, kind: str, name: str, *, seconds: float) -> None:
        """A replica of the app has been waiting for a GPU for so long by now, 0 where none does."""
        self._objects.of(kind, name).waits(seconds)

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

    def held(self, bucket: str, *, seconds: float) -> None:
        """A request waited so long for its turn in one of ARM's buckets."""
        self._azure.held.labels(bucket).inc(seconds)

    def circuit(self, subscription: str, *, is_open: bool) -> None:
        """A subscription isn't asked for anything for a while, or is again."""
        (self._azure.open.add if is_open else self._azure.open.discard)(subscription)
        self._azure.circuits.set(len(self._azure.open))

    def pruning(self, states: Iterable[str]) -> None:
        """The states of resources of objects that aren't desired any more, one for each."""
        counted = collections.Counter(states)
        for state in PRUNING:
            self._pruning.labels(state).set(counted[state])

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

    def notified(self, receiver: str, result: str, messages: int) -> None:
        """So many messages to `receiver` were sent or dropped: the `result`."""
        self._notifications.labels(receiver, result).inc(messages)

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
        self.held = prometheus_client.Counter(
            "acaops_azure_held_seconds_total",
            "Seconds that requests waited for their turn, so that Azure needn't put them off.",
            ("bucket",),
            registry=into,
        )
        self.open: set[str] = set()
        self.circuits = prometheus_client.Gauge(
            "acaops_azure_circuits_open", "Subscriptions that aren't asked: nothing but failures came.", registry=into
        )
        self.seconds = prometheus_client.Histogram(
            "acaops_azure_request_duration_seconds",
            "How long Azure took to begin its answers.",
            ("kind",),
            registry=into,
            buckets=REQUEST_BUCKETS,
        )


@dataclass(frozen=True)
class _WithoutCreated(registry.Collector):
    """The same without the time at which each series began: in the text format those are as many series again."""

    inner: registry.CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        for family in self.inner.collect():
            family.samples = [sample for sample in family.samples if sample.name != f"{family.name}_created"]
            yield family
