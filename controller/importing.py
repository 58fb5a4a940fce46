"""`acaops import`: what was found as YAML files, and what there is to know of it. `migration` decides what is found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controller import assembly, commands, settings, views
from controller.migration import live, migrated, written
from controller.model import outcome


@dataclass(frozen=True)
class Place:
    """Where in Azure the imported app is, as far as it was said."""

    subscription: str | None = None
    group: str | None = None


def project(folder: Path, to: Path, *, where: Place, force: bool) -> int:
    """Write an AI Toolkit project's desired state into the folder `to`."""
    # Reading Bicep takes a parser that no other command needs.
    from controller.migration import toolkit

    def read() -> migrated.Migrated:
        return toolkit.read(folder, subscription=where.subscription, resource_group=where.group)

    return _imported(read, to, force=force)


async def live_app(chosen: settings.Settings, name: str, to: Path, *, where: Place, force: bool) -> int:
    """Write the desired state of the live app called `GROUP/APP` into the folder `to`."""
    group, slash, app = name.partition("/")
    if not (group and slash and app) or "/" in app:
        return commands.refused([f"--from-azure {name}: must be GROUP/APP"])
    async with assembly.controller(chosen) as one:
        try:
            subscription = where.subscription or live.only(await one.cloud.subscriptions())
            found = await live.read(one.cloud, subscription=subscription, group=group, app=app)
        except migrated.MigrationError as error:
            return commands.refused(error.problems)
        except outcome.OutcomeError as error:
            return commands.refused([f"{name}: {error}"])
    return _imported(lambda: found, to, force=force)


def _imported(read: Callable[[], migrated.Migrated], to: Path, *, force: bool) -> int:
    console = views.console(sys.stderr)
    try:
        found = read()
        files = written.write(found, to, force=force)
    except migrated.MigrationError as error:
        return commands.refused(error.problems)
    except OSError as error:
        return commands.refused([f"{error.filename}: can't be written: {error.strerror}"])
    views.notes(console, found.notes)
    views.warnings(console, found.warnings)
    for path in files:
        print(path)
    return 0
