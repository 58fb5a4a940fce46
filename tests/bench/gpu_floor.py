"""How fast a decoder can be at best: each step reads all weights, keys and values, at the memory's speed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EAGER, THREADS, STATIC, ENGINE = "eager", "threads", "static", "engine"

HEAD = f"{'way':8} {'streams':>7} {'tok/s':>9} {'floor':>9} {'of floor':>8} {'seconds':>8}"


@dataclass(frozen=True)
class Memory:
    """`bandwidth` in bytes a second, read and written; `weights` the bytes that each step reads of them; `token` the
    bytes of one token's keys and values."""

    bandwidth: float
    weights: int
    token: int

    def step(self, streams: int, *, context: float) -> float:
        """The least seconds of a step in which each stream looks back at `context` tokens."""
        return (self.weights + streams * context * self.token) / self.bandwidth

    def speed(self, streams: int, *, context: float) -> float:
        """The most tokens a second, all streams together."""
        return streams / self.step(streams, context=context)


@dataclass(frozen=True)
class Row:
    """`tokens` by all streams in `seconds`, prompts read included; `floor` the most tokens a second."""

    way: str
    streams: int
    tokens: int
    seconds: float
    floor: float

    @property
    def speed(self) -> float:
        return self.tokens / self.seconds

    @property
    def share(self) -> float:
        return self.speed / self.floor

    def shown(self) -> str:
        """A line under HEAD."""
        return (
            f"{self.way:8} {self.streams:7} {self.speed:9.1f} {self.floor:9.0f} {self.share:8.1%} {self.seconds:8.2f}"
        )


def per_token(*, layers: int, heads: int, width: int, size: int) -> int:
    """Bytes of one token's keys and values: `heads` of `width` values of `size` bytes in each layer."""
    return 2 * layers * heads * width * size


def judged(rows: Iterable[Row]) -> Mapping[str, bool]:
    """For each goal, in words, whether it is met; what could not be measured misses its goal."""
    by = {(row.way, row.streams): row for row in rows}
    shares = {way: by[way, 1].share for way in (ENGINE, STATIC) if (way, 1) in by}
    # Threads wait for each other: one stream of eager `generate` may be faster than sixteen of them.
    eager = max((row.speed for row in by.values() if row.way in (EAGER, THREADS)), default=None)
    times = by[ENGINE, 16].speed / eager if eager and (ENGINE, 16) in by else None
    return dict(
        (
            _goal("engine, 1 stream, of the floor", shares.get(ENGINE), least=0.25),
            _goal("static cache and compile, 1 stream, of the floor", shares.get(STATIC), least=0.60),
            _goal("engine, 16 streams, times eager's best total", times, least=8.0),
        )
    )


def _goal(what: str, value: float | None, *, least: float) -> tuple[str, bool]:
    met = value is not None and value >= least
    told = "not measured" if value is None else f"{value:.2f}"
    return f"{what}: {told}, goal {least:g}: {'OK' if met else 'UNDER GOAL'}", met
