"""Writes of storage accounts, their file service and shares. Only an account's creation takes long."""

from __future__ import annotations

from typing import Any

from controller.cloud import ids, session


async def create_account(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PUT: 202 with an empty body while it is made, so no result is asked for (recorded: storageaccount-put-create)."""
    (account,) = target.names
    client = await cloud.storage(target.subscription)
    await client.storage_accounts.begin_create(target.group, account, body, polling=False)


async def update_account(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PATCH: 200."""
    (account,) = target.names
    client = await cloud.storage(target.subscription)
    await client.storage_accounts.update(target.group, account, body)


async def delete_account(cloud: session.Session, target: ids.Id) -> None:
    """DELETE: 200 when it is gone, 204 for one that wasn't there (documented)."""
    (account,) = target.names
    client = await cloud.storage(target.subscription)
    await client.storage_accounts.delete(target.group, account)


async def put_file_service(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PUT: 200. Its one name is `default`; there is no PATCH."""
    account, _ = target.names
    client = await cloud.storage(target.subscription)
    await client.file_services.set_service_properties(target.group, account, body)


async def create_share(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PUT: 201 (recorded: fileshare-arm-put-create)."""
    account, _, share = target.names
    client = await cloud.storage(target.subscription)
    await client.file_shares.create(target.group, account, share, body)


async def update_share(cloud: session.Session, target: ids.Id, body: Any) -> None:
    """PATCH: 200. Metadata is replaced as a whole."""
    account, _, share = target.names
    client = await cloud.storage(target.subscription)
    await client.file_shares.update(target.group, account, share, body)


async def delete_share(cloud: session.Session, target: ids.Id) -> None:
    """DELETE: 200; one with snapshots is refused."""
    account, _, share = target.names
    client = await cloud.storage(target.subscription)
    await client.file_shares.delete(target.group, account, share)
