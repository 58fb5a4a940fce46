"""One authenticated request of the data plane, its headers read, and the plain answers to it.

It knows no operation; those are in share_calls, directory_calls and file_calls.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from aiohttp import web

from infra.local_azure.files import content, entries, errors, moments, names, shares_on_disk, tree

_P = ParamSpec("_P")
_T = TypeVar("_T")

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_METADATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_METADATA_LIMIT = 8 * 1024
_VERSION = "2026-10-06"

CONTENT = (
    "Content-Type",
    "Content-Encoding",
    "Content-Language",
    "Cache-Control",
    "Content-MD5",
    "Content-Disposition",
)
"""What a client may set by `x-ms-<name>` and gets back; also the keys of a file's `content`."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """`share` is "" for the account itself; `path` is below the share. `query` holds decoded values by
    lower-case name. `prefix` is what of the wire path comes before the share, e.g. `/acct` in path style;
    `base` the account's URL as the client sees it, without a slash at its end. `now` is in ticks."""

    request: web.BaseRequest
    shares: shares_on_disk.SharesOnDisk
    account: str
    share: str
    path: names.Parts
    query: Mapping[str, str]
    prefix: str
    base: str
    now: int
    request_id: str

    def header(self, name: str) -> str | None:
        return self.request.headers.get(name)

    def required(self, name: str) -> str:
        """Raises FilesError MissingRequiredHeader."""
        value = self.header(name)
        if value is None:
            raise errors.header(name, None)
        return value

    def flag(self, name: str) -> bool:
        """A header that says true; absent is false."""
        value = (self.header(name) or "false").lower()
        if value not in ("true", "false"):
            raise errors.header(name, value)
        return value == "true"

    def number(self, name: str) -> int | None:
        """A header that is a whole number, -1 included; None where absent."""
        value = self.header(name)
        if value is None:
            return None
        if re.fullmatch(r"-1|\d{1,18}", value) is None:
            raise errors.header(name, value)
        return int(value)

    @property
    def lease_id(self) -> str | None:
        """In lower case, as leases keep their ids."""
        value = self.header("x-ms-lease-id")
        return None if value is None else value.lower()

    @property
    def tree(self) -> tree.Tree:
        """The share's files; raises FilesError ShareNotFound."""
        try:
            return self.shares.tree(self.account, self.share)
        except KeyError:
            raise errors.FilesError("ShareNotFound") from None

    @property
    def permission_key(self) -> str:
        """One key for all of a share: permissions aren't kept here, but clients expect a key (recorded form)."""
        digest = hashlib.sha256(f"{self.account}/{self.share}".encode()).digest()
        return f"{int.from_bytes(digest[:8])}*{int.from_bytes(digest[8:16])}"

    def range(self) -> tuple[int, int | None] | None:
        """First and last byte asked for, by x-ms-range before Range; last None for to the end."""
        name = "x-ms-range" if "x-ms-range" in self.request.headers else "Range"
        value = self.header(name)
        if value is None:
            return None
        found = _RANGE.fullmatch(value.strip())
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise errors.header(name, value)
        return int(found[1]), int(found[2]) if found[2] else None

    def metadata(self) -> dict[str, str] | None:
        """User metadata, None where no header speaks of it. The SDK also sends the whole of it as one header
        `x-ms-meta` without a name, which the service takes no notice of (recorded)."""
        headers = self.request.headers
        if not any(name.lower().startswith("x-ms-meta") for name in headers):
            return None
        found = {name[len("x-ms-meta-") :]: value for name, value in headers.items() if _is_metadata(name)}
        if not all(_METADATA_NAME.fullmatch(name) and value.isascii() for name, value in found.items()):
            raise errors.FilesError("InvalidMetadata")
        if sum(len(name) + len(value) for name, value in found.items()) > _METADATA_LIMIT:
            raise errors.FilesError("MetadataTooLarge")
        return found

    def content_headers(self) -> dict[str, str]:
        """What the client sets of CONTENT."""
        return {name: value for name in CONTENT if (value := self.header(f"x-ms-{name.lower()}")) is not None}

    def moment(self, name: str, otherwise: int) -> int:
        """The tick that a time header names; `now` is the present, absent or `preserve` is `otherwise`."""
        value = self.header(name)
        if value is None or value.lower() == "preserve":
            return otherwise
        if value.lower() == "now":
            return self.now
        try:
            return moments.parse(value)
        except ValueError:
            raise errors.header(name, value) from None

    async def body(self) -> bytes:
        """The whole body, 4 MiB at most, its Content-MD5 checked where sent."""
        length = self.request.content_length
        if length is None:
            raise errors.FilesError("MissingContentLengthHeader")
        if length > content.LARGEST_RANGE:
            raise errors.FilesError("RequestBodyTooLarge")
        for name in ("x-ms-structured-body", "x-ms-content-crc64"):
            if name in self.request.headers:
                raise errors.FilesError("UnsupportedHeader", details={"HeaderName": name})
        try:
            data = await self.request.content.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the client left in the middle of its body") from error
        sent = self.header("Content-MD5")
        if sent is not None and (await self.run(md5, data)) != _checked_md5(sent):
            raise errors.FilesError("Md5Mismatch", details={"UserSpecifiedMd5": sent, "ServerCalculatedMd5": md5(data)})
        return data

    async def run(self, blocking: Callable[_P, _T], *values: _P.args, **named: _P.kwargs) -> _T:
        """`blocking(…)` off the event loop."""
        return await asyncio.to_thread(blocking, *values, **named)


def md5(data: bytes) -> str:
    """In base64, as Content-MD5 has it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def marker(name: str | None) -> str:
    """An opaque continuation marker for the next name; empty at the end."""
    return "" if name is None else base64.urlsafe_b64encode(name.encode()).decode()


def next_name(call: Call) -> str | None:
    """The name that the query's marker stands for; None from the beginning."""
    text = call.query.get("marker")
    if not text:
        return None
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise errors.query("marker", text) from None


def limit(call: Call) -> int:
    """The page size asked for: 1 to 5000 (documented)."""
    text = call.query.get("maxresults") or "5000"
    if not text.isascii() or not text.isdigit():
        raise errors.query("maxresults", text)
    if not 1 <= int(text) <= 5000:
        raise errors.FilesError(
            "OutOfRangeQueryParameterValue", details={"QueryParameterName": "maxresults", "QueryParameterValue": text}
        )
    return int(text)


def tags(etag: str, changed: int) -> dict[str, str]:
    """ETag and Last-Modified."""
    return {"ETag": etag, "Last-Modified": moments.http(changed)}


def smb(call: Call, entry: entries.Entry) -> dict[str, str]:
    """ETag, Last-Modified and the x-ms-file-* headers (recorded: files-create-file)."""
    facts = entry.facts
    return {
        **tags(entry.etag, facts.changed),
        "x-ms-file-attributes": facts.attributes,
        "x-ms-file-change-time": moments.iso(facts.changed),
        "x-ms-file-creation-time": moments.iso(facts.created),
        "x-ms-file-last-write-time": moments.iso(facts.written),
        "x-ms-file-id": entry.id,
        "x-ms-file-parent-id": entry.parent_id,
        "x-ms-file-permission-key": call.permission_key,
    }


def written(call: Call, entry: entries.Entry) -> dict[str, str]:
    """The headers of an answer to a write."""
    return {**smb(call, entry), "x-ms-request-server-encrypted": "true"}


def shown_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"x-ms-meta-{name}": value for name, value in metadata.items()}


def xml(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": "application/xml"})


def sign_off(answer: web.StreamResponse, request: web.BaseRequest, request_id: str) -> None:
    """Puts on `answer` what every answer has: who answers, the request's id, and version and client id as sent."""
    answer.headers["Server"] = "Windows-Azure-File/1.0 Microsoft-HTTPAPI/2.0"
    answer.headers["x-ms-version"] = request.headers.get("x-ms-version", _VERSION)
    answer.headers["x-ms-request-id"] = request_id
    client_id = request.headers.get("x-ms-client-request-id")
    if client_id is not None and client_id.isascii() and len(client_id) <= 1024:
        answer.headers["x-ms-client-request-id"] = client_id


def _is_metadata(name: str) -> bool:
    return name.lower().startswith("x-ms-meta-")


def _checked_md5(text: str) -> str:
    try:
        if len(base64.b64decode(text, validate=True)) == 16:
            return text
    except binascii.Error:
        raise errors.FilesError("InvalidMd5") from None
    raise errors.FilesError("InvalidMd5")
