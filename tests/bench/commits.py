"""`python -m tests.bench.commits`: commits pushed back to back to a running daemon, and what each leaves in it.

Each commit is served before the next one is pushed. It prints a line every twelve commits and, at the end, the seconds
from push to Ready and how far memory and open descriptors moved over the last hundred commits, by tens; it exits with 1
where that is more than 5 %.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local_azure import lifecycle
from tests.e2e import pushes, running
from tests.e2e.folder import Folder
from tests.git import servers

SECRET = "a secret of this run"
LAST = 100
TEN = 10
MOST_MOVED = 0.05


@dataclass(frozen=True)
class Sample:
    """After one commit: seconds from push to Ready, resident bytes and open descriptors of the daemon."""

    seconds: float
    resident: int
    descriptors: int


def sample(pid: int, seconds: float) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return Sample(seconds, resident * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))


async def served(daemon: running.Daemon, sha: str) -> None:
    """Wait until everything is Ready at the commit."""

    async def look() -> bool:
        objects: list[dict[str, Any]] = (await daemon.status())["objects"]
        return bool(objects) and all((one["lastApplied"] or {}).get("sha") == sha for one in objects)

    await running.until(look, f"Ready at {sha}; {daemon.tail()}", within=60)


async def commits(count: int, folder: Path) -> list[Sample]:
    upstream = servers.Upstream(folder / "state.git")
    files = Folder(upstream.tree)
    upstream.commit({}, "first")
    samples = []
    async with lifecycle.serve_child(folder / "azure", port=0, time_scale=100) as server:
        env = running.environ(server) | {"ACAOPS_CACHE": str(folder / "cache"), "ACAOPS_HOOK_SECRET": SECRET}
        arguments = ("--repo", upstream.url, "--path", "state", "--fetch-interval", "10m")
        async with running.daemon(*arguments, env=env, log=folder / "run.log") as daemon:
            await served(daemon, upstream.sha)
            for number in range(1, count + 1):
                files.publish(f"model-{number}")
                files.describe(max_replicas=1 + number % 3)
                began = time.monotonic()
                sha = upstream.commit({}, f"commit {number}")
                await pushes.tell(daemon, sha, secret=SECRET)
                await served(daemon, sha)
                samples.append(sample(daemon.process.pid, time.monotonic() - began))
                if number % 12 == 0:
                    last = samples[-1]
                    print(f"{number:4}  {last.resident / 2**20:6.1f} MiB  {last.descriptors:3} descriptors", flush=True)
            status, _ = await daemon.stop()
            assert status == 0
    return samples


def moved(values: Sequence[int], *, of: Callable[[Sequence[int]], float]) -> float:
    """How far any ten of `values` are from the first ten, as a share of them; ten are as one by `of`."""
    tens = [of(values[at : at + TEN]) for at in range(0, len(values), TEN)]
    return max(abs(one - tens[0]) for one in tens) / tens[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=144)
    count = parser.parse_args().count
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        samples = asyncio.run(commits(count, Path(folder)))
    seconds = sorted(one.seconds for one in samples)
    print(f"{count} commits in {time.monotonic() - began:.0f} s")
    print(f"push to Ready: median {statistics.median(seconds):.1f} s, slowest {seconds[-1]:.1f} s")
    last = samples[-LAST:]
    grown = {
        "resident memory": moved([one.resident for one in last], of=statistics.median),
        # Kept connections come and go, one more or less each time; what is never closed would add up.
        "open descriptors": moved([one.descriptors for one in last], of=statistics.mean),
    }
    for name, share in grown.items():
        print(f"{name} moved by {share:.1%} over the last {len(last)}")
    return int(any(share > MOST_MOVED for share in grown.values()))


if __name__ == "__main__":
    sys.exit(main())
