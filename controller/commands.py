"""What the commands do with a controller, once their arguments are read: plan, converge, run on, tell.

Each gives its exit status. Results go to standard output, everything else to standard error. What happens to an object
is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import aiohttp

from controller import assembly, configuration, loop, objects, preflighting, pruning, settings, signals, tables, views
from controller import election as elections
from controller.model import conditions, outcome
from controller.plan import actions, prune, render
from controller.sources import content, git, manifest, remote, repository, secrets, worktree
from controller.status import summarize

Form = Literal["text", "json"]
HELD = os.EX_TEMPFAIL
"""The exit status where another controller leads: 75, try again later."""

CONFIG = Path("infra/inference.config.json")
WATCH_SECONDS = 2.0
ASK_SECONDS = 10.0


class RefusedError(Exception):
    """A command can't go on; the problems are for people."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


async def plan(chosen: settings.Settings, *, rev: str | None, output: Form) -> int:
    """Exit status 0: nothing to change, 2: something, 1: an object can't be planned, something is in the way, or the
    preflight found that it can't work. With `rev`, of that commit."""
    seen: dict[preflighting.Key, objects.View] = {}
    problems: list[str] = []
    try:
        chosen = await _at(chosen, rev) if rev else chosen
        async with assembly.controller(chosen) as one:
            source = await _usable(one)
            for key in source.keys:
                try:
                    seen[key] = await one.reconciler.look(source, key)
                except outcome.OutcomeError as error:
                    problems.append(f"{'/'.join(key)}: {error}")
            found = await preflighting.findings(one.cloud, source, seen, memory=one.reconciler.memory.hashes)
            gone = await _gone(one, chosen, source, problems) if chosen.prune else prune.Plan()
    except RefusedError as error:
        return refused(error.problems)
    plans = {**{"/".join(key): view.plan for key, view in seen.items()}, **prune.shown(gone)}
    said = {"/".join(key): each for key, each in found.items()}
    _show_plans(plans, said, output=output, whole=not problems)
    _show_findings([one for each in said.values() for one in each])
    views.notes(views.console(sys.stderr), prune.kept(gone.steps))
    views.problems(views.console(sys.stderr), problems)
    stopped = any(isinstance(step.blocked, outcome.Stalled) for one in plans.values() for step in one.steps)
    stopped = stopped or any(one.found.level == "error" for each in said.values() for one in each)
    return 1 if problems or stopped else 2 if any(one.pending for one in plans.values()) else 0


async def _gone(
    one: assembly.Controller, chosen: settings.Settings, source: manifest.Source, problems: list[str]
) -> prune.Plan:
    """What pruning would delete; one more of the problems where that can't be told."""
    try:
        return await pruning.made(one.loop, one.cloud, chosen).plan(source)
    except outcome.OutcomeError as error:
        problems.append(f"what would be pruned can't be told: {error}")
        return prune.Plan()


async def _at(chosen: settings.Settings, rev: str) -> settings.Settings:
    """The same desired state at another commit; of a folder, in the work tree that it lies in."""
    if chosen.git:
        try:
            return replace(chosen, git=replace(chosen.git, ref=remote.checked_ref(rev)))
        except ValueError as error:
            raise RefusedError(f"--rev {rev}: {error}") from None
    folder = chosen.folder.resolve()
    top = worktree.top(folder)
    if top is None:
        raise RefusedError(f"--rev {rev}: {chosen.folder} lies in no git work tree; name the repository by --repo")
    try:
        sha = await repository.commit_of(top, rev)
    except git.FetchError as error:
        raise RefusedError(f"--rev {rev}: {error}") from error
    path = folder.relative_to(top).as_posix()
    # Whoever asks could read the files by themselves.
    return replace(chosen, git=settings.Git(f"file://{top}", ref=sha, path=path, secrets=Path("/")))


def _show_plans(
    plans: dict[str, actions.Plan],
    found: dict[str, tuple[preflighting.Finding, ...]],
    *,
    output: Form,
    whole: bool,
) -> None:
    """`found` are the preflight's entries, after the steps. `whole`: every object has a plan, so that none to show
    means nothing to change."""
    if output == "json":
        told = {
            name: [*render.as_json(one), *(each.as_json() for each in found.get(name, ()))]
            for name, one in plans.items()
        }
        print(json.dumps(told, indent=2))
        return
    for name, one in plans.items():
        for line in render.lines(name, one):
            print(line)
    count = sum(step.action is not None for one in plans.values() for step in one.steps)
    if count or whole:
        print(f"{count} to write" if count else "nothing to change")


def _show_findings(found: list[preflighting.Finding]) -> None:
    """The gravest last, next to the prompt."""
    console = views.console(sys.stderr)
    views.notes(console, [str(one) for one in found if one.found.level == "note"])
    views.warnings(console, [str(one) for one in found if one.found.level == "warning"])
    views.problems(console, [str(one) for one in found if one.found.level == "error"])


async def once(chosen: settings.Settings, *, seconds: float, write_config: bool) -> int:
    """Converge, `seconds` at most. Exit status 0: every object is Ready, `HELD`: another controller leads."""
    console = views.console(sys.stderr)
    stop, lost = asyncio.Event(), asyncio.Event()
    began = time.monotonic()

    def lose() -> None:
        lost.set()
        stop.set()

    try:
        async with assembly.controller(chosen) as one:
            source = await _usable(one)
            async with one.election.held(lose):
                with views.Progress(console) as progress, signals.handled(stop.set):
                    one.statuses.subscribe(lambda status: progress.update(status.as_json()))
                    await one.loop.accept(source)
                    settled = await assembly.until_settled(one, seconds=seconds, stop=stop)
                    if settled and chosen.prune:
                        left = max(0.0, seconds - (time.monotonic() - began))
                        await pruning.until_done(one.loop, one.cloud, chosen, seconds=left, stop=stop)
                await one.loop.close()
            ready = settled and all(loop.settled(status) for status in one.statuses.snapshot().objects)
            lines = [] if ready else list(_unfinished(one, settled=settled, interrupted=stop.is_set()))
            views.notes(console, pruning.notes(one.statuses.source.pruning))
            lines += pruning.problems(one.statuses.source.pruning)
            if write_config and ready:
                lines += await _write_config(one)
            _summary(one, seconds=time.monotonic() - began)
    except elections.HeldError as error:
        refused([str(error)])
        return HELD
    except RefusedError as error:
        return refused(error.problems)
    except outcome.OutcomeError as error:
        return refused([f"the lease can't be had: {error}"])
    if lost.is_set() and not ready:
        refused(["the lease was lost on the way; run it again to go on"])
        return HELD
    views.problems(console, lines)
    return signals.INTERRUPTED if stop.is_set() and not ready else 1 if lines else 0


async def status(chosen: settings.Settings, *, url: str, name: str | None, watch: bool, output: Form) -> int:
    """The daemon's word, or that of a read-only pass. Exit status 0: all that is shown is Ready."""
    console = views.console(sys.stdout)
    while True:
        told = await ask(url) or await _look(chosen)
        problems = [*told["source"]["problems"], *filter(None, [told["source"].get("fetchError")])]
        shown = [one for one in told["objects"] if name in (None, one["name"])]
        if not shown and not problems and name is not None:
            return refused([unknown(name, [one["name"] for one in told["objects"]])])
        if output == "json":
            print(json.dumps(told | {"objects": shown}, indent=2))
        else:
            if watch:
                console.clear()
            for line in filter(None, (tables.leader_line(told.get("leader")), tables.source_line(told["source"]))):
                console.print(line)
            console.print(tables.status_table({"objects": shown}))
            views.notes(views.console(sys.stderr), pruning.lines(told["source"].get("pruning", ())))
        views.problems(views.console(sys.stderr), problems)
        if not watch:
            return 0 if not problems and all(is_ready(one) for one in shown) else 1
        await asyncio.sleep(WATCH_SECONDS)


def address(chosen: settings.Settings) -> str:
    """Where a daemon of these settings answers on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(chosen.host, chosen.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{chosen.port}"


async def ask(url: str) -> dict[str, Any] | None:
    """What the daemon says, None where none answers: nobody, or somebody else."""
    try:
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url.rstrip('/')}/status") as answer,
        ):
            told = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return told if isinstance(told, dict) and {"source", "objects"} <= told.keys() else None


async def _look(chosen: settings.Settings) -> dict[str, Any]:
    """A read-only pass over every object, told in the daemon's shape."""
    async with assembly.controller(chosen) as one:
        try:
            source = await one.loop.origin.load()
        except (manifest.LoadError, git.FetchError) as error:
            one.statuses.source = replace(one.statuses.source, problems=_told(error))
        else:
            for key in source.keys:
                await one.reconciler.observe(source, key)
            one.loop.tell(source)
        return one.statuses.snapshot().as_json()


def _told(error: manifest.LoadError | git.FetchError) -> tuple[str, ...]:
    return tuple(map(str, error.problems)) if isinstance(error, manifest.LoadError) else (str(error),)


def unknown(name: str, known: list[str]) -> str:
    return f"no object is called {name!r}; there {'are' if len(known) != 1 else 'is'} {', '.join(known) or 'none'}"


def is_ready(told: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in told["conditions"])


def _summary(one: assembly.Controller, *, seconds: float) -> None:
    for status in one.statuses.snapshot().objects:
        if status.endpoint:
            print(f"{status.kind}/{status.name}  {status.endpoint}  release {status.release}")
    print(f"writes: {one.cloud.writes.arm} to ARM, {one.cloud.writes.share} to the share; {seconds:.1f} s")


def _unfinished(one: assembly.Controller, *, settled: bool, interrupted: bool) -> Iterator[str]:
    for status in one.statuses.snapshot().objects:
        if not loop.settled(status):
            ready = status.condition(conditions.READY)
            yield f"{status.kind}/{status.name}: {summarize.bounded(ready.message if ready else 'not looked at yet')}"
    if not settled:
        yield "interrupted; run it again to go on" if interrupted else "timed out; run it again to go on"


async def _write_config(one: assembly.Controller) -> list[str]:
    """Write the first app's values; what went wrong, if anything did."""
    try:
        await assembly.record(one, CONFIG)
    except (outcome.OutcomeError, OSError) as error:
        return [f"{CONFIG} wasn't written: {error}"]
    return []


def unpublishable(source: manifest.Source, *, memory: content.Memory, changing: bool) -> list[str]:
    """What is wrong with the content folders, by place. `changing`: a file that is being written counts too; it may
    be whole a moment later."""
    problems: list[str] = []
    for loaded in source.apps:
        try:
            content.collect(loaded.contents, top=loaded.top, memory=memory)
        except content.ContentError as error:
            if changing or not error.retriable:
                problems += [f"{_place(loaded)}: {loaded.shown(problem)}" for problem in error.problems]
    return problems


def _secret_problems(source: manifest.Source) -> list[str]:
    problems: list[str] = []
    for loaded in source.apps:
        try:
            secrets.resolve_all(loaded)
        except secrets.SecretError as error:
            problems += [f"{_place(loaded)}: {problem}" for problem in error.problems]
    return problems


def _place(loaded: manifest.LoadedApp) -> str:
    return f"{loaded.file}:{loaded.line}:1"


async def loaded(one: assembly.Controller) -> manifest.Source:
    """The desired state. Raises RefusedError."""
    try:
        return await one.loop.origin.load()
    except (manifest.LoadError, git.FetchError) as error:
        raise RefusedError(*_told(error)) from error


async def _usable(one: assembly.Controller) -> manifest.Source:
    """The desired state, once it is known that it can be published: before anything is asked or touched. What was
    summed isn't summed again. Raises RefusedError."""
    source = await loaded(one)
    memory = one.reconciler.memory.hashes
    problems = await asyncio.to_thread(unpublishable, source, memory=memory, changing=False)
    if problems := problems + _secret_problems(source):
        raise RefusedError(*problems)
    return source


def show_settings(choices: configuration.Choices, *, output: Form) -> None:
    """Every setting with where it comes from."""
    rows = configuration.table(choices)
    if output == "json":
        print(json.dumps({name: {"value": value, "origin": origin} for name, value, origin in rows}, indent=2))
    else:
        views.console(sys.stdout).print(tables.settings_table(rows))


def refused(lines: Iterable[str]) -> int:
    """Say what is wrong; the exit status."""
    views.problems(views.console(sys.stderr), lines)
    return 1
