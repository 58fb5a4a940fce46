"""The Prometheus metrics, one object with one registry per process. Owns names and buckets."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Durations are in seconds."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.ready = Gauge("inference_ready", "1 when requests are answered", registry=registry)
        self.in_flight = Gauge("inference_requests_in_flight", "Answers being generated", registry=registry)
        self.queued = Gauge("inference_requests_queued", "Requests waiting for a place", registry=registry)
        self.requests = Counter("inference_requests", "Answers, by how they ended", ["finish"], registry=registry)
        self.rejected = Counter("inference_rejected", "Requests not admitted", ["reason"], registry=registry)
        self.first_token = Histogram(
            "inference_time_to_first_token_seconds",
            "From admission request to first token",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.duration = Histogram(
            "inference_request_seconds",
            "From admission request to last token",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240),
            registry=registry,
        )
        self.answer_speed = Histogram(
            "inference_answer_tokens_per_second",
            "Per answer, from its first token to its last",
            buckets=(1, 2, 5, 10, 20, 30, 50, 75, 100, 200, 500, 1000),
            registry=registry,
        )
        self.prompt_tokens = Counter("inference_prompt_tokens", "Prompt tokens read", registry=registry)
        self.generated_tokens = Counter("inference_generated_tokens", "Tokens generated", registry=registry)
        self.kv_pages = Gauge("inference_kv_pages", "Pages of the key/value cache", registry=registry)
        self.kv_pages_used = Gauge(
            "inference_kv_pages_used",
            "Pages held by running answers, shared ones once; pages kept only for their prefix count as free",
            registry=registry,
        )
        self.restarts = Counter("inference_engine_restarts", "Restarts of the engine", registry=registry)
        self.adapter_reloads = Counter(
            "inference_adapter_reloads", "Adapter reloads, by how they ended", ["result"], registry=registry
        )
        self.load_seconds = Gauge("inference_load_seconds", "Time spent in a load stage", ["stage"], registry=registry)

    def text(self, *, ready: bool, stage_seconds: dict[str, float]) -> bytes:
        """The exposition, with the load's own numbers brought up to date."""
        self.ready.set(ready)
        for stage, seconds in stage_seconds.items():
            self.load_seconds.labels(stage).set(seconds)
        return generate_latest(self.registry)
