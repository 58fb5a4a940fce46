"""What waits for a pass and what is in one, in the numbers that controller-runtime gives of its work queue.

It must not decide who is next. It keeps when things began, and works their ages out when it is asked for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client import registry
from prometheus_client.core import GaugeMetricFamily, Metric

Key = tuple[str, str]
"""An object's kind and name; no label ever holds it."""

BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Queue(registry.Collector):
    """Told of each object in turn: `asked`, `begun`, `ended`. `clock` gives seconds since any moment."""

    def __init__(self, into: registry.CollectorRegistry, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[Key, float] = {}
        self._running: dict[Key, float] = {}
        self._adds = prometheus_client.Counter(
            "acaops_workqueue_adds_total", "Times an object was put up for a pass.", registry=into
        )
        self._retries = prometheus_client.Counter(
            "acaops_workqueue_retries_total", "Passes to be repeated after the growing pause.", registry=into
        )
        self._waited = prometheus_client.Histogram(
            "acaops_workqueue_queue_duration_seconds",
            "How long objects waited from being asked for to being looked at.",
            registry=into,
            buckets=BUCKETS,
        )
        self._worked = prometheus_client.Histogram(
            "acaops_workqueue_work_duration_seconds", "How long looks took.", registry=into, buckets=BUCKETS
        )
        into.register(self)

    def asked(self, key: Key) -> None:
        """A pass over `key` is due or wanted. While it waits, asking again changes nothing; while it is looked at, it
        waits for one more look."""
        if key not in self._waiting:
            self._waiting[key] = self._clock()
            self._adds.inc()

    def begun(self, key: Key) -> None:
        """The look at `key` begins."""
        now = self._clock()
        self._waited.observe(now - self._waiting.pop(key, now))
        self._running[key] = now

    def ended(self, key: Key, *, retry: bool) -> None:
        """The look at `key` is over, whatever it came to. `retry` says that it is repeated after the growing pause."""
        now = self._clock()
        self._worked.observe(now - self._running.pop(key, now))
        if retry:
            self._retries.inc()

    def dropped(self, key: Key) -> None:
        """Nobody works on `key` any more; what it waited for isn't counted."""
        self._waiting.pop(key, None)
        self._running.pop(key, None)

    def collect(self) -> Iterator[Metric]:
        now = self._clock()
        ages = [now - since for since in self._running.values()]
        yield GaugeMetricFamily("acaops_workqueue_depth", "Objects that wait for a pass.", len(self._waiting))
        yield GaugeMetricFamily("acaops_active_workers", "Passes that are under way.", len(ages))
        yield GaugeMetricFamily(
            "acaops_workqueue_unfinished_work_seconds", "Age of all passes under way, added up.", sum(ages)
        )
        yield GaugeMetricFamily(
            "acaops_workqueue_longest_running_processor_seconds",
            "Age of the oldest pass under way.",
            max(ages, default=0.0),
        )
