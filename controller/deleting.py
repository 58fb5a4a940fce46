"""`acaops delete`: one object's resources, on purpose. What may go and in which order is decided in `plan.prune`.

An InferenceApp goes whatever its deletionPolicy says, because it was asked for; of an Environment goes what its policy
lets go. What was adopted stays, and what an app published on the share stays with the share.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from controller import assembly, commands, leftovers, observe, pruning, settings, signals, views
from controller import election as elections
from controller.cloud import port
from controller.model import desired, outcome, tags
from controller.plan import planner, prune
from controller.sources import git, manifest
from controller.status import store

Key = tuple[str, str]


@dataclass(frozen=True)
class Asked:
    """What people asked for. `kind` is None where the name alone says it; `seconds` is the longest to wait."""

    name: str
    kind: str | None
    yes: bool
    seconds: float
    output: commands.Form


@dataclass(frozen=True)
class _Target:
    """The object, and how its resources are looked at. `wanted` says that it is in the desired state."""

    owner: tags.Owner
    sweep: leftovers.Sweep
    wanted: bool

    def __str__(self) -> str:
        return f"{self.owner.kind}/{self.owner.name}"


async def delete(chosen: settings.Settings, asked: Asked) -> int:
    """Delete and wait for the end. Exit status 0: all is gone or stays by the rules."""
    stop = asyncio.Event()
    try:
        async with assembly.controller(chosen) as one:
            target = await _target(one, chosen, asked)
            _, plan = await target.sweep.look()
            if plan.going:
                _confirmed(target, plan, asked)
            async with one.election.held(stop.set):
                with signals.handled(stop.set):
                    results = await _deleted(target, seconds=asked.seconds, stop=stop)
    except elections.HeldError as error:
        commands.refused([str(error)])
        return commands.HELD
    except (commands.RefusedError, outcome.OutcomeError) as error:
        return commands.refused([str(error)])
    _show(target, results, output=asked.output)
    left = [one for one in results if one.state not in ("Deleted", "Kept")]
    if left and stop.is_set():
        commands.refused(["interrupted; Azure goes on with what was begun, run it again for the rest"])
        return signals.INTERRUPTED
    return commands.refused(_unfinished(left)) if left else 0


async def _target(one: assembly.Controller, chosen: settings.Settings, asked: Asked) -> _Target:
    """Which object is meant. Raises RefusedError where that isn't clear, and OutcomeError."""
    source = await _source(one)
    inventory, cloud = chosen.inventory, one.cloud
    known = [key for key in source.keys if key[1] == asked.name] if source else []
    where = await _where(cloud, chosen, source, known)
    seen = await leftovers.look(cloud, where)
    everybodys = [owner for owner in prune.owners(seen) if owner.name == asked.name]
    tagged = [(owner.kind, owner.name) for owner in everybodys if owner.inventory == inventory]
    key = _only(asked, {*known, *tagged}, everybodys, inventory=inventory, where=where)
    owner = tags.Owner(inventory, *key)
    if source and key in known:
        await _not_others(cloud, source, owner, seen)
    policy = _policy(source if key in known else None, key)

    def planned(seen: prune.Seen) -> prune.Plan:
        return prune.Plan(prune.steps(owner, seen, policy=policy))

    sweep = leftovers.Sweep(cloud, where, source, planned, policy=policy, soon=pruning.LOOK_SECONDS)
    return _Target(owner, sweep, wanted=key in known)


async def _source(one: assembly.Controller) -> manifest.Source | None:
    """The desired state, where one loads: a broken one must not keep anybody from deleting."""
    try:
        return await one.loop.origin.load()
    except (manifest.LoadError, git.FetchError) as error:
        first = str(error).partition("\n")[0]
        views.warnings(views.console(sys.stderr), [f"the desired state doesn't load, tags alone count: {first}"])
        return None


async def _where(
    cloud: port.Cloud, chosen: settings.Settings, source: manifest.Source | None, known: Iterable[Key]
) -> tuple[str, ...]:
    """The guard list's places, and the object's own group. Raises RefusedError where that is out of bounds."""
    scope, own = planner.Scope(chosen.inventory, chosen.allow), set()
    for environment in [_environment(source, key) for key in known] if source else []:
        if guarded := scope.guard(environment):
            raise commands.RefusedError(guarded.message)
        own.add((await observe.ids(cloud, environment))[0].group)
    where = leftovers.scopes(chosen.allow)
    covered = [place.lower() for place in where]
    extra = (group for group in sorted(own) if not any(f"{group.lower()}/".startswith(f"{one}/") for one in covered))
    found = (*where, *extra)
    if not found:
        raise commands.RefusedError(
            "it isn't said where to look: name the subscription or the resource group by --allow"
        )
    return found


def _environment(source: manifest.Source, key: Key) -> desired.Environment:
    """The object itself, or the Environment that it stands on."""
    found = source.find(*key).object
    return found if isinstance(found, desired.Environment) else source.environment(found.spec.environment_ref)


def _policy(source: manifest.Source | None, key: Key) -> str | None:
    """An app goes because it was asked for; an Environment's policy is what the desired state says, where that is None
    what its tags say."""
    if key[0] == "InferenceApp":
        return "Delete"
    return source.environment(key[1]).spec.deletion_policy if source else None


def _only(
    asked: Asked, found: set[Key], everybodys: list[tags.Owner], *, inventory: str, where: tuple[str, ...]
) -> Key:
    """The one object that is meant."""
    fitting = sorted(key for key in found if asked.kind is None or key[0].casefold() == asked.kind.casefold())
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise commands.RefusedError(f"{asked.name} is {' and '.join(kind for kind, _ in fitting)}; say which by --kind")
    others = [str(owner) for owner in everybodys if owner.inventory != inventory]
    if others:
        told = f"{asked.name} belongs to {', '.join(others)} (tag {tags.OWNER}), and this is inventory {inventory}"
        raise commands.RefusedError(f"{told}; not touched")
    places = ", ".join(where)
    raise commands.RefusedError(
        f"no object is called {asked.name!r}: not in the desired state, and by no tag in {places}"
    )


async def _not_others(cloud: port.Cloud, source: manifest.Source, owner: tags.Owner, seen: prune.Seen) -> None:
    """Raises RefusedError where a resource that the object names is somebody else's."""
    named = await leftovers.named(cloud, source)
    for resources in seen.resources.values():
        for live in resources:
            other = tags.other_owner(owner, live.tags)
            if other and named.get(live.id.lower()) == f"{owner.kind}/{owner.name}":
                raise commands.RefusedError(f"{live.name} belongs to {other} (tag {tags.OWNER}); not touched")


def _confirmed(target: _Target, plan: prune.Plan, asked: Asked) -> None:
    """Say what goes, and ask. Raises RefusedError without a yes."""
    console = views.console(sys.stderr)
    going = [step for step in plan.steps if step.state != "Kept"]
    views.notes(console, [f"{target}: {step.kind.label} {step.name} will be deleted" for step in going])
    if target.owner.kind == "InferenceApp":
        views.notes(console, [f"{target}: what it published on the share stays"])
    if target.wanted:
        again = "it is in the desired state: a running controller will make it again"
        views.warnings(console, [f"{target}: {again}"])
    if asked.yes:
        return
    if not terminal():
        raise commands.RefusedError("nobody can be asked here: --yes deletes without a question")
    if not _answer(f"Delete {target}? [y/N] "):
        raise commands.RefusedError("nothing was deleted")


def terminal() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def _answer(question: str) -> bool:
    with _interruptible():
        print(question, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends a question at once; the event loop's own handler would wait for the answer."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _deleted(target: _Target, *, seconds: float, stop: asyncio.Event) -> list[store.Pruned]:
    """Look and delete until nothing is under way, telling each change; what became of each resource."""
    known: dict[str, store.Pruned] = {}
    with views.Progress(views.console(sys.stderr)) as progress, contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not stop.is_set():
                results = await _round(target, stop, progress)
                known = _news(known, [one.told for one in results], progress)
                pause = min((one.pause for one in results), default=leftovers.INTERVAL)
                if pause >= leftovers.INTERVAL:
                    break
                await signals.waited(stop, pause)
    return list(known.values())


async def _round(target: _Target, stop: asyncio.Event, progress: views.Progress) -> list[leftovers.Result]:
    """One look, repeated while it fails in a way that passes by itself. Raises OutcomeError for the others."""
    while True:
        try:
            seen, plan = await target.sweep.look()
            return await target.sweep.carry_out(seen, plan, still=lambda: "interrupted" if stop.is_set() else "")
        except outcome.OutcomeError as error:
            if isinstance(error.outcome, outcome.Stalled):
                raise
            progress.note(f"{target}  {error}")
            await asyncio.sleep(pruning.LOOK_SECONDS)


def _news(
    known: Mapping[str, store.Pruned], told: Iterable[store.Pruned], progress: views.Progress
) -> dict[str, store.Pruned]:
    """What is known now: of what isn't there any more, that it went."""
    now = {one.resource: one for one in told}
    gone = {name: replace(one, state="Deleted", message="") for name, one in known.items() if name not in now}
    for name, one in {**gone, **now}.items():
        if known.get(name) != one:
            words = [f"{one.kind}/{one.name}", one.step, _last(one), one.state.lower(), one.message]
            progress.note("  ".join(word for word in words if word))
    return {**gone, **now}


def _show(target: _Target, results: list[store.Pruned], *, output: commands.Form) -> None:
    if output == "json":
        told = [one.as_json() for one in results]
        print(json.dumps({"kind": target.owner.kind, "name": target.owner.name, "resources": told}, indent=2))
        return
    for one in results:
        said = {"Deleted": "was deleted", "Kept": f"stays: {one.message}"}.get(one.state)
        if said:
            print(f"{target}: {one.step} {_last(one)} {said}")
    if not results:
        print(f"{target}: nothing is there to delete")


def _unfinished(left: list[store.Pruned]) -> list[str]:
    return [f"{one.step} {_last(one)} is not gone: {one.message or 'it is still being deleted'}" for one in left]


def _last(one: store.Pruned) -> str:
    return one.resource.rsplit("/", 1)[-1]
