"""`python -m tests.bench.many`: how the work grows with the number of apps.

For each number of apps, in ten environments of a resource group each: a fresh local Azure without processes or
provisioning times, but with ARM's token buckets, and a controller, each in a process of its own. Printed are the first
convergence, beside the least time that the buckets allow, and quiet looks at everything afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.local_azure import lifecycle
from tests.e2e import running

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
ENVIRONMENTS = 10
MANY = 1000
"""Apps that the budgets speak of."""

LONGEST = 1.1
"""Times the bound: the most that the first convergence may take."""

MOST_THROTTLED = 0.01
MOST_CPU = 0.001
"""Seconds of a quiet look, for each app."""

MOST_RESIDENT = 250 * 2**20
"""Bytes, with a thousand apps."""

BUCKETS = {"reads": (250, 25.0), "writes": (200, 10.0), "listKeys": (800, 800 / 300)}
"""What ARM gives at once and then a second (documented), per subscription."""

RESOURCE_REQUESTS = {"containerApps": 800, "managedEnvironments": 100, "storageAccounts": 800}
"""Writes that also count in a bucket of their type, which fills within five minutes (assumed)."""

STEP = 0.5
"""Seconds after the end of a write within which the next one in its environment is to begin."""

STEPS = 6
"""Writes one after the other until an environment is there for its apps."""

FILES = ("files", "token", "other")
"""Kinds of requests that no bucket of ARM counts."""

READING = ("listKeys", "listSecrets", "sharedKeys")
"""POSTs that read."""


def state(folder: Path, apps: int) -> Path:
    """The state folder: ten Environments, so many apps evenly among them, all of one content folder."""
    code, desired = folder / "code", folder / "desired_state"
    code.mkdir(parents=True)
    desired.mkdir()
    (code / "app.py").write_text("print('serving')\n")
    (code / "settings.json").write_text('{"size": 1}\n')
    for number in range(ENVIRONMENTS):
        mine = range(number, apps, ENVIRONMENTS)
        documents = [_environment(number), *(_app(number, each // ENVIRONMENTS) for each in mine)]
        for part, at in enumerate(range(0, len(documents), 200)):
            text = yaml.dump_all(documents[at : at + 200], Dumper=yaml.CSafeDumper)
            (desired / f"environment-{number}-{part}.yaml").write_text(text)
    return desired


def _environment(number: int) -> dict[str, Any]:
    spec = {
        "subscriptionId": SUBSCRIPTION,
        "resourceGroup": f"rg-{number}",
        "location": "westus3",
        "storage": {"accountName": f"benchaccount{number}"},
    }
    return {"apiVersion": "acaops/v1", "kind": "Environment", "metadata": {"name": f"env-{number}"}, "spec": spec}


def _app(environment: int, number: int) -> dict[str, Any]:
    name = f"app-{environment}-{number:04}"
    spec = {
        "environmentRef": f"env-{environment}",
        "appName": name,
        "workloadProfileName": "Consumption",
        "resources": {"cpu": 1.0, "memory": "2Gi"},
        "image": "docker.io/pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime",
        "commands": ["pip install -r inference/requirements.txt", "python -m inference"],
        "content": [{"path": "../code", "target": "inference"}],
        "env": [{"name": "MODEL", "value": name}],
    }
    return {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": name}, "spec": spec}


async def measure(apps: int, folder: Path, *, quiet: int, seconds: float, rate: float | None) -> list[dict[str, Any]]:
    """The phases as `converge` tells them. `rate` as in `bound`."""
    desired = state(folder, apps)
    more = () if rate is None else ("--resource-requests-rate", str(rate))
    async with lifecycle.serve_child(folder / "azure", port=0, time_scale=0, processes=False, more=more) as server:
        with (folder / "controller.log").open("w") as log:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.bench.converge", str(desired)),
                *("--quiet", str(quiet), "--seconds", str(seconds)),
                env=running.environ(server),
                cwd=running.ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        out, _ = await child.communicate()
    if child.returncode:
        raise SystemExit((folder / "controller.log").read_text()[-2000:])
    phases: list[dict[str, Any]] = json.loads(out)
    return phases


def by_kind(phase: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """ARM's reads by kind, and its writes; what the buckets turned away left out."""
    reads: dict[str, int] = {}
    writes: dict[str, int] = {}
    for kind, method, code, count in phase["requests"]:
        if kind not in FILES and code != "429":
            into = reads if method in ("GET", "HEAD") or kind in READING else writes
            into[kind] = into.get(kind, 0) + count
    return reads, writes


def bound(apps: int, reads: Mapping[str, int], writes: Mapping[str, int], *, rate: float | None) -> dict[str, float]:
    """Seconds that each bucket makes such a number of requests take, at least, and the longest queue of one
    environment, in which operations take no time. `rate`: what a type's bucket gets a second, if not the default."""
    asked = {"reads": sum(count for kind, count in reads.items() if kind not in READING)}
    asked |= {"writes": sum(writes.values()), "listKeys": reads.get("listKeys", 0)}
    least = {name: (asked[name] - most) / rate for name, (most, rate) in BUCKETS.items()}
    least |= {kind: (writes.get(kind, 0) - most) / (rate or most / 300) for kind, most in RESOURCE_REQUESTS.items()}
    queue = {"queue": STEP * (STEPS + -(-apps // ENVIRONMENTS))}
    return {name: seconds for name, seconds in (least | queue).items() if seconds > 0}


def shown(apps: int, phases: Iterable[Mapping[str, Any]], *, rate: float | None) -> bool:
    """Print one size; whether it kept to the budgets."""
    kept = True
    for phase in phases:
        if phase["phase"] == "all":
            print(f"{'':6} {'peak':9} {phase['peak'] / 2**20:6.1f} MiB", flush=True)
            continue
        reads, writes = by_kind(phase)
        calls = sum(reads.values()) + sum(writes.values()) + phase["throttled"]
        limits = bound(apps, reads, writes, rate=rate)
        share = phase["throttled"] / max(1, calls)
        print(
            f"{apps:6} {phase['phase']:9} {phase['seconds']:7.1f} s  CPU {phase['cpu']:6.2f} s  "
            f"{phase['resident'] / 2**20:6.1f} MiB  throttled {share:6.2%}  passes {phase.get('passes', 0):6}  "
            f"reads {sum(reads.values()):6}  writes {sum(writes.values()):6}"
        )
        if phase["phase"] == "converge":
            print(f"{'':16} least seconds: {', '.join(f'{name} {each:.1f}' for name, each in limits.items())}")
        print(f"{'':16} reads by kind: {_counts(reads)}; writes: {_counts(writes)}", flush=True)
        kept = _kept(apps, phase, limit=max(limits.values()), share=share, writes=writes) and kept
    return kept


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counted.items())) or "none"


def _kept(apps: int, phase: Mapping[str, Any], *, limit: float, share: float, writes: Mapping[str, int]) -> bool:
    broken = []
    if not phase.get("ready", True):
        broken.append("not everything is Ready")
    if apps >= MANY and phase["phase"] == "converge" and phase["seconds"] > LONGEST * limit:
        broken.append(f"took {phase['seconds'] / limit:.2f} times the bound")
    if share > MOST_THROTTLED:
        broken.append("throttled too often")
    if phase["phase"] == "quiet":
        broken += ["wrote something"] if writes else []
        broken += ["too much CPU"] if apps >= MANY and phase["cpu"] > MOST_CPU * apps else []
        broken += ["too much memory"] if apps <= MANY and phase["resident"] > MOST_RESIDENT else []
    for each in broken:
        print(f"{'':16} OVER BUDGET: {each}", flush=True)
    return not broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--quiet", type=int, default=2, help="quiet looks at everything")
    parser.add_argument("--seconds", type=float, default=600.0, help="the longest that a first convergence may take")
    parser.add_argument(
        "--resource-requests-rate",
        type=float,
        dest="rate",
        help="what the bucket of a resource type gets a second, which nobody has recorded; assumed otherwise",
    )
    options = parser.parse_args()
    kept = True
    for apps in options.apps:
        with tempfile.TemporaryDirectory() as folder:
            run = measure(apps, Path(folder), quiet=options.quiet, seconds=options.seconds, rate=options.rate)
            phases = asyncio.run(run)
        kept = shown(apps, phases, rate=options.rate) and kept
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
