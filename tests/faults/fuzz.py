"""Desired states and answers of Azure that nobody would write: the parser must say where each is wrong, and the plan
for those that load must never break, whatever is seen in Azure.

No server: the cloud is a set of answers, taken from a real stack and then spoilt.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import multiprocessing
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from controller import reconcile
from controller.model import commit
from controller.model.conditions import Reason
from controller.plan import planner
from controller.sources import manifest
from controller.status import store, summarize
from controller.telemetry import log as logs
from controller.telemetry import metrics
from tests.faults import answers, rollouts, scenarios

STATES = 20_000
TIME = datetime(2026, 11, 22, tzinfo=UTC)
COMMIT = commit.Commit("0" * 40, "nobody", "nothing", TIME)

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3.5,
    1e308,
    float("inf"),
    float("nan"),
    10**40,
    "",
    " ",
    "x",
    "null",
    "~",
    "yes",
    "0x10",
    "a" * 5000,
    "ü" * 70,
    "\u202e",
    "😀",
    "\x7f",
    "../../etc/passwd",
    "/",
    "C:\\",
    "*",
    "${HOME}",
    "{{x}}",
    "1.5Gi",
    "20m",
    [],
    [None],
    ["x", 1, {}],
    {},
    {"name": None},
    {"name": "x", "value": []},
    [[[[[]]]]],
    datetime(2026, 1, 1),
    b"\x00\xff",
)
"""Values for a place where another one stood."""

Change = Callable[[random.Random, Any], Any]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def spoilt(chance: random.Random, value: Any, *, times: int) -> Any:
    """A copy with some places changed: another value, removed, doubled, renamed, swapped, nested deeply."""
    made = copy.deepcopy(value)
    for _ in range(times):
        path = chance.choice(list(_places(made)))
        if not path:
            continue
        holder = made
        for key in path[:-1]:
            holder = holder[key]
        _spoil(chance, holder, path[-1])
    return made


def _spoil(chance: random.Random, holder: Any, key: Any) -> None:
    match chance.randrange(6):
        case 0 | 1:
            holder[key] = copy.deepcopy(chance.choice(ODD))
        case 2:
            del holder[key]
        case 3 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case 3:
            holder[chance.choice([f"{key}x", str(key).upper(), "name", ""])] = holder[key]
        case 4:
            holder[key] = {"name": [holder[key]]}
        case 5:
            holder[key] = [holder[key], holder[key]]


NAMED = ("name", "id")
"""Fields that Azure gives everywhere, as texts."""

WORDS = (
    "",
    "x",
    "Failed",
    "Canceled",
    "InProgress",
    "SomethingNew",
    "ü" * 70,
    "a" * 2000,
    "2026-11-22",
    "0001-01-01T00:00:00",
    "*",
)


def answered(chance: random.Random, value: Any, *, times: int) -> Any:
    """A copy as Azure might answer one day: the shapes stay, but fields are null, absent, empty, doubled, unknown."""
    made = copy.deepcopy(value)
    for _ in range(times):
        path = chance.choice(list(_places(made)))
        if not path or path[-1] in NAMED:
            continue
        holder = made
        for key in path[:-1]:
            holder = holder[key]
        _answer(chance, holder, path[-1])
    return made


def _answer(chance: random.Random, holder: Any, key: Any) -> None:
    there = holder[key]
    if isinstance(holder, dict) and chance.random() < 0.4:
        if chance.random() < 0.5:
            del holder[key]
        else:
            holder[key] = None
    elif isinstance(there, str):
        holder[key] = chance.choice(WORDS)
    elif isinstance(there, bool):
        holder[key] = not there
    elif isinstance(there, int):
        holder[key] = chance.choice([0, -1, 1, 10**12])
    elif isinstance(there, list):
        holder[key] = chance.choice([[], [*there, *copy.deepcopy(there)], there[::-1]])
    elif isinstance(there, dict):
        there["somethingNew"] = {"x": [1]}


def _text(chance: random.Random, documents: Sequence[Any]) -> bytes:
    """As YAML, sometimes with the text itself spoilt."""
    try:
        text = yaml.safe_dump_all(documents, allow_unicode=chance.random() < 0.5, sort_keys=False)
    except (yaml.YAMLError, ValueError, TypeError):
        text = json.dumps(documents, default=str)
    data = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.4:
        data = chance.choice(_TEXTS)(chance, data)
    return data


def _flipped(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(max(1, len(data)))
    return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _repeated_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    place = chance.randrange(len(lines))
    return b"\n".join([*lines[:place], lines[place], *lines[place:]])


def _indented(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    place = chance.randrange(len(lines))
    lines[place] = chance.choice([b"  ", b"\t", b" "]) + lines[place]
    return b"\n".join(lines)


def _inserted(chance: random.Random, data: bytes) -> bytes:
    bits = (
        b"&a [*a]\n",
        b"x: &x {y: *x}\n",
        b"<<: {a: 1}\n",
        b"<<: *none\n",
        b"? [a, b]\n: c\n",
        b"%YAML 9.9\n---\n",
        b"---\n",
        b"...\n",
        b"!!python/object:os.system {}\n",
        b"!!binary x\n",
        b"!!set {a}\n",
        b"- - - -\n",
        b"'",
        b'"',
        b"|\n",
        b"\xef\xbb\xbf",
        b"[" * 3000,
        b"{a: " * 2000,
        b"a: &a [1,1,1]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n",
        b"\x00",
        b"\xff\xfe",
        b"#" * 9000 + b"\n",
        b"1: 2\n",
        b"null: 1\n",
        b"true: 1\n",
        b"2026-01-01: 1\n",
        b"\xc3\x28",
        b"\xed\xa0\x80",
    )
    lines = data.split(b"\n")
    place = chance.randrange(len(lines) + 1)
    return b"\n".join([*lines[:place], chance.choice(bits) + b"".join(lines[place : place + 1]), *lines[place + 1 :]])


_TEXTS: tuple[Callable[[random.Random, bytes], bytes], ...] = (_flipped, _cut, _repeated_line, _indented, _inserted)


@dataclass
class Tally:
    """What became of the states."""

    states: int = 0
    refused: int = 0
    planned: int = 0
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        both = (self.states + other.states, self.refused + other.refused, self.planned + other.planned)
        return Tally(*both, self.broken + other.broken, self.seconds + other.seconds)


def _documents() -> list[list[Any]]:
    """Valid states, with about every field there is somewhere."""
    known = (*scenarios.SCENARIOS, *rollouts.SCENARIOS)
    states = [step.state for scenario in known for step in scenario.steps]
    full = scenarios.app(
        registries=[{"server": "x.azurecr.io", "identity": "system"}],
        probes="Keep",
        ignore=["/properties/template/scale"],
        tags={"a": "b"},
        interval="5m",
        retryInterval="1m",
        dependsOn=[],
        drift="Report",
        mode="Observe",
        suspend={"reason": "x", "until": "2027-01-01T00:00:00Z"},
        rollout={"check": {"path": "/readyz", "successes": 3, "period": "2s"}, "deadline": "30m"},
        ingress={"external": True, "targetPort": 7860, "allow": ["10.0.0.0/8"]},
    )
    return [list(state.documents) for state in states if state.documents] + [
        [scenarios.environment(tags={"a": "b"}), full]
    ]


def run(seed: int, first: int, count: int, root: Path) -> Tally:
    """States `first` and on; every one can be made again from the seed and its number."""
    begun = time.process_time()
    told, states, bodies = Tally(), _documents(), answers.seen()
    folder = root / f"{first}"
    (folder / "state").mkdir(parents=True)
    scenarios._write_code({"app.py": b"1"}, folder / "code")

    async def all_states() -> None:
        for number in range(first, first + count):
            await _one(number, random.Random(f"{seed}/{number}"), states, bodies, folder, told)

    asyncio.run(all_states())
    told.seconds = time.process_time() - begun
    return told


async def _one(number: int, chance: random.Random, states: Any, bodies: Any, folder: Path, told: Tally) -> None:
    told.states += 1
    documents = chance.choice(states)
    if chance.random() < 0.75:
        documents = spoilt(chance, documents, times=chance.choice([1, 1, 2, 5]))
        data = _text(chance, documents)
    else:
        data = yaml.safe_dump_all(documents).encode()
    (folder / "state" / "state.yaml").write_bytes(data)
    try:
        source = manifest.load(folder / "state", tree=manifest.Tree(folder, COMMIT))
    except manifest.LoadError as error:
        told.refused += 1
        bad = [one for one in error.problems if not one.file or one.line < 1 or one.column < 1 or not one.message]
        if bad or not error.problems:
            told.broken.append(f"state {number}: a refusal without its place: {error.problems}")
        return
    except Exception:
        told.broken.append(f"state {number}: the parser broke: {traceback.format_exc(limit=-3)}")
        return
    known = {kind: body for kind, body in bodies[0].items() if chance.random() < 0.9}
    live = {kind: answered(chance, body, times=chance.choice([0, 1, 3])) for kind, body in known.items()}
    await _planned(
        number, source, answers.Answers(live, answered(chance, bodies[1], times=chance.choice([0, 1, 3]))), told
    )


def _where(lines: io.StringIO) -> str:
    """The last places of the last traceback that was logged."""
    told = [json.loads(line).get("exception", "") for line in lines.getvalue().splitlines()]
    return " | ".join(text.strip() for text in (told[-1] if told else "").splitlines()[-6:])


async def _planned(number: int, source: manifest.Source, cloud: answers.Answers, told: Tally) -> None:
    """One pass over each object: observed, planned, applied to nothing, judged and reported."""
    lines = io.StringIO()
    logs.configure(level="error", form="json", stream=lines, environ={})
    reconciler = reconcile.Reconciler(
        cloud,  # type: ignore[arg-type]
        store.Store(store.SourceStatus("state")),
        metrics.Metrics(version="test", inventory="one"),
        planner.Scope("one", ()),
        lambda: TIME,
    )
    for key in source.keys:
        told.planned += 1
        try:
            await reconciler.reconcile(source, key)
        except Exception:
            told.broken.append(f"state {number}: {key}: {traceback.format_exc(limit=-3)}")
            continue
        status = reconciler.statuses.get(key)
        assert status is not None, "every pass reports"
        told.broken += [f"state {number}: {key}: {rule}" for rule in summarize.check(status.conditions)]
        for one in status.conditions[:1]:
            if one.reason == Reason.INTERNAL_ERROR:
                told.broken.append(f"state {number}: {key}: {one.message} {_where(lines)}")


def all_states(count: int, *, seed: int, jobs: int, root: Path) -> Tally:
    """`count` states, some processes side by side."""
    size = max(1, count // (jobs * 8))
    parts = [(seed, first, min(size, count - first), root) for first in range(0, count, size)]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        return sum(pool.starmap(run, parts), Tally())


def report(told: Tally) -> str:
    """One line, and what broke."""
    line = (
        f"{told.states} fuzzed states: {told.refused} refused, each with its place; {told.planned} passes over "
        f"objects of those that loaded; {len(told.broken)} violations; {told.seconds:.0f} s of CPU"
    )
    return "\n".join([line, *(f"    {one[:900]}" for one in told.broken[:20])])


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        done = all_states(int(sys.argv[1]), seed=int(sys.argv[2]), jobs=2, root=Path(place))
    print(report(done))
    sys.exit(bool(done.broken))
