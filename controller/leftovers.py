"""What objects have left in Azure: looked at through the tags on it, and deleted where a plan says so.

What may go is decided in `plan.prune`, never here. Just before each deletion the resource is read once more and judged
anew; of an Environment everything is, because others may have begun to use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from controller import observe
from controller.cloud import port
from controller.model import identity, observed, outcome
from controller.model.kinds import Kind
from controller.plan import prune
from controller.sources import manifest
from controller.status import store
from controller.telemetry import log as logs

log = structlog.get_logger()

INTERVAL = 600.0
"""Seconds until the next look while nothing is under way."""

SOON = 15.0
"""Seconds until the next look while something is being deleted (recorded: an app takes 18 s, an environment 16 min)."""

AGAIN = 60.0
"""Seconds until the next look after a failure."""

SIDE_BY_SIDE = 8
"""Resources that are deleted at a time."""


@dataclass(frozen=True)
class Result:
    """What became of one resource. `pause` is how soon that is to be looked at again, in seconds."""

    told: store.Pruned
    pause: float = INTERVAL


@dataclass(frozen=True)
class Sweep:
    """One way to look at what is there. `where` are the ids of the groups and subscriptions to look in, `source` the
    desired state, None where there is none; `planned` decides, by `policy` instead of the recorded one where it is
    given. `cloud` must answer afresh. `soon` is SOON, but where somebody waits."""

    cloud: port.Cloud
    where: tuple[str, ...]
    source: manifest.Source | None
    planned: Callable[[prune.Seen], prune.Plan]
    policy: str | None = None
    soon: float = SOON

    async def look(self) -> tuple[prune.Seen, prune.Plan]:
        """Deeper only where something is to go: most looks find nothing. Raises OutcomeError: what wasn't read whole is
        no ground to delete by."""
        seen = await look(self.cloud, self.where)
        made = self.planned(seen)
        if made.going:
            found = await named(self.cloud, self.source) if self.source else {}
            seen = replace(seen, named=found)
            seen = await deeper(self.cloud, seen, self.planned(seen).steps)
        return seen, self.planned(seen)

    async def carry_out(self, seen: prune.Seen, made: prune.Plan, *, still: Callable[[], str]) -> list[Result]:
        """Begin what is ready, side by side, but in one environment one; a step that fails stops no other. `still` says
        why no more is begun, "" for going on."""
        turns = asyncio.Semaphore(SIDE_BY_SIDE)

        async def together(steps: Sequence[prune.Step]) -> list[Result]:
            async with turns:
                return await self._in_turn(steps, seen, still)

        places: dict[str, list[prune.Step]] = {}
        for step in made.ready:
            places.setdefault(step.place or step.resource_id, []).append(step)
        begun = await asyncio.gather(*(together(steps) for steps in places.values()))
        results = {one.told.resource: one for each in begun for one in each}
        return [results.get(step.resource_id) or self._unchanged(step, held=made.held) for step in made.steps]

    def _unchanged(self, step: prune.Step, *, held: str) -> Result:
        return Result(told(step, held=held), self.soon if step.state == "Deleting" else INTERVAL)

    async def _in_turn(self, steps: Sequence[prune.Step], seen: prune.Seen, still: Callable[[], str]) -> list[Result]:
        """One after the other, until one was begun."""
        results: list[Result] = []
        begun = ""
        for step in steps:
            if begun:
                results.append(Result(told(prune.after(step, begun)), self.soon))
            elif why := still():
                results.append(Result(told(replace(step, state="Waiting", why=why)), self.soon))
            else:
                results.append(await self._one(step, seen))
                begun = step.name if results[-1].told.state == "Deleting" else ""
        return results

    async def _one(self, step: prune.Step, seen: prune.Seen) -> Result:
        try:
            if step.kind is not Kind.APP:
                seen, made = await self.look()
                if made.held:
                    return Result(told(step, held=made.held))
            return Result(told(await self._begun(step, seen)), self.soon)
        except Exception as error:
            return refused(step, became(error))

    async def _begun(self, step: prune.Step, seen: prune.Seen) -> prune.Step:
        """Begin a deletion, if what is there now still allows it; gives what became of the step."""
        fresh = await self.cloud.read(step.kind, step.resource_id)
        if fresh is None:
            return replace(step, state="Deleting", why="it is gone")
        again = prune.steps(step.owner, seen.afresh(step.kind, step.resource_id, fresh), policy=self.policy)
        found = next((one for one in again if one.resource_id.lower() == step.resource_id.lower()), None)
        if found is None:
            return replace(step, state="Kept", why="its tags don't name the object any more")
        if found.state != "Delete":
            return found
        await self.cloud.delete(step.kind, step.resource_id)
        return replace(step, state="Deleting", why="")


def scopes(allow: Iterable[str]) -> tuple[str, ...]:
    """The ids of the subscriptions and resource groups of a guard list."""
    parts = (entry.rstrip("/").partition("/") for entry in allow)
    found = (
        identity.group_id(subscription, group) if group else f"/subscriptions/{subscription}"
        for subscription, _, group in parts
    )
    return tuple(sorted(set(found)))


async def look(cloud: port.Cloud, where: Iterable[str]) -> prune.Seen:
    """What carries tags in these scopes, ours or not. Raises OutcomeError: what wasn't read whole is no ground to
    delete by."""
    asked = [(kind, scope) for kind in prune.TAGGED for scope in where]
    answers = await asyncio.gather(*(cloud.listed(kind, scope) for kind, scope in asked))
    found: dict[Kind, dict[str, observed.Resource]] = {kind: {} for kind in prune.TAGGED}
    for (kind, _), resources in zip(asked, answers, strict=True):
        found[kind] |= {one.id.lower(): one for one in resources}
    return prune.Seen({kind: tuple(resources.values()) for kind, resources in found.items()})


async def deeper(cloud: port.Cloud, seen: prune.Seen, made: Sequence[prune.Step]) -> prune.Seen:
    """What `made` needs to know of accounts that may go: their shares, and what mounts them. Raises OutcomeError."""
    accounts = [step.resource_id for step in made if step.kind is Kind.ACCOUNT and step.state != "Kept"]
    if not accounts:
        return seen
    environments = [one.id for one in seen.resources[Kind.ENVIRONMENT]]
    shares, storages = await asyncio.gather(
        asyncio.gather(*(cloud.listed(Kind.SHARE, f"{one}/fileServices/default") for one in accounts)),
        asyncio.gather(*(cloud.listed(Kind.STORAGE, one) for one in environments)),
    )
    return replace(seen, shares=_by_id(accounts, shares), storages=_by_id(environments, storages))


async def named(cloud: port.Cloud, source: manifest.Source) -> Mapping[str, str]:
    """Which resources the desired state names: the lower-case id, and the object as `kind/name`. Raises
    OutcomeError."""
    found: dict[str, str] = {}
    for loaded in source.environments:
        ids, _ = await observe.ids(cloud, loaded.object)
        ours = (ids.account, ids.workspace, ids.environment)
        found |= {one.lower(): f"Environment/{loaded.name}" for one in ours}
        for app in source.apps:
            if app.object.spec.environment_ref == loaded.name:
                name = identity.app_name(app.object, group_id=ids.group)
                found[ids.app(name).lower()] = f"InferenceApp/{app.name}"
    return found


def told(step: prune.Step, *, held: str = "") -> store.Pruned:
    """The step for people. `held` says why nothing is deleted at all."""
    state: store.PruneState = "Waiting" if step.state == "Delete" else step.state
    made = store.Pruned(step.owner.kind, step.owner.name, step.kind.label, step.resource_id, state, step.why)
    return replace(made, state="Held", message=held) if held and state == "Waiting" else made


def refused(step: prune.Step, verdict: outcome.Outcome) -> Result:
    """Busy or throttled is waiting; anything else is an error that people must see."""
    state: store.PruneState = "Waiting" if isinstance(verdict, outcome.Waiting) else "Failed"
    return Result(replace(told(step), state=state, message=verdict.message), pause(verdict))


def became(error: Exception) -> outcome.Outcome:
    """What an error came to. Only what nobody foresaw is logged here, with its traceback."""
    if isinstance(error, outcome.OutcomeError):
        return error.outcome
    return logs.unforeseen("deleting failed", error)


def pause(verdict: outcome.Outcome) -> float:
    """Seconds until another attempt makes sense."""
    match verdict:
        case outcome.Waiting(after=after) | outcome.Transient(after=after):
            return AGAIN if after is None else after
    return INTERVAL


def _by_id(
    ids: Sequence[str], found: Sequence[tuple[observed.Resource, ...]]
) -> Mapping[str, tuple[observed.Resource, ...]]:
    return {one.lower(): resources for one, resources in zip(ids, found, strict=True)}
