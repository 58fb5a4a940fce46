"""How git services prove a delivery and what it says of a push. Values in, values out: no HTTP is answered here.

What proves a delivery decides whose it is:

    X-Hub-Signature-256   GitHub, Gitea, Forgejo: HMAC-SHA256 of the body's bytes, keyed with the secret
    X-Gitlab-Token        GitLab: the secret
    Authorization         Azure DevOps: Basic, the secret as the password
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs

Provider = Literal["github", "gitlab", "azure"]
Headers = Mapping[str, str]

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_GITLAB_PUSHES = ("Push Hook", "Tag Push Hook")


class UnreadableError(Exception):
    """An authentic delivery that says nothing; the message says why."""


@dataclass(frozen=True)
class Proof:
    """What a delivery shows to prove itself."""

    provider: Provider
    shown: bytes

    @classmethod
    def of(cls, headers: Headers) -> Proof | None:
        """The first that is there, None where none is. `headers` must not care for case."""
        if (signature := headers.get("X-Hub-Signature-256")) is not None:
            return cls("github", _bytes(signature))
        if (token := headers.get("X-Gitlab-Token")) is not None:
            return cls("gitlab", _bytes(token))
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        if scheme.casefold() != "basic":
            return None
        try:
            return cls("azure", base64.b64decode(credentials.strip(), validate=True).partition(b":")[2])
        except ValueError:
            return None

    @property
    def needs_body(self) -> bool:
        return self.provider == "github"

    def holds(self, secret: bytes, body: bytes) -> bool:
        """Compared in constant time. `body` has no say where the proof doesn't need it."""
        expected = secret
        if self.needs_body:
            expected = b"sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
        return hmac.compare_digest(expected, self.shown)


@dataclass(frozen=True)
class Event:
    """`refs` are a push's, in full; empty where the service was told not to say them. `name` is the service's word."""

    kind: Literal["push", "ping", "other"]
    name: str
    refs: tuple[str, ...] = ()


def event(provider: Provider, headers: Headers, *, content_type: str, body: bytes) -> Event:
    """What an authentic delivery says. Raises UnreadableError."""
    return _READERS[provider](headers, _payload(content_type, body))


def marks(headers: Headers, body: bytes) -> tuple[bytes, ...]:
    """What a repetition has in common with the first, 32 bytes each: the body or, at GitHub, the delivery's id."""
    found = [b"body:" + body]
    if (delivery := headers.get("X-GitHub-Delivery")) is not None:
        found.append(b"delivery:" + _bytes(delivery))
    return tuple(hashlib.sha256(mark).digest() for mark in found)


def concerns(followed: str, pushed: str) -> bool:
    """Whether a push to the full ref `pushed` may change what `followed` means. A commit may come with any push."""
    return pushed in (followed, f"refs/heads/{followed}", f"refs/tags/{followed}") or bool(_COMMIT.fullmatch(followed))


def _payload(content_type: str, body: bytes) -> Mapping[str, Any]:
    """The JSON object, by itself or as GitHub's form carries it."""
    try:
        if content_type == "application/x-www-form-urlencoded":
            text: str | bytes = parse_qs(body.decode(), max_num_fields=10)["payload"][0]
        elif content_type == "application/json":
            text = body
        else:
            raise UnreadableError("the content type must be application/json")
        payload = json.loads(text)
    except (ValueError, KeyError, RecursionError):
        raise UnreadableError("the body is no JSON") from None
    if not isinstance(payload, dict):
        raise UnreadableError("the body is no JSON object")
    return payload


def _github(headers: Headers, payload: Mapping[str, Any]) -> Event:
    name = headers.get("X-GitHub-Event", "")
    if name == "push":
        return Event("push", name, (_ref(payload.get("ref")),))
    return Event("ping" if name == "ping" else "other", name)


def _gitlab(headers: Headers, payload: Mapping[str, Any]) -> Event:
    name = headers.get("X-Gitlab-Event", "")
    return Event("push", name, (_ref(payload.get("ref")),)) if name in _GITLAB_PUSHES else Event("other", name)


def _azure(_headers: Headers, payload: Mapping[str, Any]) -> Event:
    """A subscription may be set to leave the resource's details out."""
    name = str(payload.get("eventType"))
    if name != "git.push":
        return Event("other", name)
    resource = payload.get("resource")
    updates = resource.get("refUpdates") if isinstance(resource, dict) else None
    if updates is None:
        return Event("push", name)
    if not isinstance(updates, list) or not updates:
        raise UnreadableError("resource.refUpdates is no list of refs")
    return Event("push", name, tuple(_ref(one.get("name") if isinstance(one, dict) else None) for one in updates))


_READERS: Mapping[Provider, Callable[[Headers, Mapping[str, Any]], Event]] = {
    "github": _github,
    "gitlab": _gitlab,
    "azure": _azure,
}


def _ref(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UnreadableError("the push names no ref")
    return value


def _bytes(header: str) -> bytes:
    return header.encode(errors="surrogateescape")
