"""Renaming files and directories within a share.

Documented: Rename File, Rename Directory. What is assumed: another share as the source is refused, and a
directory is never replaced.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from infra.local_azure.files import calls, entries, errors, facts_of, leases, names, tree


async def rename_file(call: calls.Call) -> web.Response:
    return await _rename(call, directory=False)


async def rename_directory(call: calls.Call) -> web.Response:
    return await _rename(call, directory=True)


async def _rename(call: calls.Call, *, directory: bool) -> web.Response:
    replace, ignore = call.flag("x-ms-file-rename-replace-if-exists"), call.flag("x-ms-file-rename-ignore-readonly")

    def permit(source: entries.Entry, target: entries.Entry | None) -> entries.Facts:
        _permit_source(call, source)
        if target is not None:
            if not replace or target.is_directory:
                raise errors.FilesError("ResourceAlreadyExists")
            leases.permit(target.facts.lease, call.now, given=_lease(call, "destination"), kind="File")
            if target.is_read_only and not ignore:
                raise errors.FilesError("ReadOnlyAttribute")
        return facts_of.renamed(call, source)

    moved = await call.run(call.tree.rename, _source(call), call.path, permit, directory=directory)
    return web.Response(headers=calls.written(call, moved))


def _permit_source(call: calls.Call, source: entries.Entry) -> None:
    if source.is_link:
        return
    tree.permit_write(source, _lease(call, "source"), call.now)


def _source(call: calls.Call) -> names.Parts:
    text = call.required("x-ms-file-rename-source")
    path = urlsplit(text).path
    if not path.startswith(f"{call.prefix}/"):
        raise errors.header("x-ms-file-rename-source", text)
    share, parts = names.split(path[len(call.prefix) :], trailing_dots=call.flag("x-ms-source-allow-trailing-dot"))
    if share != call.share:
        raise errors.header("x-ms-file-rename-source", text)
    return parts


def _lease(call: calls.Call, which: str) -> str | None:
    value = call.header(f"x-ms-{which}-lease-id")
    return None if value is None else value.lower()
