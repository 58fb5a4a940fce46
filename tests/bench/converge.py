"""`python -m tests.bench.converge FOLDER`: a controller of its own process over a state folder, measured.

It converges, waits until what it holds of Azure is too old to be used, and looks at everything again. What it prints is
one line of JSON: for each phase its seconds, CPU seconds, resident bytes, and requests by kind, method and code. The
cloud and the credentials come from the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller import assembly, loop, settings
from controller.status import store
from controller.telemetry import log as logs

PAGE = os.sysconf("SC_PAGE_SIZE")

STALE = 61.0
"""Seconds after which no look is spared a read by an earlier one."""

QUIET = 1.0
"""Seconds without a pass after which nothing is in hand any more."""


@dataclass
class Meter:
    """Since `begin`: time, CPU and requests of this process."""

    requests: collections.Counter[tuple[str, str, str]] = field(default_factory=collections.Counter)
    throttled: int = 0
    began: float = 0.0
    spent: float = 0.0

    def heard(self, kind: str, method: str, code: str, *, seconds: float, throttled: bool) -> None:
        self.requests[kind, method, code] += 1
        self.throttled += throttled

    def begin(self) -> None:
        self.requests.clear()
        self.throttled, self.began, self.spent = 0, time.monotonic(), _cpu()

    def read(self, phase: str, **more: Any) -> dict[str, Any]:
        """`seconds` may be given: a phase that ended before it is read."""
        return {
            "phase": phase,
            "seconds": time.monotonic() - self.began,
            "cpu": _cpu() - self.spent,
            "resident": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE,
            "throttled": self.throttled,
            "requests": [[*key, count] for key, count in sorted(self.requests.items())],
            **more,
        }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass
class Passes:
    """Counts passes by object."""

    statuses: store.Store
    counts: collections.Counter[store.Key] = field(default_factory=collections.Counter)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.statuses.subscribe(self._count)

    def _count(self, status: store.ObjectStatus) -> None:
        self.counts[status.key] += 1
        self._told.set()

    async def of(self, objects: int) -> None:
        """Until so many objects were looked at."""
        while len(self.counts) < objects:
            self._told.clear()
            await self._told.wait()

    async def over(self) -> None:
        """Until nothing was looked at for a while."""
        with contextlib.suppress(TimeoutError):
            while True:
                self._told.clear()
                async with asyncio.timeout(QUIET):
                    await self._told.wait()


async def measured(folder: Path, *, quiet: int, seconds: float) -> list[dict[str, Any]]:
    chosen = settings.Settings(folder=folder, cloud=os.environ["ACAOPS_CLOUD"])
    meter, phases = Meter(), []
    async with assembly.controller(chosen) as one:
        one.cloud.calls.listen(meter.heard)
        passes = Passes(one.statuses)
        meter.begin()
        source = await one.loop.origin.load()
        phases.append(meter.read("load"))
        meter.begin()
        await one.loop.accept(source)
        settled = await assembly.until_settled(one, seconds=seconds, stop=asyncio.Event())
        took = time.monotonic() - meter.began
        await passes.over()
        phases.append(meter.read("converge", seconds=took, passes=passes.counts.total(), ready=settled and _ready(one)))
        for _ in range(quiet):
            await asyncio.sleep(STALE)
            phases.append(await _looked(one, passes, meter))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [*phases, {"phase": "all", "peak": peak, "cpu": _cpu()}]


async def _looked(one: assembly.Controller, passes: Passes, meter: Meter) -> dict[str, Any]:
    """One look at everything, asked for at once."""
    source = one.loop.source
    assert source is not None
    passes.counts.clear()
    meter.begin()
    one.loop.ask(source.keys)
    await passes.of(len(source.keys))
    took = time.monotonic() - meter.began
    return meter.read("quiet", seconds=took, passes=passes.counts.total(), ready=_ready(one))


def _ready(one: assembly.Controller) -> bool:
    return all(loop.settled(status) for status in one.statuses.snapshot().objects)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quiet", type=int, default=2, help="looks at everything after the first convergence")
    parser.add_argument("--seconds", type=float, default=600.0, help="the longest the first convergence may take")
    options = parser.parse_args()
    logs.configure_stderr(level="info", form="json", environ=os.environ)
    assembly.spare_collector()
    print(json.dumps(asyncio.run(measured(options.folder, quiet=options.quiet, seconds=options.seconds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
