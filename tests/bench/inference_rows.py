"""From the runs of each way of serving to rows, ratios and goals. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench import inference_load

ENGINE, THREADS, HTTP = "engine", "threads", "http"

HEAD = (
    f"{'model':6} {'streams':>7} {'way':8} {'req/s':>7} {'tok/s':>8} {'first p50':>9} {'first p95':>9} "
    f"{'tok/CPU-s':>9} {'of threads':>10} {'runs':>4}"
)


@dataclass(frozen=True)
class Run:
    """One load, served one way. `seconds` from the first request to the last token; `cpu` seconds of the server."""

    answers: tuple[inference_load.Answer, ...]
    seconds: float
    cpu: float

    @property
    def tokens(self) -> int:
        return sum(answer.tokens for answer in self.answers)

    @property
    def speed(self) -> float:
        """Tokens per second, all streams together."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Key:
    model: str
    streams: int
    way: str


@dataclass(frozen=True)
class Goal:
    """Tokens per second by `way`, as a multiple of one thread per request on the same load."""

    key: Key
    least: float

    def told(self, ratio: float) -> str:
        verdict = "OK" if ratio >= self.least else "UNDER GOAL"
        streams = "1 stream" if self.key.streams == 1 else f"{self.key.streams} streams"
        where = "over HTTP" if self.key.way == HTTP else "at the engine's interface"
        return f"{self.key.model}, {streams} {where}: {ratio:.2f}x of threads, goal {self.least:g}x: {verdict}"


GOALS = (
    Goal(Key("tiny", 1, ENGINE), 0.85),
    Goal(Key("160M", 1, ENGINE), 0.85),
    Goal(Key("tiny", 16, ENGINE), 10.0),
    Goal(Key("160M", 16, ENGINE), 2.5),
    Goal(Key("tiny", 16, HTTP), 4.0),
)


class Measured:
    """All runs so far. The runs of one round were made one right after the other, with the same load."""

    def __init__(self) -> None:
        self._runs: dict[Key, list[Run]] = {}

    def add(self, key: Key, run: Run) -> None:
        self._runs.setdefault(key, []).append(run)

    def ratio(self, key: Key) -> float | None:
        """The median over the rounds of this way's tokens per second against the threads' in the same round."""
        runs = self._runs.get(key, [])
        threads = self._runs.get(Key(key.model, key.streams, THREADS), [])
        pairs = list(zip(runs, threads, strict=False))
        return statistics.median(one.speed / other.speed for one, other in pairs) if pairs else None

    def lines(self) -> list[str]:
        return [self._line(key, runs) for key, runs in self._runs.items()]

    def judged(self, goals: Iterable[Goal] = GOALS) -> Mapping[str, bool]:
        """For each goal that was measured, in words, whether it is met."""
        ratios = [(goal, self.ratio(goal.key)) for goal in goals]
        return {goal.told(ratio): ratio >= goal.least for goal, ratio in ratios if ratio is not None}

    def _line(self, key: Key, runs: Sequence[Run]) -> str:
        ratio = self.ratio(key)
        firsts = [[answer.first * 1000 for answer in run.answers] for run in runs]
        requests = statistics.median(len(run.answers) / run.seconds for run in runs)
        speed = statistics.median(run.speed for run in runs)
        per_cpu = statistics.median(run.tokens / run.cpu for run in runs)
        return (
            f"{key.model:6} {key.streams:7} {key.way:8} {requests:7.2f} {speed:8.1f} "
            f"{statistics.median(percentile(one, 50) for one in firsts):6.0f} ms "
            f"{statistics.median(percentile(one, 95) for one in firsts):6.0f} ms "
            f"{per_cpu:9.1f} {'' if ratio is None else f'{ratio:.2f}x':>10} {len(runs):4}"
        )


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
