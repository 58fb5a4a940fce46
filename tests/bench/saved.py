"""`python -m tests.bench.saved`: from a saved file to the new release answering.

A file of the app's content is saved in the watched folder, again and again, each time once the release before is Ready
and nothing is asked of Azure any more. The time until the new content answers is made of

    debounce    from the save to the first answer from Azure: waiting for more saves, loading
    pass        to the first write: reads and the plan
    upload      to the bundle being whole and in its place
    PATCH       to the app's write being accepted
    platform    to the first good answer, less the app's own start-up: that is from its process's start to its being
                ready, unpacking included, as it says itself

Provisioning takes Azure's recorded times, divided by TIME_SCALE; probes come no more often than every 0.25 s. The first
write has a budget; it exits with 1 where that isn't kept.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from controller import settings
from tests.bench import rows, serving, stage
from tests.e2e import azure, running

TIME_SCALE = 20.0
RUNS = 20
LOOK = 0.02
QUIET = 1.5
"""Seconds without a request after which nothing is under way."""

PATIENCE = 60.0

MOST = 0.5
"""Seconds over the debounce within which the first write is made, in 95 of 100 cases."""

ROLLOUT: dict[str, Any] = {"strategy": "Rolling", "check": {"path": "/readyz", "successes": 1, "period": "0.5s"}}

PARTS = ("debounce", "pass", "upload", "PATCH", "platform")
APP_WRITE = "/containerapps/"


@dataclass(frozen=True)
class Run:
    """One save. Moments in seconds since the epoch; `startup` in seconds."""

    saved: float
    asked: float
    written: float
    uploaded: float
    patched: float
    answered: float
    startup: float

    @property
    def parts(self) -> Mapping[str, float]:
        """Seconds of each part; they add up to `total`."""
        marks = (self.saved, self.asked, self.written, self.uploaded, self.patched, self.answered - self.startup)
        spans = (after - before for before, after in itertools.pairwise(marks))
        return dict(zip(PARTS, spans, strict=True))

    @property
    def total(self) -> float:
        return self.answered - self.startup - self.saved


async def runs(count: int, folder: Path) -> list[Run]:
    async with stage.stage(folder, rollout=ROLLOUT, time_scale=TIME_SCALE) as one:
        found = []
        for number in range(1, count + 1):
            await _quiet(one, azure.Journal(folder / "azure"))
            found.append(await _run(one, azure.Journal(folder / "azure"), version=f"saved-{number}"))
            print(f"{number:3} of {count}: {found[-1].total:.2f} s", file=sys.stderr, flush=True)
        return found


async def _quiet(one: stage.Stage, journal: azure.Journal) -> None:
    """Until the app is Ready and nothing more is asked of Azure."""
    known, since = 0, time.monotonic()

    async def look() -> bool:
        nonlocal known, since
        if len(journal.read()) != known:
            known, since = len(journal.requests), time.monotonic()
        return time.monotonic() - since > QUIET and rows.told(await one.status()) == "Ready Ready"

    await running.until(look, "nothing is under way", within=PATIENCE, every=0.1)


async def _run(one: stage.Stage, journal: azure.Journal, *, version: str) -> Run:
    saved = time.time()
    serving.Behaviour(version).write(one.place.content)
    told: Mapping[str, Any] = {}

    async def look() -> bool:
        nonlocal told
        told = await one.answer()
        return told.get("version") == version

    await running.until(look, f"{version} answers", within=PATIENCE, every=LOOK)
    return _measured(journal.read(), saved=saved, answered=time.time(), startup=float(told["startup"]))


def _measured(requests: Sequence[Mapping[str, Any]], *, saved: float, answered: float, startup: float) -> Run:
    times = [datetime.fromisoformat(one["time"]).timestamp() for one in requests]
    writes = [(at, one) for at, one in zip(times, requests, strict=True) if one["method"] in ("PUT", "PATCH")]
    patched = next(at for at, one in writes if one["method"] == "PATCH" and APP_WRITE in one["path"].lower())
    uploads = [at for at, one in writes if at < patched and not one["path"].startswith("/subscriptions")]
    return Run(saved, times[0], uploads[0], uploads[-1], patched, answered, startup)


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def shown(found: Sequence[Run]) -> bool:
    """Print the table; whether the budget was kept."""
    print(f"saved file to the new release answering, {len(found)} runs, Azure's times divided by {TIME_SCALE:g}")
    print(f"{'':26} {'p50':>6} {'p95':>6}")
    for name in PARTS:
        _line(name, [one.parts[name] for one in found])
    _line("all, less start-up", [one.total for one in found])
    _line("the app's own start-up", [one.startup for one in found])
    over = [one.written - one.saved - settings.Settings.debounce for one in found]
    _line("first write over debounce", over)
    kept = percentile(over, 95) <= MOST
    if not kept:
        print(f"{'':26} OVER BUDGET: the first write comes more than {MOST} s after the debounce")
    return kept


def _line(name: str, values: Sequence[float]) -> None:
    print(f"{name:26} {percentile(values, 50):6.2f} {percentile(values, 95):6.2f}  s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="at least 2")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(runs(options.runs, Path(folder)))
    return int(not shown(found))


if __name__ == "__main__":
    sys.exit(main())
