"""Writes of resource groups and subscriptions. A group's are answered when they are done."""

from __future__ import annotations

from typing import Any

from controller.cloud import ids, session


async def create(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PUT `{location, tags}`: 201, or 200 for one that exists (recorded: resourcegroup-put-create)."""
    client = await cloud.groups(target.subscription)
    await client.resource_groups.create_or_update(target.group, body)


async def update(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PATCH."""
    client = await cloud.groups(target.subscription)
    await client.resource_groups.update(target.group, body)


async def register(cloud: session.Session, subscription: str, namespace: str) -> None:
    """POST `/subscriptions/S/providers/N/register`: 200 at once, `registrationState: Registering` for minutes
    (documented: Providers - Register)."""
    client = await cloud.groups(subscription)
    await client.providers.register(namespace)
