"""Writes of managed environments and their storages."""

from __future__ import annotations

from typing import Any

from controller.cloud import ids, session


async def create(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PUT: 201 while it is made (recorded: managedenv-put-create-gpu)."""
    (environment,) = target.names
    client = await cloud.apps(target.subscription)
    await client.managed_environments.begin_create_or_update(target.group, environment, body, polling=False)


async def update(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PATCH: 202 with an empty body; a failed one ends in 200 (recorded: managedenv-patch-result-200-but-failed),
    so only a later read tells."""
    (environment,) = target.names
    client = await cloud.apps(target.subscription)
    await client.managed_environments.begin_update(target.group, environment, body, polling=False)


async def put_storage(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PUT: 200. On one that exists nothing but the key is taken over
    (recorded: envstorage-put-existing-accountname-ignored). There is no PATCH."""
    environment, storage = target.names
    client = await cloud.apps(target.subscription)
    await client.managed_environments_storages.create_or_update(target.group, environment, storage, body)


async def delete(cloud: session.Session, target: ids.Id) -> None:
    """DELETE: 202 while it goes, which takes a quarter of an hour; 204 for one that isn't there."""
    (environment,) = target.names
    client = await cloud.apps(target.subscription)
    await client.managed_environments.begin_delete(target.group, environment, polling=False)


async def delete_storage(cloud: session.Session, target: ids.Id) -> None:
    """DELETE: 200."""
    environment, storage = target.names
    client = await cloud.apps(target.subscription)
    await client.managed_environments_storages.delete(target.group, environment, storage)
