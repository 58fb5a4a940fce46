"""Puts a controller together: cloud, statuses, metrics, loop, watch, HTTP. It decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller import election as elections
from controller import follow, loop, memory, objects, reconcile, settings
from controller.cloud import azure, shared
from controller.model import desired
from controller.plan import planner
from controller.sources import manifest, origin
from controller.status import store
from controller.telemetry import api, hook, http, metrics

YOUNG = 10_000
"""New objects after which the collector looks through them."""

VERSION = importlib.metadata.version("acaops")


@dataclass(frozen=True)
class Controller:
    """One controller over one desired state. `asks` is where somebody may ask for another load of it."""

    cloud: azure.Azure
    loop: loop.Loop
    asks: follow.Asks = field(default_factory=follow.Asks)

    @property
    def statuses(self) -> store.Store:
        return self.loop.reconciler.statuses

    @property
    def election(self) -> elections.Election:
        return self.loop.election

    @property
    def reconciler(self) -> reconcile.Reconciler:
        return self.loop.reconciler


def spare_collector() -> None:
    """For a process that runs on: what was imported is never garbage, so the collector doesn't look through it again
    and again; without this it takes a fifth of all CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)


@contextlib.asynccontextmanager
async def controller(chosen: settings.Settings) -> AsyncIterator[Controller]:
    """A controller that has not looked at anything yet. Leaving lets the looks in hand end."""
    source = origin.Remote(chosen.git, cache=chosen.cache) if chosen.git else origin.Folder(chosen.folder)
    statuses = store.Store(store.SourceStatus(source.label))
    told = metrics.Metrics(version=VERSION, inventory=chosen.inventory)
    scope = planner.Scope(chosen.inventory, chosen.allow)
    async with azure.Azure(chosen.cloud) as cloud:
        cloud.calls.listen(told.requested)
        cloud.pacing.listen(told.held)
        cloud.circuits.listen(told.circuit)
        reads = shared.Shared(cloud)
        reconciler = reconcile.Reconciler(
            reads,
            statuses,
            told,
            scope,
            lambda: datetime.now(UTC),
            memory.Memory(sparing=True),
            refresh=reads.refresh,
        )
        lease = cloud.lease(chosen.lease) if chosen.lease else None
        election = elections.Election(
            lease, duration=chosen.lease_duration, told=lambda leads: told.leading(leader=leads)
        )
        cloud.fence = election.fence
        running = loop.Loop(source, reconciler, chosen.backoff, election)
        try:
            yield Controller(cloud, running)
        finally:
            await running.close()
            await reads.close()
            await source.close()
            if lease:
                await lease.close()


@contextlib.asynccontextmanager
async def electing(one: Controller) -> AsyncIterator[None]:
    """Stand for election while inside, where one is held. Leaving lets the looks in hand end, then another lead."""
    if one.election.single:
        yield
        return
    task = asyncio.create_task(one.election.run(lead=one.loop.lead, stand_by=one.loop.stand_by), name="election")
    one.loop.vital.append(task)
    try:
        yield
    finally:
        await one.loop.close()
        one.loop.vital.remove(task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await one.election.release()


@contextlib.asynccontextmanager
async def serving(one: Controller, chosen: settings.Settings) -> AsyncIterator[int]:
    """Health, status and metrics over HTTP while inside; gives the port."""
    statuses, told = one.statuses, one.reconciler.metrics

    def find(kind: str, name: str) -> dict[str, Any] | None:
        status = statuses.find(kind, name)
        return status.as_json() if status else None

    def exposition() -> tuple[bytes, str]:
        return told.exposition(), metrics.CONTENT_TYPE

    answers = http.Answers(
        alive=lambda: one.loop.alive,
        unready=lambda: _unready(one),
        status=lambda: {"leader": one.election.leader.as_json(), **statuses.snapshot().as_json()},
        find=find,
        metrics=exposition,
    )
    app = http.application(answers, version=VERSION, inventory=chosen.inventory)
    token = chosen.api_token.read if chosen.api_token else None
    app.add_routes(api.Api(token, reconcile=lambda kind, name: _reconcile(one, kind, name)).routes())
    if chosen.hook_secret and chosen.git:
        taken = hook.Hook(chosen.hook_secret.read, ref=chosen.git.ref, pushed=one.asks.push, count=told.hooked)
        app.add_routes([taken.route()])
    async with http.serve(app, chosen.host, port=chosen.port) as port:
        yield port


def _unready(one: Controller) -> Sequence[str]:
    """Who stands by makes no passes, and is ready to."""
    wanted = one.loop.source.keys if one.loop.source and one.loop.leading else ()
    undecided = one.election.undecided
    return (*([undecided] if undecided else ()), *one.statuses.unready(wanted))


def _reconcile(one: Controller, kind: str, name: str) -> api.Answer:
    """Ask for a look at once. `passes` in the answer is how many the object has had once it was made."""
    problems = one.statuses.source.problems
    if problems:
        return api.Answer(409, {"error": f"the desired state doesn't load: {problems[0]}"})
    if not one.loop.leading:
        return api.Answer(409, {"error": one.election.standing(), "leader": one.election.leader.as_json()})
    known = one.loop.source.keys if one.loop.source else ()
    found = [key for key in known if (key[0].casefold(), key[1]) == (kind.casefold(), name)]
    passes = one.loop.asked(found[0]) if found else None
    if passes is None:
        return api.Answer(404, {"error": f"no {kind} is called {name}", "known": ["/".join(key) for key in known]})
    return api.Answer(202, {"kind": found[0][0], "name": name, "passes": passes})


def config(source: manifest.Source, *, view: objects.View, app: desired.InferenceApp) -> dict[str, str]:
    """The six values AI Toolkit keeps in infra/inference.config.json, under its names."""
    spec = source.environment(app.spec.environment_ref).spec
    live = view.seen.app if view.seen else None
    return {
        "SUBSCRIPTION_ID": spec.subscription_id,
        "RESOURCE_GROUP_NAME": spec.resource_group,
        "STORAGE_ACCOUNT_NAME": view.ids.names.account,
        "FILE_SHARE_NAME": view.ids.names.share,
        "ACA_APP_NAME": live.name if live else "",
        "ACA_APP_ENDPOINT": (view.endpoint or "").removeprefix("https://"),
    }


async def record(one: Controller, path: Path) -> None:
    """Write the first app's values to `path`, if there is an app. Raises OutcomeError and OSError."""
    source = one.loop.source
    if source is None:
        return
    for loaded in source.apps[:1]:
        view = await one.reconciler.look(source, (loaded.object.kind, loaded.name))
        write_config(path, config(source, view=view, app=loaded.object))


def write_config(path: Path, values: dict[str, str]) -> None:
    """Write the values where AI Toolkit looks for them; one app's: the file has room for one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")


async def until_settled(one: Controller, *, seconds: float, stop: asyncio.Event) -> bool:
    """Wait until every object is Ready or Stalled, `seconds` at most; False when time ran out, `stop` was set or there
    is no desired state that loads."""
    if one.loop.source is None:
        return False
    done = asyncio.Event()

    def look(_: object) -> None:
        keys = one.loop.source.keys if one.loop.source else ()
        if all(loop.settled(one.statuses.get(key)) is not None for key in keys):
            done.set()

    end = one.statuses.subscribe(look)
    look(None)
    waits = [asyncio.create_task(done.wait()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        end()
        for wait in waits:
            wait.cancel()
    return done.is_set()
