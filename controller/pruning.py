"""Deletes what objects that are no longer desired have left, round by round, while the desired state can be trusted.

A round looks at what the guard list's groups hold and begins what can be deleted now; the next one sees what came of
it. Nothing is remembered: what a failed deletion left is found again by its tags.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from controller import leftovers, loop, settings, signals
from controller.cloud import port
from controller.plan import prune
from controller.sources import manifest
from controller.status import store

log = structlog.get_logger()

LOOK_SECONDS = 2.0
"""Seconds between rounds while somebody waits for the end."""

Standing = Callable[[], manifest.Source | str]
"""The desired state to prune by, or why there is none at the moment."""


def standing(running: loop.Loop) -> manifest.Source | str:
    """The state that was loaded whole, unless it may be stale, takes commits back, or another controller applies it."""
    told = running.reconciler.statuses.source
    if not running.leading:
        return "another controller leads"
    if running.source is None:
        return "the desired state doesn't load"
    if told.fetch_error:
        return "the repository can't be fetched"
    return told.notice or running.source


@dataclass
class Pruner:
    """Prunes one inventory by the state that `standing` gives. `cloud` must answer afresh. `soon` as in `leftovers`;
    `count` takes the states of all that is told of."""

    cloud: port.Cloud
    statuses: store.Store
    standing: Standing
    inventory: str
    allow: tuple[str, ...]
    mass: bool = False
    soon: float = leftovers.SOON
    count: Callable[[Iterable[str]], None] = lambda _: None
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _done: object = None

    async def plan(self, source: manifest.Source) -> prune.Plan:
        """What a round would do, reading only. Raises OutcomeError."""
        return (await self._sweep(source).look())[1]

    async def round(self) -> float:
        """One round; gives the seconds until the next. Whatever goes wrong is told, and is no exception."""
        source = self.standing()
        if isinstance(source, str):
            self._put(())
            return leftovers.INTERVAL
        self._done = _version(source)
        sweep = self._sweep(source)
        try:
            seen, planned = await sweep.look()
        except Exception as error:
            verdict = leftovers.became(error)
            self._put([store.Pruned("", "", "", "", "Failed", f"nothing is deleted: {verdict.message}")])
            return leftovers.pause(verdict)
        results = await sweep.carry_out(seen, planned, still=lambda: self._still(source))
        self._put([one.told for one in results], read=True)
        return min((one.pause for one in results), default=leftovers.INTERVAL)

    async def run(self) -> None:
        """Rounds for ever: when the desired state changed, when something is under way, at the interval."""
        while True:
            await signals.waited(self._asked, await self.round())
            self._asked.clear()

    def loaded(self) -> None:
        """Something was loaded: another state than the last round's asks for a round."""
        source = self.standing()
        if isinstance(source, str) or _version(source) != self._done:
            self._asked.set()

    def _sweep(self, source: manifest.Source) -> leftovers.Sweep:
        desired = frozenset(source.keys)

        def planned(seen: prune.Seen) -> prune.Plan:
            return prune.plan(seen, inventory=self.inventory, desired=desired, mass=self.mass)

        return leftovers.Sweep(self.cloud, leftovers.scopes(self.allow), source, planned, soon=self.soon)

    def _still(self, source: manifest.Source) -> str:
        """Why the round in hand must not go on; "" where it may."""
        current = self.standing()
        same = not isinstance(current, str) and _version(current) == _version(source)
        return "" if same else "the desired state changed"

    def _put(self, pruning: Sequence[store.Pruned], *, read: bool = False) -> None:
        """Put it into the status, and log what changed. `read`: everything was read, so what isn't there is gone."""
        before = {one.resource: one for one in self.statuses.source.pruning}
        for one in pruning:
            known = before.pop(one.resource, None)
            if known is None or (known.state, known.message) != (one.state, one.message):
                say = log.warning if one.state == "Failed" else log.info
                say(f"pruning: {one.state.lower()}", **_facts(one))
        for gone in before.values():
            if read and gone.state == "Deleting":
                log.info("pruning: deleted", **_facts(gone))
        self.statuses.source = replace(self.statuses.source, pruning=tuple(pruning))
        self.count(one.state for one in pruning)


def made(running: loop.Loop, cloud: port.Cloud, chosen: settings.Settings, *, soon: float = leftovers.SOON) -> Pruner:
    """The pruner of one controller."""
    statuses = running.reconciler.statuses
    return Pruner(
        cloud,
        statuses,
        lambda: standing(running),
        inventory=chosen.inventory,
        allow=chosen.allow,
        mass=chosen.allow_mass_delete,
        soon=soon,
        count=running.reconciler.metrics.pruning,
    )


@contextlib.asynccontextmanager
async def pruning(running: loop.Loop, cloud: port.Cloud, chosen: settings.Settings) -> AsyncIterator[None]:
    """Prune while inside, if that is chosen."""
    if not chosen.prune:
        yield
        return
    one = made(running, cloud, chosen)
    task = asyncio.create_task(one.run(), name="prune")
    running.vital.append(task)
    running.on_load.append(one.loaded)
    try:
        yield
    finally:
        running.on_load.remove(one.loaded)
        running.vital.remove(task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_done(
    running: loop.Loop, cloud: port.Cloud, chosen: settings.Settings, *, seconds: float, stop: asyncio.Event
) -> None:
    """Rounds until nothing is under way any more, `seconds` at most, or `stop`; the status says what came of it."""
    one = made(running, cloud, chosen, soon=LOOK_SECONDS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not stop.is_set() and (pause := await one.round()) < leftovers.INTERVAL:
                await signals.waited(stop, pause)


def notes(pruned: Sequence[store.Pruned]) -> list[str]:
    """What stays for now, or for good."""
    return lines(one.as_json() for one in pruned if one.state in ("Waiting", "Kept"))


def problems(pruned: Sequence[store.Pruned]) -> list[str]:
    """What should have gone."""
    return lines(one.as_json() for one in pruned if one.state in ("Deleting", "Held", "Failed"))


def lines(pruned: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is told of each, given as `/status` gives it, for people."""
    return [_line(one) for one in pruned]


def _line(one: Mapping[str, Any]) -> str:
    if not one["resource"]:
        return f"pruning: {one['message']}"
    name = one["resource"].rsplit("/", 1)[-1]
    words = {"Deleting": "is being deleted", "Waiting": "stays for now", "Held": "stays for now", "Kept": "stays"}
    said = f"{one['kind']}/{one['name']}: {one['step']} {name} {words.get(one['state'], 'was not deleted')}"
    return f"{said}: {one['message']}" if one["message"] else said


def _version(source: manifest.Source) -> object:
    return source.digest, source.commit


def _facts(one: store.Pruned) -> Mapping[str, str]:
    facts = {"kind": one.kind, "name": one.name, "step": one.step, "resource": one.resource, "message": one.message}
    return {key: value for key, value in facts.items() if value}
