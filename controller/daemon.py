"""`acaops run`: startup, main loop, shutdown, in this order. What happens to an object is decided elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from controller import assembly, commands, follow, loop, notifying, pruning, settings, signals
from controller.model import outcome
from controller.status import store
from controller.telemetry import http, receivers, supervisor

log = structlog.get_logger()


async def run(chosen: settings.Settings, *, config: Path | None) -> int:
    """Follow the desired state and reconcile until a signal. Exit status 0; 1 where it can't start. `config` is written
    whenever an app serves at a new address."""
    assembly.spare_collector()
    told = supervisor.Supervisor(os.environ)
    try:
        async with _started(chosen, told) as one:
            stop = asyncio.Event()
            with signals.handled(stop.set, again=_again(one, told)):
                if config:
                    one.statuses.subscribe(_config_writer(one, config))
                async with follow.following(one.loop, one.asks, chosen), told.watched(lambda: one.loop.alive):
                    told.ready()
                    await stop.wait()
            told.stopping()
            log.info("stopping: the looks in hand end first")
    except (http.ServeError, receivers.ReceiverError) as error:
        return commands.refused([str(error)])
    return 0


@contextlib.asynccontextmanager
async def _started(chosen: settings.Settings, told: supervisor.Supervisor) -> AsyncIterator[assembly.Controller]:
    """A controller that serves and notifies, and has not looked at anything yet."""
    async with (
        assembly.controller(chosen) as one,
        assembly.serving(one, chosen) as port,
        notifying.notifying(one.loop, chosen),
        assembly.electing(one),
        pruning.pruning(one.loop, one.cloud, chosen),
    ):
        log.info("serving", address=f"http://{chosen.host}:{port}", source=one.loop.origin.label)
        if chosen.hook_secret and not chosen.git:
            log.warning("pushes aren't listened to: a folder is followed by its file events")
        one.loop.on_load.append(lambda: told.status(_summary(one)))
        yield one


def _again(one: assembly.Controller, told: supervisor.Supervisor) -> Callable[[], None]:
    """SIGHUP: everything is looked at again. A service manager learns when that was loaded."""
    reloading = False

    def begin() -> None:
        nonlocal reloading
        log.info("asked by SIGHUP to look at everything")
        reloading = True
        told.reloading()
        one.asks.everything()

    def end() -> None:
        nonlocal reloading
        if reloading:
            reloading = False
            told.ready()

    one.loop.on_load.append(end)
    return begin


def _summary(one: assembly.Controller) -> str:
    """One line for the service manager."""
    source, objects = one.statuses.source, one.statuses.snapshot().objects
    if source.problems:
        return f"the desired state doesn't load: {source.problems[0]}"
    if not one.loop.leading:
        return f"{source.revision}: {one.election.standing()}"
    ready = sum(loop.settled(status) is True for status in objects)
    fetching = f"; {source.fetch_error}" if source.fetch_error else ""
    return f"{source.revision}: {ready} of {len(objects)} objects Ready{fetching}"


def _config_writer(one: assembly.Controller, path: Path) -> store.Subscriber:
    """Writes the config whenever an app serves at an address that it didn't serve at before."""
    known: set[str | None] = set()
    pending: set[asyncio.Task[None]] = set()

    async def write() -> None:
        try:
            await assembly.record(one, path)
        except (outcome.OutcomeError, OSError) as error:
            log.error("config not written", path=str(path), problem=str(error))

    def look(status: store.ObjectStatus) -> None:
        if status.kind == "InferenceApp" and loop.settled(status) and status.endpoint not in known:
            known.add(status.endpoint)
            task = asyncio.get_running_loop().create_task(write())
            pending.add(task)
            task.add_done_callback(pending.discard)

    return look
