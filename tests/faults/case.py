"""One case: a scenario with some of its calls faulted, and everything that must hold of how it went."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from controller import objects
from tests.faults import picture, scenarios, seam, world

MOST_LOOKS = 150
QUIET = 3
"""Rounds of passes, after everything is Ready, that must write nothing."""

RESTLESS = 3
"""How often a fault that hides something may make a finished convergence begin again."""

MOST_SECONDS = 30.0
SCRATCH = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())


class Disturbed(Exception):
    """A scenario doesn't even hold when nothing goes wrong."""


@dataclass(frozen=True)
class Baseline:
    """What two undisturbed runs of a scenario came to."""

    picture: picture.Picture
    mask: frozenset[str]
    made: Mapping[str, int]
    removed: Mapping[str, int]
    writes: int
    looks: int
    seen: Sequence[seam.Seen]


@dataclass
class Run:
    """How one run went. `broken` are the violations."""

    broken: list[str] = field(default_factory=list)
    picture: picture.Picture = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    writes: list[str] = field(default_factory=list)
    seen: list[seam.Seen] = field(default_factory=list)
    fired: int = 0
    looks: int = 0
    deaths: int = 0
    aside: int = 0
    seconds: float = 0.0
    lines: str = ""
    trouble: list[str] = field(default_factory=list)


async def learn(prepared: scenarios.Prepared) -> Baseline:
    """Two undisturbed runs; raises Disturbed where one isn't clean."""
    first = await run(prepared, seam.Seam())
    _hold(prepared, first.broken or first.trouble)
    second = await run(prepared, seam.Seam())
    _hold(prepared, second.broken or _counts("made", first.made, second.made))
    return Baseline(
        first.picture,
        picture.masked(first.picture, second.picture),
        first.made,
        first.removed,
        len(first.writes),
        first.looks,
        first.seen,
    )


def _hold(prepared: scenarios.Prepared, broken: Sequence[str]) -> None:
    if broken:
        raise Disturbed(f"{prepared.scenario.named}, undisturbed: " + "\n    ".join(broken))


async def judged(
    prepared: scenarios.Prepared, baseline: Baseline, faults: seam.Seam, *, hidden: bool, ended: bool
) -> Run:
    """A run with faults, held against the undisturbed one. `hidden`: that some hide what is true, so that it is seen a
    look later. `ended`: that some make operations come to nothing, which takes back what was being made."""
    done = await run(prepared, faults, restless=RESTLESS if hidden else 1)
    if not done.broken:
        only = prepared.scenario.only
        found = picture.differences(baseline.picture, done.picture, mask=baseline.mask)
        done.broken += [line for line in found if line.startswith(only)]
        if only:
            return done
        if ended:
            done.broken += _counts("left", _left(baseline.made, baseline.removed), _left(done.made, done.removed))
        else:
            done.broken += _counts("made", baseline.made, done.made)
            done.broken += _counts("removed", baseline.removed, done.removed)
    return done


async def run(
    prepared: scenarios.Prepared, faults: seam.Seam, *, restless: int = 1, ending: scenarios.Check | None = None
) -> Run:
    """The scenario from its start to its end. It may begin again `restless` times, less one, after it was quiet.
    `ending` is asked at the end what is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="acaops-faults-", dir=SCRATCH))
    begun, result = time.process_time(), Run()
    try:
        prepared.copy(folder / "azure")
        async with asyncio.timeout(MOST_SECONDS):
            await _run(prepared, faults, folder / "azure", result, restless=restless, ending=ending)
    except Exception:
        result.broken.append(f"the case broke off: {traceback.format_exc()}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result.seconds = time.process_time() - begun
    return result


async def _run(
    prepared: scenarios.Prepared,
    faults: seam.Seam,
    state: Path,
    result: Run,
    *,
    restless: int,
    ending: scenarios.Check | None,
) -> None:
    scenario = prepared.scenario
    async with world.opened(
        state, faults, ending=scenario.ending, pausing=scenario.pausing, plays=scenario.plays
    ) as here:
        here.watch.begin()
        written = len(here.writes())
        for step, source in zip(scenario.steps, prepared.sources, strict=True):
            os.environ[scenarios.VARIABLE] = step.state.secret
            if step.effect is not None:
                await step.effect(here)
                written = len(here.writes())
                here.watch.made.clear()
                here.watch.removed.clear()
            here.watch.shifts.answers = step.state.answers
            drive = world.Drive(here, source, prunes=step.prunes, deletes=step.deletes, stalled=step.stalled)
            if not step.hasty or not await _died(here, drive):
                await _converge(here, drive, result, restless=restless)
        _told(here, result)
        result.broken += here.broken + here.watch.ended() + faults.broken
        for check in filter(None, (scenario.check, ending)):
            result.broken += await check(here)
        result.made, result.removed = here.watch.made, here.watch.removed
        result.writes = here.writes()[written:]
        result.seen, result.fired = faults.seen, len(faults.fired)
        result.trouble = here.trouble
        result.looks, result.deaths = here.looks, here.deaths
        result.picture, result.aside = picture.taken(here.local.server), picture.left_aside(here.local.server)


async def _converge(here: world.World, drive: world.Drive, result: Run, *, restless: int) -> None:
    """Until everything is Ready and three more rounds write nothing."""
    for _ in range(restless):
        here.seam.armed = True
        if not await drive.converge(most=MOST_LOOKS):
            told = "; ".join(here.status(key) for key in drive.keys)
            result.broken.append(f"doesn't converge in {here.looks} looks: {told}")
            return
        here.time.advance(world.WIND_DOWN)
        here.seam.armed = False
        if not (late := await _quiet(here, drive)):
            return
    result.broken.append(f"goes on writing after it was Ready: {late}")


async def _died(here: world.World, drive: world.Drive) -> bool:
    """Whether the controller died before it was done; what it leaves is the next step's to cope with."""
    here.seam.armed = True
    await drive.until(lambda: drive.ready or here.deaths > 0, most=MOST_LOOKS)
    return here.deaths > 0


async def _quiet(here: world.World, drive: world.Drive) -> list[str]:
    """The writes of three more rounds; those of a round with one end it."""
    for _ in range(QUIET):
        before = len(here.writes())
        here.time.advance(objects.INTERVAL)
        for key in drive.keys:
            await drive.one(key)
        if late := here.writes()[before:]:
            drive.ask()
            return late
    if not drive.ready:
        return [here.status(key) for key in drive.keys]
    return []


def _told(here: world.World, result: Run) -> None:
    """Nothing that anybody reads holds a secret."""
    result.lines = here.lines.getvalue()
    text = "\n".join([result.lines, *here.told, *here.broken])
    for number, secret in enumerate(sorted({*here.secrets(), *scenarios.VALUES, scenarios.THEIRS})):
        if secret in text:
            line = next(each for each in text.split("\n") if secret in each)
            result.broken.append(f"secret {number} was told: {line.replace(secret, '<THE SECRET>')[:300]}")


def _left(made: Mapping[str, int], removed: Mapping[str, int]) -> Mapping[str, int]:
    return {kind: made.get(kind, 0) - removed.get(kind, 0) for kind in {*made, *removed}}


def _counts(what: str, wanted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    kinds = sorted(kind for kind in {*wanted, *found} if wanted.get(kind, 0) != found.get(kind, 0))
    return [f"{found.get(kind, 0)} {kind} {what}, not {wanted.get(kind, 0)}" for kind in kinds]
