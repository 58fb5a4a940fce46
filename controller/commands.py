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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import aiohttp
import structlog

from controller import assembly, loop, settings, views
from controller.model import conditions, outcome
from controller.plan import actions, render
from controller.sources import content, manifest, secrets
from controller.status import store, summarize
from controller.telemetry import http

log = structlog.get_logger()

Form = Literal["text", "json"]
CONFIG = Path("infra/inference.config.json")
WATCH_SECONDS = 2.0
ASK_SECONDS = 10.0
INTERRUPTED = 130


async def plan(chosen: settings.Settings, source: manifest.Source, *, output: Form) -> int:
    """Exit status 0: nothing to change, 2: something, 1: an object can't be planned, or something is in the way."""
    plans: dict[str, actions.Plan] = {}
    problems: list[str] = []
    async with assembly.controller(chosen) as one:
        if problems := await _unusable(one, source):
            return _refused(problems)
        for key in source.keys:
            try:
                plans["/".join(key)] = (await one.reconciler.look(source, key)).plan
            except outcome.OutcomeError as error:
                problems.append(f"{'/'.join(key)}: {error}")
    _show_plans(plans, output=output, whole=not problems)
    views.problems(views.console(sys.stderr), problems)
    stopped = any(isinstance(step.blocked, outcome.Stalled) for one in plans.values() for step in one.steps)
    return 1 if problems or stopped else 2 if any(one.pending for one in plans.values()) else 0


def _show_plans(plans: dict[str, actions.Plan], *, output: Form, whole: bool) -> None:
    """`whole`: every object has a plan, so that none to show means nothing to change."""
    if output == "json":
        print(json.dumps({name: render.as_json(one) for name, one in plans.items()}, indent=2))
        return
    for name, one in plans.items():
        for line in render.lines(name, one):
            print(line)
    count = sum(step.action is not None for one in plans.values() for step in one.steps)
    if count or whole:
        print(f"{count} to write" if count else "nothing to change")


async def once(chosen: settings.Settings, source: manifest.Source, *, seconds: float, write_config: bool) -> int:
    """Converge, `seconds` at most. Exit status 0: every object is Ready."""
    console = views.console(sys.stderr)
    stop = asyncio.Event()
    began = time.monotonic()
    async with assembly.controller(chosen) as one:
        if problems := await _unusable(one, source):
            return _refused(problems)
        with views.Progress(console) as progress, loop.signals(stop.set, _leave):
            one.statuses.subscribe(lambda status: progress.update(status.as_json()))
            await one.loop.load()
            settled = await assembly.until_settled(one, seconds=seconds, stop=stop)
        await one.loop.close()
        ready = settled and all(loop.settled(status) for status in one.statuses.snapshot().objects)
        lines = [] if ready else list(_unfinished(one, settled=settled, interrupted=stop.is_set()))
        if write_config and ready:
            lines += await _write_config(one)
        _summary(one, seconds=time.monotonic() - began)
    views.problems(console, lines)
    return INTERRUPTED if stop.is_set() and not ready else 1 if lines else 0


async def daemon(chosen: settings.Settings, *, write_config: bool) -> int:
    """Watch and reconcile until a signal."""
    stop = asyncio.Event()
    try:
        async with assembly.controller(chosen) as one, assembly.serving(one, chosen) as port:
            with loop.signals(stop.set, _leave):
                log.info("serving", address=f"http://{chosen.host}:{port}", folder=str(chosen.folder))
                if write_config:
                    one.statuses.subscribe(_config_writer(one))
                await one.loop.load()
                async with assembly.watching(one, chosen):
                    await stop.wait()
    except http.ServeError as error:
        return _refused([str(error)])
    return 0


async def status(chosen: settings.Settings, *, url: str, name: str | None, watch: bool, output: Form) -> int:
    """The daemon's word, or that of a read-only pass. Exit status 0: all that is shown is Ready."""
    console = views.console(sys.stdout)
    while True:
        told = await _ask(url) or await _look(chosen)
        problems, shown = told["source"]["problems"], [one for one in told["objects"] if name in (None, one["name"])]
        if not shown and not problems and name is not None:
            return _refused([_unknown(name, [one["name"] for one in told["objects"]])])
        if output == "json":
            print(json.dumps(told | {"objects": shown}, indent=2))
        else:
            if watch:
                console.clear()
            console.print(views.status_table({"objects": shown}))
        views.problems(views.console(sys.stderr), problems)
        if not watch:
            return 0 if not problems and all(_is_ready(one) for one in shown) else 1
        await asyncio.sleep(WATCH_SECONDS)


async def _ask(url: str) -> dict[str, Any] | None:
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
        statuses = one.statuses
        try:
            source = manifest.load(chosen.folder)
        except manifest.LoadError as error:
            statuses.source = replace(statuses.source, problems=tuple(str(problem) for problem in error.problems))
        else:
            for key in source.keys:
                await one.reconciler.observe(source, key)
            statuses.source = replace(statuses.source, revision=source.revision, loaded_at=one.reconciler.now())
        return statuses.snapshot().as_json()


def _unknown(name: str, known: list[str]) -> str:
    return f"no object is called {name!r}; there {'are' if len(known) != 1 else 'is'} {', '.join(known) or 'none'}"


def _is_ready(told: dict[str, Any]) -> bool:
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


def _config_writer(one: assembly.Controller) -> store.Subscriber:
    """Writes the config whenever an app serves at an address that it didn't serve at before."""
    known: set[str | None] = set()
    pending: set[asyncio.Task[None]] = set()

    async def write() -> None:
        for problem in await _write_config(one):
            log.error("config not written", problem=problem)

    def look(status: store.ObjectStatus) -> None:
        if status.kind == "InferenceApp" and loop.settled(status) and status.endpoint not in known:
            known.add(status.endpoint)
            task = asyncio.get_running_loop().create_task(write())
            pending.add(task)
            task.add_done_callback(pending.discard)

    return look


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
            content.collect(loaded.contents, memory=memory)
        except content.ContentError as error:
            if changing or not error.retriable:
                problems += [f"{_place(loaded)}: {problem}" for problem in error.problems]
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


async def _unusable(one: assembly.Controller, source: manifest.Source) -> list[str]:
    """What can't be published, known before anything is asked or touched. What was summed isn't summed again."""
    memory = one.reconciler.memory.hashes
    found = await asyncio.to_thread(unpublishable, source, memory=memory, changing=False)
    return found + _secret_problems(source)


def _refused(lines: list[str]) -> int:
    views.problems(views.console(sys.stderr), lines)
    return 1


def _leave() -> None:
    """The second signal: leave at once. Azure goes on with what was begun; the next start finds it."""
    os._exit(INTERRUPTED)
