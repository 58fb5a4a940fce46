"""`acaops logs`: what the containers of one app print, read from Azure itself. It changes nothing, asks no daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from controller import assembly, commands, observe, settings, views
from controller.cloud import port
from controller.model import desired, identity, observed, outcome
from controller.model.kinds import Kind
from controller.sources import manifest

Value = TypeVar("Value")

CLOSED = 141
"""The exit status where whoever read the lines went away: a shell's for SIGPIPE."""


@dataclass(frozen=True)
class Asked:
    """What people asked for: `tail` lines of each replica. None stands for the usual revision, every replica, the
    app's own container."""

    name: str
    follow: bool
    tail: int
    revision: str | None
    replica: str | None
    container: str | None
    output: commands.Form


@dataclass(frozen=True)
class _Printer:
    """One container of one replica; `of` is the replica's short name where there are several."""

    app: observed.Resource
    revision: observed.Resource
    replica: observed.Resource
    container: str
    of: str

    def show(self, line: str, *, output: commands.Form) -> None:
        # Whoever reads through a pipe follows too.
        print(self._json(line) if output == "json" else views.log_line(line, of=self.of), flush=True)

    def _json(self, line: str) -> str:
        names = {"app": self.app.name, "revision": self.revision.name, "replica": self.replica.name}
        return json.dumps({**names, "container": self.container, "line": line}, ensure_ascii=False)

    @property
    def state(self) -> str:
        """The platform's words for its container."""
        containers: Sequence[observed.Body] = self.replica.properties.get("containers") or ()
        found = [one for one in containers if one.get("name") == self.container]
        return str(found[0].get("runningStateDetails") or found[0].get("runningState"))


async def logs(chosen: settings.Settings, asked: Asked) -> int:
    """Print the last lines of each replica and, where asked to follow, each new one. Exit status 0: all was read."""
    try:
        async with assembly.controller(chosen) as one:
            printers = await _printers(one.cloud, await _app(one, asked.name), asked)
            if asked.follow:
                await _together([_follow(one.cloud, each, asked) for each in printers])
            else:
                await _tail(one.cloud, printers, asked)
    except BrokenPipeError:
        return _closed()
    except commands.RefusedError as error:
        return commands.refused(error.problems)
    except outcome.OutcomeError as error:
        return commands.refused([str(error)])
    return 0


async def _app(one: assembly.Controller, name: str) -> observed.Resource:
    """The container app of the object called `name`. Raises RefusedError and OutcomeError."""
    source = await commands.loaded(one)
    wanted = _wanted(source, name)
    ids, group = await observe.ids(one.cloud, source.environment(wanted.spec.environment_ref))
    app_id = ids.app(identity.app_name(wanted, group_id=ids.group))
    live = await one.cloud.read(Kind.APP, app_id) if group else None
    if live is None:
        raise commands.RefusedError(f"{name} has no container app yet; acaops status {name} says why")
    return live


def _wanted(source: manifest.Source, name: str) -> desired.InferenceApp:
    found = next((loaded.object for loaded in source.apps if loaded.name == name), None)
    if found is not None:
        return found
    if any(key[1] == name for key in source.keys):
        raise commands.RefusedError(f"{name} is an Environment, which prints nothing; name an InferenceApp")
    raise commands.RefusedError(commands.unknown(name, [loaded.name for loaded in source.apps]))


async def _printers(cloud: port.Cloud, app: observed.Resource, asked: Asked) -> list[_Printer]:
    """Whose lines are meant. Raises RefusedError where there is nobody."""
    revision, replicas = await _running(cloud, app, asked)
    if revision.name != app.properties.get("latestRevisionName"):
        views.notes(views.console(sys.stderr), [f"these are the lines of revision {revision.name}, not of the latest"])
    several = len(replicas) > 1
    if asked.replica is not None:
        replicas = [one for one in replicas if asked.replica in (one.name, _short(one))]
    if not replicas:
        raise commands.RefusedError(_nobody(revision, asked))
    of = [_short(one) if several else "" for one in replicas]
    return [
        _Printer(app, revision, one, _container(app, one, asked), name) for one, name in zip(replicas, of, strict=True)
    ]


async def _running(
    cloud: port.Cloud, app: observed.Resource, asked: Asked
) -> tuple[observed.Resource, Sequence[observed.Resource]]:
    """The revision that was asked for, with its replicas; else the latest, or where that has none the one that serves
    most. Raises RefusedError."""
    revisions = await cloud.revisions(app.id)
    for revision in _candidates(app, revisions, asked):
        replicas = await cloud.replicas(revision.id)
        if replicas:
            return revision, replicas
    return _candidates(app, revisions, asked)[0], ()


def _candidates(
    app: observed.Resource, revisions: Sequence[observed.Resource], asked: Asked
) -> list[observed.Resource]:
    latest, names = app.properties.get("latestRevisionName"), (asked.revision, f"{app.name}--{asked.revision}")
    likely = sorted(revisions, key=lambda one: (one.name != latest, -(one.properties.get("trafficWeight") or 0)))
    found = [one for one in likely if one.name in names] if asked.revision else likely[:2]
    if not found:
        known = ", ".join(one.name for one in revisions) or "none"
        raise commands.RefusedError(f"{app.name} has no revision {asked.revision or 'yet'}; there are {known}")
    return found


def _container(app: observed.Resource, replica: observed.Resource, asked: Asked) -> str:
    """The one called as the app, as ours are, or the first. Raises RefusedError."""
    names = [str(one.get("name")) for one in replica.properties.get("containers") or ()]
    wanted = asked.container or (app.name if app.name in names else next(iter(names), app.name))
    if wanted not in names:
        known = ", ".join(names) or "none"
        raise commands.RefusedError(f"replica {replica.name} has no container {wanted}; there are {known}")
    return wanted


def _nobody(revision: observed.Resource, asked: Asked) -> str:
    if asked.replica is not None:
        return f"revision {revision.name} has no replica {asked.replica}; without --replica all of them are read"
    state = revision.properties.get("runningState")
    return f"revision {revision.name} is {state} and has no replica; acaops status {asked.name} says why"


async def _tail(cloud: port.Cloud, printers: Sequence[_Printer], asked: Asked) -> None:
    read = [cloud.logs(one.app, one.replica, one.container, tail=asked.tail) for one in printers]
    for printer, lines in zip(printers, await _together(read), strict=True):
        for line in lines:
            printer.show(line, output=asked.output)
        if not lines and asked.tail:
            told = f"replica {printer.replica.name} printed nothing yet: {printer.state}"
            views.notes(views.console(sys.stderr), [told])


async def _follow(cloud: port.Cloud, printer: _Printer, asked: Asked) -> None:
    lines = cloud.follow(printer.app, printer.replica, printer.container, tail=asked.tail)
    async with contextlib.aclosing(lines):
        async for line in lines:
            printer.show(line, output=asked.output)
    views.notes(views.console(sys.stderr), [f"replica {printer.replica.name} ended"])


async def _together(work: Iterable[Coroutine[Any, Any, Value]]) -> list[Value]:
    """The results of all; where one fails, the others end with it."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _short(replica: observed.Resource) -> str:
    """What tells it from the others of its revision (recorded: replicas-list, `<revision>-<hash>-<5>`)."""
    return replica.name.rpartition("-")[2]


def _closed() -> int:
    """Nothing more can be printed; the interpreter would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED
