"""`python -m tests.bench.rollouts`: what clients see while a release takes over, by strategy and by what is wrong.

For each strategy there is a fresh local Azure with real processes, and `acaops run`. In each case a release is written
to the watched folder while a process of its own asks the app 200 times a second over verified TLS, until the status has
settled and the right release answers. Printed is a row for each:

    failed      anything but 200: an error, none within 10 s, a connection cut
    gap s       seconds from the first failed request to the last
    bad         answers by a release that must not take over, and the seconds from the first to the last
    outside     those beyond the weight that a canary had then
    slowest     seconds of the slowest answer
    took        seconds from the write to the status that stayed

Provisioning takes Azure's recorded times, divided by TIME_SCALE; so do probes, though no more often than every 0.25 s.
It exits with 1 where a budget isn't kept.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import rows, serving, stage

TIME_SCALE = 50.0

ROLLOUT: dict[str, Any] = {
    "check": {"path": "/readyz", "successes": 3, "period": "0.5s"},
    "deadline": "10s",
}
STRATEGIES: dict[str, dict[str, Any]] = {
    "Rolling": {},
    "BlueGreen": {},
    "Canary": {"steps": [{"weight": 20, "hold": "3s"}, {"weight": 50, "hold": "3s"}]},
    "Recreate": {},
}

CASES = (
    rows.Case(serving.GOOD, good=True),
    rows.Case(serving.SLOW, seconds=4.0, good=True),
    rows.Case(serving.CRASH_BEFORE_READY, seconds=0.2),
    # It lives for less than the check takes, which is there to see it.
    rows.Case(serving.CRASH_AFTER_READY, seconds=0.6),
    rows.Case(serving.HANG),
    rows.Case(serving.WRONG_RELEASE),
)


async def measured(strategy: str, cases: Sequence[rows.Case], folder: Path) -> bool:
    """Print a row for each case; whether all budgets were kept."""
    kept, rollout = True, {"strategy": strategy, **ROLLOUT, **STRATEGIES[strategy]}
    _progress(f"{strategy}: a fresh local Azure")
    async with stage.stage(folder, rollout=rollout, time_scale=TIME_SCALE) as one:
        for number, case in enumerate(cases, 1):
            version = f"{case.does}-{number}"
            _progress(f"{strategy}: {version}")
            row = rows.Row(strategy, case, await one.through(case, version=version))
            print(row.shown(), flush=True)
            for each in row.broken:
                print(f"{'':9} {case.does:18} OVER BUDGET: {each}", flush=True)
            kept = kept and not row.broken
            if row.seen.last != row.expected:
                await one.mend(f"{serving.GOOD}-after-{number}")
    return kept


def _progress(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--case", nargs="+", choices=serving.ALL, default=serving.ALL)
    options = parser.parse_args()
    cases = [case for case in CASES if case.does in options.case]
    began, kept = time.monotonic(), True
    print(rows.HEAD, flush=True)
    for strategy in options.strategy:
        with tempfile.TemporaryDirectory() as folder:
            kept = asyncio.run(measured(strategy, cases, Path(folder))) and kept
    print(f"{len(options.strategy) * len(cases)} rollouts in {time.monotonic() - began:.0f} s")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
