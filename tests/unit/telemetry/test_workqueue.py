"""What waits for a pass, what is in one, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from controller.telemetry import workqueue

CHAT, ENVIRONMENT = ("InferenceApp", "chat"), ("Environment", "gpu-west")


@dataclass
class Queued:
    registry: CollectorRegistry
    queue: workqueue.Queue
    now: float = 1000.0

    def number(self, name: str) -> float:
        return self.registry.get_sample_value(f"acaops_{name}") or 0.0


@pytest.fixture
def queued() -> Queued:
    registry = CollectorRegistry()
    made = Queued(registry, workqueue.Queue(registry, clock=lambda: made.now))
    return made


def test_waiting_is_counted_from_the_first_ask(queued: Queued) -> None:
    """Asking for what waits already adds nothing."""
    queued.queue.asked(CHAT)
    queued.now += 2
    queued.queue.asked(CHAT)
    queued.queue.asked(ENVIRONMENT)
    assert (queued.number("workqueue_depth"), queued.number("workqueue_adds_total")) == (2, 2)
    queued.now += 1
    queued.queue.begun(CHAT)
    assert (queued.number("workqueue_depth"), queued.number("active_workers")) == (1, 1)
    assert queued.number("workqueue_queue_duration_seconds_sum") == 3


def test_work_under_way_has_an_age(queued: Queued) -> None:
    """At the moment of the scrape: the oldest, and all together."""
    queued.queue.begun(CHAT)
    queued.now += 10
    queued.queue.begun(ENVIRONMENT)
    queued.now += 5
    assert queued.number("workqueue_longest_running_processor_seconds") == 15
    assert queued.number("workqueue_unfinished_work_seconds") == 20
    queued.queue.ended(CHAT, retry=False)
    assert queued.number("workqueue_longest_running_processor_seconds") == 5
    assert queued.number("workqueue_work_duration_seconds_sum") == 15
    queued.queue.ended(ENVIRONMENT, retry=False)
    assert (queued.number("workqueue_unfinished_work_seconds"), queued.number("active_workers")) == (0, 0)


def test_what_is_asked_for_while_it_is_looked_at_waits_for_one_more_look(queued: Queued) -> None:
    """It counts as waiting from then on."""
    queued.queue.asked(CHAT)
    queued.queue.begun(CHAT)
    queued.queue.asked(CHAT)
    queued.now += 4
    queued.queue.ended(CHAT, retry=False)
    assert (queued.number("workqueue_depth"), queued.number("workqueue_adds_total")) == (1, 2)
    queued.queue.begun(CHAT)
    assert queued.number("workqueue_queue_duration_seconds_sum") == 4


def test_retries_are_counted(queued: Queued) -> None:
    """Only looks that are repeated after the growing pause."""
    for retry in (True, True, False):
        queued.queue.begun(CHAT)
        queued.queue.ended(CHAT, retry=retry)
    assert queued.number("workqueue_retries_total") == 2
    assert queued.number("workqueue_work_duration_seconds_count") == 3


def test_what_is_dropped_is_nowhere(queued: Queued) -> None:
    """Neither waiting nor under way, and no time of it is counted."""
    queued.queue.asked(CHAT)
    queued.queue.begun(ENVIRONMENT)
    queued.queue.dropped(CHAT)
    queued.queue.dropped(ENVIRONMENT)
    assert (queued.number("workqueue_depth"), queued.number("active_workers")) == (0, 0)
    assert queued.number("workqueue_work_duration_seconds_count") == 0
