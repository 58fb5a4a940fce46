"""Reading files: their properties, their content as a stream, and which of their ranges hold data."""

from __future__ import annotations

import logging
import os

from aiohttp import web

from infra.local_azure.files import calls, content, entries, errors, lease_calls, xml

_CHUNK = 1024 * 1024
_log = logging.getLogger(__name__)


async def head(call: calls.Call) -> web.StreamResponse:
    """Recorded: files-head-file."""
    entry = await call.run(call.tree.get, call.path, directory=False)
    answer = web.StreamResponse(headers=_headers(call, entry))
    answer.content_length = entry.size
    return answer


async def get(call: calls.Call) -> web.StreamResponse:
    """The content, or the range asked for: 206, and 416 InvalidRange from the end of the file on."""
    asked = call.range()
    opened: content.Opened = await call.run(content.open_, call.tree, call.path)
    try:
        start, end = _bounds(opened.entry, asked)
        headers = {**_headers(call, opened.entry), "Accept-Ranges": "bytes"}
        if asked is not None:
            headers |= {"Content-Range": f"bytes {start}-{end - 1}/{opened.entry.size}"}
            headers |= await _range_md5(call, opened, start, end, headers)
        answer = web.StreamResponse(status=200 if asked is None else 206, headers=headers)
        answer.content_length = end - start
        return await _send(call, opened, answer, start=start, end=end)
    finally:
        os.close(opened.descriptor)


async def list_ranges(call: calls.Call) -> web.Response:
    """The ranges that hold data, within the range asked for; in pages only when asked (assumed)."""
    asked, page = call.range() or (0, None), calls.limit(call) if "maxresults" in call.query else None
    start = max(asked[0], _marked(call))
    opened: content.Opened = await call.run(content.open_, call.tree, call.path)
    try:
        size = opened.entry.size
        found = await call.run(content.ranges, opened, start, size if asked[1] is None else asked[1] + 1)
    finally:
        os.close(opened.descriptor)
    more = str(found[page][0]) if page is not None and len(found) > page else None
    answer = calls.xml(xml.range_list(found[:page], more=calls.marker(more)))
    answer.headers.update(calls.tags(opened.entry.etag, opened.entry.facts.changed))
    answer.headers["x-ms-content-length"] = str(size)
    return answer


def _marked(call: calls.Call) -> int:
    text = calls.next_name(call) or "0"
    if not text.isascii() or not text.isdigit():
        raise errors.query("marker", call.query["marker"])
    return int(text)


def _bounds(entry: entries.Entry, asked: tuple[int, int | None] | None) -> tuple[int, int]:
    if asked is None:
        return 0, entry.size
    if asked[0] >= entry.size:
        raise errors.FilesError("InvalidRange")
    return asked[0], entry.size if asked[1] is None else min(asked[1] + 1, entry.size)


def _headers(call: calls.Call, entry: entries.Entry) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        **entry.facts.content,
        **calls.smb(call, entry),
        **lease_calls.shown(entry.facts.lease, call.now),
        **calls.shown_metadata(entry.facts.metadata),
        "x-ms-type": "File",
        "x-ms-server-encrypted": "true",
    }


async def _range_md5(
    call: calls.Call, opened: content.Opened, start: int, end: int, headers: dict[str, str]
) -> dict[str, str]:
    """On a range, Content-MD5 speaks of the range, and the whole file's is in x-ms-content-md5 (documented)."""
    whole = headers.pop("Content-MD5", None)
    answer = {} if whole is None else {"x-ms-content-md5": whole}
    if call.flag("x-ms-range-get-content-md5"):
        if end - start > content.LARGEST_RANGE:
            raise errors.header("x-ms-range-get-content-md5", "true")
        data = await call.run(os.pread, opened.descriptor, end - start, start)
        answer["Content-MD5"] = await call.run(calls.md5, data)
    return answer


async def _send(
    call: calls.Call, opened: content.Opened, answer: web.StreamResponse, *, start: int, end: int
) -> web.StreamResponse:
    calls.sign_off(answer, call.request, call.request_id)
    await answer.prepare(call.request)
    while start < end:
        data = await call.run(_read, opened.descriptor, min(_CHUNK, end - start), start)
        if not data:
            # What was promised can't be sent any more, and the client must notice.
            answer.force_close()
            if call.request.transport is not None:
                call.request.transport.close()
            return answer
        await answer.write(data)
        start += len(data)
    await answer.write_eof()
    return answer


def _read(descriptor: int, size: int, at: int) -> bytes:
    """Empty where a process cut the file meanwhile, and where the disk fails: the status line is sent already."""
    try:
        return os.pread(descriptor, size, at)
    except OSError:
        _log.exception("a file could not be read to its end")
        return b""
