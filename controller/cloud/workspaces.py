"""Writes of Log Analytics workspaces."""

from __future__ import annotations

from typing import Any

from controller.cloud import ids, session


async def create(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PUT: 201 while it is made (recorded: loganalytics-put-create)."""
    (workspace,) = target.names
    client = await cloud.workspaces(target.subscription)
    await client.workspaces.begin_create_or_update(target.group, workspace, body, polling=False)


async def update(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PATCH: 200."""
    (workspace,) = target.names
    client = await cloud.workspaces(target.subscription)
    await client.workspaces.update(target.group, workspace, body)


async def delete(cloud: session.Session, target: ids.Id) -> None:
    """DELETE: 200. The service can bring it back for two weeks (documented: soft-delete)."""
    (workspace,) = target.names
    client = await cloud.workspaces(target.subscription)
    await client.workspaces.begin_delete(target.group, workspace, polling=False)
