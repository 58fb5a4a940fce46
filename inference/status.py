"""Where the process stands: loading, ready, draining or failed. Owns the probes' answers, knows no HTTP server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inference import logs

_LOG = logging.getLogger("inference.load")

IMPORTING = "importing"
LOADING = "loading"
VALIDATING = "validating_adapter"
MERGING = "merging"
WARMING = "warming"
READY = "ready"
FAILED = "failed"


@dataclass(frozen=True)
class Served:
    """What answers: names and content digests (`sha256:…`). `context` is the longest prompt plus answer in tokens."""

    model: str
    adapter: str | None
    model_digest: str
    adapter_digest: str | None
    context: int


@dataclass(frozen=True)
class Probe:
    """A probe's answer: an HTTP status and a JSON body."""

    code: int
    body: dict[str, Any]


class Status:
    """Written by the loading thread and the event loop, read by probes at any time.

    `engine_problem` says why the engine can't go on, or None; it is asked at each liveness probe.
    """

    def __init__(self, *, release: str | None = None) -> None:
        self.release = release
        self.stage = IMPORTING
        self.reason: str | None = None
        self.served: Served | None = None
        self.draining = False
        self.engine_problem: Callable[[], str | None] = lambda: None
        self.stage_seconds: dict[str, float] = {}
        self._started = self._entered = time.monotonic()

    def enter(self, stage: str) -> None:
        """Go on to `stage`; the time spent in the last one is kept for the metrics."""
        self._close_stage()
        self.stage = stage
        logs.event(_LOG, "load_stage", stage=stage, elapsed_s=self.elapsed)

    def ready(self, served: Served) -> None:
        self._close_stage()
        self.served = served
        self.stage = READY
        logs.event(_LOG, "ready", elapsed_s=self.elapsed, model=served.model, adapter=served.adapter)

    def fail(self, reason: str) -> None:
        """For good: only a restart of the process helps. `reason` begins with its kind, as in `ModelNotFound: …`."""
        self._close_stage()
        logs.event(_LOG, "load_failed", level=logging.ERROR, stage=self.stage, reason=reason)
        self.reason = reason
        self.stage = FAILED

    @property
    def elapsed(self) -> float:
        """Seconds since the process began to load."""
        return round(time.monotonic() - self._started, 1)

    def live(self) -> Probe:
        """200 as long as waiting helps; 500 when only a restart does."""
        problem = self.reason if self.stage == FAILED else self.engine_problem()
        return Probe(500, {"live": False, "reason": problem}) if problem else Probe(200, {"live": True})

    def readiness(self) -> Probe:
        """200 with what is served, else 503 with how far it is."""
        if self.stage == READY and self.served and not self.draining and not self.engine_problem():
            served = self.served
            return Probe(
                200,
                {
                    "ready": True,
                    "release": self.release,
                    "model": served.model,
                    "adapter": served.adapter,
                    "model_digest": served.model_digest,
                    "adapter_digest": served.adapter_digest,
                },
            )
        return Probe(
            503,
            {
                "ready": False,
                "stage": "draining" if self.draining else self.stage,
                "elapsed_s": self.elapsed,
                "release": self.release,
                "reason": self.reason or self.engine_problem(),
            },
        )

    def health(self) -> Probe:
        """Always 200: for people."""
        return Probe(200, {**self.readiness().body, "stage_seconds": self.stage_seconds})

    def _close_stage(self) -> None:
        now = time.monotonic()
        self.stage_seconds[self.stage] = round(now - self._entered, 3)
        self._entered = now
