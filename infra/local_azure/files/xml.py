"""The XML bodies of Azure Files: errors, listings and ranges, with the byte order mark the service sends. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from infra.local_azure import shares
from infra.local_azure.files import entries, moments

_HEAD = '\ufeff<?xml version="1.0" encoding="utf-8"?>'


def error(code: str, message: str, *, details: Mapping[str, str]) -> bytes:
    """Recorded: files-share-already-exists."""
    return _document(
        _element("Error", _text("Code", code), _text("Message", message), *(_text(*pair) for pair in details.items()))
    )


def share_list(
    found: Iterable[shares.Share], *, endpoint: str, asked: Mapping[str, str], metadata: bool, more: str
) -> bytes:
    """`asked` holds what of prefix, marker and maxresults was in the query; `more` is the next marker."""
    body = _element("Shares", *(_share(share, metadata=metadata) for share in found))
    return _results({"ServiceEndpoint": endpoint}, asked, (), body, more)


def directory_list(
    page: Sequence[entries.Entry],
    *,
    directory: entries.Entry,
    endpoint: str,
    share: str,
    asked: Mapping[str, str],
    include: frozenset[str],
    permission_key: str,
    more: str,
) -> bytes:
    """Recorded: files-list-directory. `include` has lower-case words, e.g. timestamps, etag."""
    attributes = {"ServiceEndpoint": endpoint, "ShareName": share, "DirectoryPath": "/".join(directory.path)}
    body = _element("Entries", *(_entry(entry, include, permission_key) for entry in page))
    return _results(attributes, asked, (_text("DirectoryId", directory.id),), body, more)


def range_list(ranges: Iterable[tuple[int, int]], *, more: str) -> bytes:
    """`ranges` as (first byte, last byte); `more` is the next marker."""
    shown = (_element("Range", _text("Start", str(first)), _text("End", str(last))) for first, last in ranges)
    return _document(_element("Ranges", *shown, _text("NextMarker", more) if more else ""))


def share_stats(used: int) -> bytes:
    """`used` in bytes."""
    return _document(_element("ShareStats", _text("ShareUsageBytes", str(used))))


def _results(
    attributes: Mapping[str, str], asked: Mapping[str, str], extra: Iterable[str], body: str, more: str
) -> bytes:
    named = (("Prefix", "prefix"), ("Marker", "marker"), ("MaxResults", "maxresults"))
    head = [_text(element, asked[name]) for element, name in named if asked.get(name)]
    start = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
    inside = "".join([*head, *extra, body, _text("NextMarker", more) if more else "<NextMarker />"])
    return _document(f"<EnumerationResults{start}>{inside}</EnumerationResults>")


def _share(share: shares.Share, *, metadata: bool) -> str:
    tick = moments.ticks(share.last_modified)
    properties = _element(
        "Properties",
        _text("Last-Modified", moments.http(tick)),
        _text("Etag", share.etag),
        _text("Quota", str(share.quota)),
        _text("LeaseStatus", share.lease_status),
        _text("LeaseState", share.lease_state),
    )
    pairs = _element("Metadata", *(_text(*pair) for pair in share.metadata.items())) if metadata else ""
    return _element("Share", _text("Name", share.name), properties, pairs)


def _entry(entry: entries.Entry, include: frozenset[str], permission_key: str) -> str:
    parts = [_text("Name", entry.name)]
    if include:
        parts.append(_text("FileId", entry.id))
    parts.append(_element("Properties", *_properties(entry, include)))
    if "attributes" in include:
        parts.append(_text("Attributes", entry.facts.attributes))
    if "permissionkey" in include:
        parts.append(_text("PermissionKey", permission_key))
    return _element("Directory" if entry.is_directory else "File", *parts)


def _properties(entry: entries.Entry, include: frozenset[str]) -> Iterable[str]:
    facts = entry.facts
    if not entry.is_directory:
        yield _text("Content-Length", str(entry.size))
    if "timestamps" in include:
        yield _text("CreationTime", moments.iso(facts.created))
        yield _text("LastAccessTime", moments.iso(entry.accessed))
        yield _text("LastWriteTime", moments.iso(facts.written))
        yield _text("ChangeTime", moments.iso(facts.changed))
        yield _text("Last-Modified", moments.http(facts.changed))
    if "etag" in include:
        yield _text("Etag", entry.etag)


def _text(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def _element(name: str, *inside: str) -> str:
    content = "".join(inside)
    return f"<{name}>{content}</{name}>" if content else f"<{name} />"


def _document(body: str) -> bytes:
    return (_HEAD + body).encode()
