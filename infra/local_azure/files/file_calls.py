"""Operations on files, but for reading their content (file_reads) and renaming them (rename_calls)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from infra.local_azure.files import calls, content, entries, errors, facts_of, lease_calls, leases, moments, tree


async def create(call: calls.Call) -> web.Response:
    """Recorded: files-create-file. A body, where there is one, is the beginning of the content.

    A file that is there is replaced, its lease staying; over a directory 409 ResourceAlreadyExists (recorded).
    """
    if "x-ms-copy-source" in call.request.headers:
        raise errors.FilesError("UnsupportedHeader", details={"HeaderName": "x-ms-copy-source"})
    if (kind := call.required("x-ms-type")).lower() != "file":
        raise errors.header("x-ms-type", kind)
    size = call.number("x-ms-content-length")
    if size is None:
        raise errors.header("x-ms-content-length", None)
    data = await call.body() if call.request.body_exists else b""
    if len(data) > size:
        raise errors.FilesError("InvalidRange")
    made = await call.run(
        content.create,
        call.tree,
        call.path,
        size,
        permit=lambda old: tree.permit_write(old, call.lease_id, call.now),
        make=lambda old: facts_of.new(call, old, directory=False),
        data=data,
    )
    headers = {"Content-MD5": await call.run(calls.md5, data)} if data else {}
    return web.Response(status=201, headers={**calls.written(call, made), **headers})


async def put_range(call: calls.Call) -> web.Response:
    """Recorded: files-put-range. Update or clear; a range past the end is 416 InvalidRange."""
    if "x-ms-copy-source" in call.request.headers:
        raise errors.FilesError("UnsupportedHeader", details={"HeaderName": "x-ms-copy-source"})
    kind = call.required("x-ms-write").lower()
    asked = call.range()
    if asked is None or asked[1] is None:
        raise errors.header("x-ms-range", call.header("x-ms-range"))
    start, end = asked[0], asked[1] + 1
    make = _permitted(call, facts_of.written)
    if kind == "clear":
        entry = await call.run(content.clear, call.tree, call.path, start, end, make)
        return web.Response(status=201, headers=_range_written(entry))
    if kind != "update":
        raise errors.header("x-ms-write", kind)
    data = await call.body()
    if len(data) != end - start:
        raise errors.header("Content-Length", str(len(data)))
    entry = await call.run(content.write, call.tree, call.path, start, data, make)
    return web.Response(status=201, headers={**_range_written(entry), "Content-MD5": await call.run(calls.md5, data)})


async def set_metadata(call: calls.Call) -> web.Response:
    """Replaces the whole of the metadata."""
    make = _permitted(call, facts_of.with_metadata)
    entry = await call.run(call.tree.change, call.path, make, directory=False)
    return web.Response(headers=calls.written(call, entry))


async def set_properties(call: calls.Call) -> web.Response:
    """Sets content headers, attributes and times; x-ms-content-length cuts or lengthens the file."""
    size = call.number("x-ms-content-length")
    if size is None:
        make = _permitted(call, facts_of.with_properties, read_only=True)
        entry = await call.run(call.tree.change, call.path, make, directory=False)
    else:
        make = _permitted(call, _resized)
        entry = await call.run(content.resize, call.tree, call.path, size, make)
    return web.Response(headers=calls.written(call, entry))


async def delete(call: calls.Call) -> web.Response:
    """Refused while leased to another, read-only, or held open by an SMB client."""

    def permit(entry: entries.Entry) -> None:
        if not entry.is_link:
            tree.permit_write(entry, call.lease_id, call.now)

    await call.run(call.tree.delete, call.path, permit, directory=False)
    return web.Response(status=202)


async def lease(call: calls.Call) -> web.Response:
    """A file's lease is always infinite (documented)."""
    action = lease_calls.action(call, fixed_duration=leases.INFINITE)

    def act() -> lease_calls.Outcome:
        outcome: list[lease_calls.Outcome] = []

        def change(entry: entries.Entry) -> entries.Facts:
            outcome.append(action(entry.facts.lease))
            return replace(entry.facts, lease=outcome[0].lease)

        entry = call.tree.change(call.path, change, directory=False)
        return outcome[0].with_headers(calls.tags(entry.etag, entry.facts.changed))

    return (await call.run(act)).response()


def _permitted(
    call: calls.Call,
    make: Callable[[calls.Call, entries.Entry], entries.Facts],
    *,
    read_only: bool = False,
) -> content.Make:
    """`make`, once lease and read-only attribute (unless `read_only` files may be written to) allow it."""

    def checked(entry: entries.Entry) -> entries.Facts:
        if read_only and not entry.is_link:
            leases.permit(entry.facts.lease, call.now, given=call.lease_id, kind="File")
        else:
            tree.permit_write(entry, call.lease_id, call.now)
        return make(call, entry)

    return checked


def _resized(call: calls.Call, entry: entries.Entry) -> entries.Facts:
    facts = facts_of.with_properties(call, entry)
    return facts if call.header("x-ms-file-last-write-time") else replace(facts, written=call.now)


def _range_written(entry: entries.Entry) -> dict[str, str]:
    return {
        **calls.tags(entry.etag, entry.facts.changed),
        "x-ms-file-last-write-time": moments.iso(entry.facts.written),
        "x-ms-request-server-encrypted": "true",
    }
