"""Operations on directories: create, read, list, metadata, properties, delete."""

from __future__ import annotations

from aiohttp import web

from infra.local_azure.files import calls, entries, errors, facts_of, tree, xml

_INCLUDES = {"timestamps", "etag", "attributes", "permissionkey"}


async def create(call: calls.Call) -> web.Response:
    """Parents aren't made along (recorded: ParentNotFound)."""
    made = await call.run(call.tree.create_directory, call.path, lambda entry: facts_of.new(call, None, directory=True))
    return web.Response(status=201, headers=calls.written(call, made))


async def get(call: calls.Call) -> web.Response:
    """Properties and metadata, in headers only; 404 for a file."""
    entry = await call.run(call.tree.get, call.path, directory=True)
    return web.Response(
        headers={
            **calls.smb(call, entry),
            **calls.shown_metadata(entry.facts.metadata),
            "x-ms-server-encrypted": "true",
        }
    )


async def list_(call: calls.Call) -> web.Response:
    """Recorded: files-list-directory. In pages by name, case aside; the prefix's case doesn't count (assumed)."""
    include = _include(call)
    page: tree.Page = await call.run(
        call.tree.list,
        call.path,
        prefix=call.query.get("prefix", ""),
        start=calls.next_name(call),
        limit=calls.limit(call),
    )
    return calls.xml(
        xml.directory_list(
            page.entries,
            directory=page.directory,
            endpoint=f"{call.base}/",
            share=call.share,
            asked=call.query,
            include=include,
            permission_key=call.permission_key,
            more=calls.marker(page.more),
        )
    )


async def set_metadata(call: calls.Call) -> web.Response:
    """Replaces the whole of the metadata."""

    def change(entry: entries.Entry) -> entries.Facts:
        return facts_of.with_metadata(call, entry)

    entry = await call.run(call.tree.change, call.path, change, directory=True)
    return web.Response(headers=calls.written(call, entry))


async def set_properties(call: calls.Call) -> web.Response:
    """Sets attributes and times."""

    def change(entry: entries.Entry) -> entries.Facts:
        return facts_of.with_smb(call, entry)

    entry = await call.run(call.tree.change, call.path, change, directory=True)
    return web.Response(headers=calls.written(call, entry))


async def delete(call: calls.Call) -> web.Response:
    """Only an empty directory goes (documented: 409 DirectoryNotEmpty)."""

    def permit(entry: entries.Entry) -> None:
        tree.permit_write(entry, None, call.now)

    await call.run(call.tree.delete, call.path, permit, directory=True)
    return web.Response(status=202)


def _include(call: calls.Call) -> frozenset[str]:
    text = call.query.get("include", "")
    words = frozenset(word.strip().lower() for word in text.split(",") if word.strip())
    if not words <= _INCLUDES:
        raise errors.query("include", text)
    return words
