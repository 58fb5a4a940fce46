"""Shared Key: whether a request was signed with a key of the account. Pure.

Documented: Authorize with Shared Key; the order of headers is the service's own (its collation looks past
hyphens), which the SDK's signing policy reproduces. The path is signed as sent, percent-encoded.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from infra.local_azure.files import errors

_SIGNED = (
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Date",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
)
_SKEW = timedelta(minutes=15)
_ORDER = {letter: place for place, letter in enumerate("!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz")}


def verify(
    method: str,
    headers: Mapping[str, str],
    *,
    account: str,
    canonical: str,
    query: str,
    keys: Sequence[str],
    now: datetime,
) -> None:
    """Returns when one of the base64 `keys` made the signature; raises FilesError AuthenticationFailed (403).

    `headers` match names without regard to case. `canonical` is the path on the wire, e.g.
    `/acct/share/dir%20x` in path style; `query` what follows the question mark, as sent.
    """
    named, _, signature = headers.get("Authorization", "").removeprefix("SharedKey ").partition(":")
    if named != account or not signature:
        raise errors.FilesError("AuthenticationFailed")
    _check_date(headers, now)
    text = string_to_sign(method, headers, account=account, canonical=canonical, query=query)
    if not any(hmac.compare_digest(sign(text, key).encode(), signature.encode()) for key in keys):
        raise _failed(
            f"The MAC signature found in the HTTP request '{signature}' is not the same as any computed signature. "
            f"Server used following string to sign: '{text}'."
        )


def sign(text: str, key: str) -> str:
    """The base64 HMAC-SHA256 of `text` under the base64 `key`."""
    try:
        secret = base64.b64decode(key, validate=True)
    except binascii.Error as error:
        raise ValueError("a storage account key must be base64") from error
    return base64.b64encode(hmac.new(secret, text.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()).decode()


def string_to_sign(method: str, headers: Mapping[str, str], *, account: str, canonical: str, query: str) -> str:
    """What the client signed, were it honest."""
    fixed = [headers.get(name, "") for name in _SIGNED]
    if fixed[2] == "0":
        fixed[2] = ""
    own = {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-ms-")}
    lines = [method, *fixed, *(f"{name}:{own[name]}" for name in sorted(own, key=_collation))]
    return "\n".join([*lines, f"/{account}{canonical}"]) + _canonical_query(query)


def _canonical_query(query: str) -> str:
    pairs: dict[str, list[str]] = {}
    for piece in filter(None, query.split("&")):
        name, _, value = piece.partition("=")
        pairs.setdefault(unquote(name).lower(), []).append(unquote(value))
    return "".join(f"\n{name}:{','.join(sorted(values))}" for name, values in sorted(pairs.items()))


def _collation(name: str) -> tuple[list[int], list[bool]]:
    ignored = "'-"
    return [_ORDER.get(letter, -1) for letter in name if letter not in ignored], [letter in ignored for letter in name]


def _check_date(headers: Mapping[str, str], now: datetime) -> None:
    text = headers.get("x-ms-date") or headers.get("Date") or ""
    try:
        sent = parsedate_to_datetime(text)
    except ValueError:
        raise _failed(f"The Date header in the request is incorrect: '{text}'.") from None
    sent = sent.replace(tzinfo=sent.tzinfo or UTC)
    if abs(sent - now) > _SKEW:
        raise _failed(f"Request date header too old: '{text}'")


def _failed(detail: str) -> errors.FilesError:
    return errors.FilesError("AuthenticationFailed", details={"AuthenticationErrorDetail": detail})
