"""The facts that a request gives a file or directory, new or changed. Pure but for reading the request."""

from __future__ import annotations

from dataclasses import replace

from infra.local_azure.files import calls, entries


def new(call: calls.Call, old: entries.Entry | None, *, directory: bool) -> entries.Facts:
    """Those of one just made; `old` is the file it replaces, whose lease lives on.

    Times are now unless named, attributes the usual ones (recorded: files-create-file).
    """
    changed = later(call, old)
    return entries.Facts(
        inode=0,
        modified=0,
        size=0,
        created=call.moment("x-ms-file-creation-time", call.now),
        written=call.moment("x-ms-file-last-write-time", call.now),
        changed=changed,
        attributes=entries.attributes(call.header("x-ms-file-attributes") or "none", directory=directory),
        metadata=call.metadata() or {},
        content=call.content_headers(),
        lease=None if old is None else old.facts.lease,
    )


def written(call: calls.Call, entry: entries.Entry) -> entries.Facts:
    """Those of a file whose bytes changed; x-ms-file-last-write-time may say preserve."""
    named = (call.header("x-ms-file-last-write-time") or "now").lower()
    moment = entry.facts.written if named == "preserve" else call.now
    return replace(entry.facts, changed=later(call, entry), written=moment)


def with_metadata(call: calls.Call, entry: entries.Entry) -> entries.Facts:
    """Metadata is replaced as a whole."""
    return replace(entry.facts, changed=later(call, entry), metadata=call.metadata() or {})


def with_properties(call: calls.Call, entry: entries.Entry) -> entries.Facts:
    """Content headers that aren't sent are cleared (documented); times and attributes stay."""
    return replace(with_smb(call, entry), content=call.content_headers())


def with_smb(call: calls.Call, entry: entries.Entry) -> entries.Facts:
    """Attributes and times as far as they are named; `preserve` names none."""
    facts, named = entry.facts, call.header("x-ms-file-attributes") or "preserve"
    return replace(
        facts,
        changed=later(call, entry),
        created=call.moment("x-ms-file-creation-time", facts.created),
        written=call.moment("x-ms-file-last-write-time", facts.written),
        attributes=facts.attributes
        if named.lower() == "preserve"
        else entries.attributes(named, directory=entry.is_directory),
    )


def renamed(call: calls.Call, entry: entries.Entry) -> entries.Facts:
    """Everything stays but what the request names: metadata, content type, attributes and times."""
    facts, metadata, content = with_smb(call, entry), call.metadata(), call.content_headers()
    return replace(
        facts,
        metadata=facts.metadata if metadata is None else metadata,
        content={**facts.content, **content},
    )


def later(call: calls.Call, entry: entries.Entry | None) -> int:
    """The tick of this change: now, and past the last one, so that no two states share an ETag."""
    return call.now if entry is None else max(call.now, entry.facts.changed + 1)
