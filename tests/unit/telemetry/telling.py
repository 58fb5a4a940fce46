"""A `Metrics` object that was told of everything once, so that no series is missing."""

from __future__ import annotations

from datetime import UTC, datetime

from controller.model import conditions, outcome
from controller.telemetry.metrics import Metrics

APP = ("InferenceApp", "phi3-chat")
READY = conditions.Condition("Ready", "Unknown", "R", "", "r", datetime(2026, 11, 22, 12, 0, tzinfo=UTC))
WORKING = outcome.InProgress("RollingOut", "activating")


def tell_everything(metrics: Metrics) -> None:
    """Every method once."""
    metrics.reconciled(APP[0], WORKING, seconds=0.2)
    metrics.workers(limit=32)
    metrics.told(*APP, current=[READY])
    metrics.succeeded(*APP, timestamp=123.0)
    metrics.drifted(*APP)
    metrics.rollout(APP[1], WORKING)
    metrics.released(APP[1], "r1", timestamp=122.0)
    metrics.gpu_waiting(*APP, seconds=30.0)
    metrics.requested("containerApps", "PATCH", "429", seconds=0.1, throttled=True)
    metrics.fetched("error")
    metrics.loaded(problems=2)
    metrics.applied(timestamp=100.0, committed=99.0)
    metrics.leading(leader=False)
    metrics.hooked("github", "accepted")
    metrics.notified("slack", "dropped", 3)
    metrics.queue.asked(APP)
    metrics.queue.begun(APP)
    metrics.queue.ended(APP, retry=True)
    metrics.queue.dropped(APP)
