"""Operations on shares: create, read, list, metadata, quota, lease, usage, delete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from infra.local_azure import shares
from infra.local_azure.files import calls, errors, lease_calls, leases, moments, shares_on_disk, xml

_LARGEST_QUOTA = 102_400


async def list_(call: calls.Call) -> web.Response:
    """All shares of the account, in pages by name."""
    start, size, prefix = calls.next_name(call), calls.limit(call), call.query.get("prefix", "")
    found = await call.run(call.shares.list, call.account)
    wanted = [share for share in found if share.name.startswith(prefix) and (start is None or share.name >= start)]
    return calls.xml(
        xml.share_list(
            wanted[:size],
            endpoint=f"{call.base}/",
            asked=call.query,
            metadata="metadata" in call.query.get("include", "").lower().split(","),
            more=calls.marker(wanted[size].name if len(wanted) > size else None),
        )
    )


async def create(call: calls.Call) -> web.Response:
    """Recorded: files-share-already-exists."""
    quota, metadata = _quota(call) or shares_on_disk.USUAL_QUOTA, call.metadata() or {}
    try:
        share = await call.run(call.shares.create, call.account, call.share, quota=quota, metadata=metadata)
    except shares.ShareExists:
        raise errors.FilesError("ShareAlreadyExists") from None
    return web.Response(status=201, headers=_tags(share))


async def get(call: calls.Call) -> web.Response:
    """Properties and metadata, in headers only."""
    share, lease = await call.run(lambda: (_existing(call), _lease(call)))
    return web.Response(
        headers={
            **_tags(share),
            **calls.shown_metadata(share.metadata),
            **lease_calls.shown(lease, call.now),
            "x-ms-share-quota": str(share.quota),
            "x-ms-has-immutability-policy": "false",
            "x-ms-enabled-protocols": "SMB",
        }
    )


async def set_metadata(call: calls.Call) -> web.Response:
    """Replaces the whole of the metadata."""
    return await call.run(_update, call, quota=None, metadata=call.metadata() or {})


async def set_properties(call: calls.Call) -> web.Response:
    """Sets the quota."""
    return await call.run(_update, call, quota=_quota(call), metadata=None)


async def delete(call: calls.Call) -> web.Response:
    """A leased share needs its lease's id."""

    def act() -> None:
        leases.permit(_lease(call), call.now, given=call.lease_id, kind="Share")
        call.shares.delete(call.account, call.share)

    await call.run(act)
    return web.Response(status=202)


async def lease(call: calls.Call) -> web.Response:
    """Recorded: a 15 s lease blocks a second one and is free again 15 s later."""
    action = lease_calls.action(call, fixed_duration=None)

    def act() -> lease_calls.Outcome:
        outcome: list[lease_calls.Outcome] = []

        def change(before: leases.Lease | None) -> leases.Lease | None:
            outcome.append(action(before))
            return outcome[0].lease

        with _there():
            call.shares.change_lease(call.account, call.share, change)
        return outcome[0].with_headers(_tags(_existing(call)))

    return (await call.run(act)).response()


async def stats(call: calls.Call) -> web.Response:
    """The bytes the share's files take up."""
    folder = call.tree.folder
    return calls.xml(xml.share_stats(await call.run(_used, folder)))


def _used(folder: Path) -> int:
    return sum(_room(Path(parent) / name) for parent, _, files in os.walk(folder) for name in files)


def _room(file: Path) -> int:
    try:
        return file.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


@contextmanager
def _there() -> Iterator[None]:
    """The share may go at any moment, through the storage provider."""
    try:
        yield
    except KeyError:
        raise errors.FilesError("ShareNotFound") from None


def _existing(call: calls.Call) -> shares.Share:
    share = call.shares.get(call.account, call.share)
    if share is None:
        raise errors.FilesError("ShareNotFound")
    return share


def _lease(call: calls.Call) -> leases.Lease | None:
    with _there():
        return call.shares.lease(call.account, call.share)


def _update(call: calls.Call, *, quota: int | None, metadata: dict[str, str] | None) -> web.Response:
    leases.permit(_lease(call), call.now, given=call.lease_id, kind="Share")
    with _there():
        share = call.shares.update(call.account, call.share, quota=quota, metadata=metadata)
    return web.Response(headers=_tags(share))


def _quota(call: calls.Call) -> int | None:
    quota = call.number("x-ms-share-quota")
    if quota is not None and not 1 <= quota <= _LARGEST_QUOTA:
        raise errors.header("x-ms-share-quota", str(quota))
    return quota


def _tags(share: shares.Share) -> dict[str, str]:
    return calls.tags(share.etag, moments.ticks(share.last_modified))
