"""Writes of container apps: each begins and returns."""

from __future__ import annotations

from typing import Any

from controller.cloud import ids, session


async def create(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PUT: 201 while it is made; the answer is half filled and not looked at (recorded: containerapp-put-create-*)."""
    (app,) = target.names
    client = await cloud.apps(target.subscription)
    await client.container_apps.begin_create_or_update(target.group, app, body, polling=False)


async def update(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PATCH, a merge patch in which arrays are replaced whole: 202 with an empty body
    (recorded: containerapp-patch-template)."""
    (app,) = target.names
    client = await cloud.apps(target.subscription)
    await client.container_apps.begin_update(target.group, app, body, polling=False)


async def delete(cloud: session.Session, target: ids.Id) -> None:
    """DELETE: 202 while it goes (recorded: containerapp-delete-with-retry-after), 204 for one that isn't there."""
    (app,) = target.names
    client = await cloud.apps(target.subscription)
    await client.container_apps.begin_delete(target.group, app, polling=False)


async def activate(cloud: session.Session, target: ids.Id) -> None:
    """Start a revision that was stopped: acknowledged at once, its state lags (recorded: revision activate)."""
    app, revision = target.names
    client = await cloud.apps(target.subscription)
    await client.container_apps_revisions.activate_revision(target.group, app, revision)


async def deactivate(cloud: session.Session, target: ids.Id) -> None:
    """Stop a revision: acknowledged at once, its state lags (recorded: revision deactivate)."""
    app, revision = target.names
    client = await cloud.apps(target.subscription)
    await client.container_apps_revisions.deactivate_revision(target.group, app, revision)
