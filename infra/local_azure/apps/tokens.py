"""Access tokens for the log and event streams (getAuthtoken): short-lived, signed, bound to one resource.

The signing key lies in the store, so that a token survives a restart of the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta

from infra.local_azure.apps import context

_KEY = "/local/apps/signingkey"
_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True)
class Issued:
    """`expires` as the wire has it, e.g. `2026-11-20T09:15:20.123450Z` (recorded: containerapp-getauthtoken)."""

    text: str
    expires: str


def issue(rooms: context.Context, resource_id: str, *, location: str) -> Issued:
    """A token for `resource_id`'s streams: a JWT, one hour, audience as documented for the region."""
    ends = rooms.time.now() + _LIFETIME
    claims = {
        "sub": resource_id.lower(),
        "aud": f"https://{location}.azurecontainerapps.dev",
        "exp": ends.timestamp(),
    }
    head = _encoded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
    return Issued(f"{signed}.{_signature(rooms, signed)}", ends.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z")


def accepts(rooms: context.Context, token: str, resource_id: str) -> bool:
    """Whether `token` was issued here for `resource_id` and hasn't expired."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(rooms, signed).encode()):
        return False
    claims = json.loads(_decoded(signed.partition(".")[2]))
    fresh: bool = claims["exp"] > rooms.time.now().timestamp()
    return fresh and claims["sub"] == resource_id.lower()


def _signature(rooms: context.Context, text: str) -> str:
    stored = rooms.documents.get(_KEY)
    if stored is None:
        stored = {"key": secrets.token_hex(32)}
        rooms.documents.put(_KEY, context.KEYS, stored)
    return _encoded(hmac.new(bytes.fromhex(stored["key"]), text.encode(), hashlib.sha256).digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
