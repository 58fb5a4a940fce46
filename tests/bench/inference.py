"""`python -m tests.bench.inference`: the app's engine beside one thread and `generate` per request, on this CPU.

Each load is served by all ways in turn, and that three times over; printed are the medians, the goals, and where the
time goes. All have the whole machine: torch computes with as many threads as it takes by itself, one a core (or
OMP_NUM_THREADS), and threads of ours run side by side. Every answer is greedy, and the ways must give the same ones.
It exits with 1 where they don't or where a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import inference_http, inference_load, inference_models, inference_rows

if TYPE_CHECKING:
    from tests.bench import inference_ways

Runner = Callable[[inference_load.Load], Awaitable[inference_rows.Run]]
STREAMS = (1, 4, 16, 64)
OVER_HTTP = 16
"""The streams that are also served over HTTP, and looked into."""

IDLE = 1.0
"""Load average up to which the ratios mean something: threads that wait for each other lose less on a busy machine."""


@dataclass(frozen=True)
class Plan:
    """By number of streams: the requests of each stream, and the rounds where they are fewer than asked for."""

    make: inference_load.Make
    requests: dict[int, int]
    rounds: dict[int, int]


PLANS = {
    "tiny": Plan(inference_load.questions, {1: 48, 4: 16, 16: 6, 64: 2}, {}),
    # With 64 streams the threads alone take more than a minute.
    "160M": Plan(inference_load.fixed, {1: 2, 4: 1, 16: 1, 64: 1}, {64: 1}),
}


class Bench:
    def __init__(self, *, streams: Sequence[int], rounds: int) -> None:
        self.measured = inference_rows.Measured()
        self.differing = 0
        self.looked: list[str] = []
        self._streams = streams
        self._rounds = rounds

    async def model(self, name: str, folder: Path) -> None:
        """Measure everything about one model."""
        from tests.bench import inference_ways

        env = inference_ways.environment(folder)
        with contextlib.ExitStack() as stack:
            served = stack.enter_context(inference_http.serving(env)) if OVER_HTTP in self._streams else None
            engine = inference_ways.Engine(folder)
            try:
                threads = inference_ways.Threads(folder)
                for way in (threads, engine, *((served,) if served else ())):
                    await way.run(PLANS[name].make(4, 1, seed=0))
                gc.collect()
                gc.freeze()
                for streams in self._streams:
                    over_http = served.run if served and streams == OVER_HTTP else None
                    await self._streams_of(name, streams, threads=threads.run, engine=engine.run, http=over_http)
                if served:
                    await self._look(name, engine)
            finally:
                await engine.stop()

    async def _streams_of(
        self, name: str, streams: int, *, threads: Runner, engine: Runner, http: Runner | None
    ) -> None:
        plan = PLANS[name]
        for number in range(min(self._rounds, plan.rounds.get(streams, self._rounds))):
            load = plan.make(streams, plan.requests[streams], seed=1000 * streams + number)
            expected = await threads(load)
            self.measured.add(inference_rows.Key(name, streams, inference_rows.THREADS), expected)
            for way, run in ((inference_rows.ENGINE, engine), (inference_rows.HTTP, http)):
                if run is not None:
                    got = await run(load)
                    self.measured.add(inference_rows.Key(name, streams, way), got)
                    self.differing += inference_load.differing(expected.answers, got.answers)

    async def _look(self, name: str, engine: inference_ways.Engine) -> None:
        from tests.bench import inference_time

        plan = PLANS[name]
        load = plan.make(OVER_HTTP, 4 * plan.requests[OVER_HTTP], seed=7)
        self.looked += [f"where the time goes: {name}", *await inference_time.where(engine, load)]

    def report(self) -> int:
        """Print it; the exit status."""
        judged = self.measured.judged()
        same = (
            f"{self.differing} answers differ between the ways" if self.differing else "all ways gave the same answers"
        )
        print(inference_rows.HEAD, *self.measured.lines(), *self.looked, *judged, same, sep="\n")
        return int(self.differing > 0 or not all(judged.values()))


async def measure(bench: Bench, models: Sequence[str]) -> None:
    trained = inference_models.trained()
    if "tiny" in models:
        await bench.model("tiny", trained)
    if "160M" in models:
        with inference_models.random_weights(trained) as folder:
            await bench.model("160M", folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=PLANS, default=list(PLANS))
    parser.add_argument("--streams", nargs="+", type=int, choices=STREAMS, default=STREAMS)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    logging.getLogger("inference").setLevel(logging.ERROR)
    busy = os.getloadavg()[0]
    bench = Bench(streams=options.streams, rounds=options.rounds)
    asyncio.run(measure(bench, options.models))
    status = bench.report()
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'unset')}")
    if busy > IDLE:
        print(f"the load average was {busy:.1f} before: on a busy machine the ratios say little")
    return status


if __name__ == "__main__":
    sys.exit(main())
