"""Who is told, and how each of them wants to be told: values into HTTP requests. Nothing is sent here.

Addresses and tokens are read anew for each request, so that rotated ones are taken up. They never stand in a message,
and what is told passes the log's mask on its way out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from controller.model import moments
from controller.telemetry import log as logs

Read = Callable[[], SecretStr]
"""Gives a secret; may block."""

State = Literal["Ready", "Failing", "Stalled"]
CommitState = Literal["pending", "success", "failure", "error"]

DESCRIPTION_LENGTH = 140
"""GitHub takes no more characters."""

SLACK_LINE_LENGTH = 1000
"""So that what is told together stays below Slack's 40,000."""

AGENT = "acaops"

_SCP = re.compile(r"(?:[^@/]+@)?[^:/]+:(?!//)(?P<path>.+)")
_OWNER_AND_NAME = re.compile(r"/?([-\w.]+)/([-\w.]+?)(?:\.git)?/?")
_MARKS: Mapping[State, str] = {"Ready": "✅", "Failing": "⚠️", "Stalled": "❌"}


class ReceiverError(Exception):
    """A receiver can't be reached as it is set; the message says why, never the address or the secret."""


@dataclass(frozen=True)
class Notice:
    """A change that people want told: of an object or, with kind Source, of the desired state as a whole.

    `message` is the condition's, `text` one sentence around it; `commit` and `release` are what it speaks of.
    """

    kind: str
    name: str
    state: State
    reason: str
    message: str
    text: str
    when: datetime
    release: str | None = None
    commit: str | None = None
    endpoint: str | None = None

    @property
    def key(self) -> Hashable:
        return (self.kind, self.name)

    @property
    def severity(self) -> str:
        return {"Ready": "info", "Failing": "warning", "Stalled": "error"}[self.state]


@dataclass(frozen=True)
class CommitStatus:
    """What became of a commit, over all objects. Two of the same `state` and `cause` say the same: a description may
    carry elapsed times."""

    sha: str
    state: CommitState
    description: str
    cause: str = ""

    @property
    def key(self) -> Hashable:
        return self.sha


Message = Notice | CommitStatus


@dataclass(frozen=True)
class Entry:
    """A message on its way; `id` is the same each time it is tried."""

    id: str
    message: Message


@dataclass(frozen=True)
class Request:
    """A POST. What it holds is secret, so it shows nothing."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Receiver(Protocol):
    """`name` is for logs and metrics; `takes` the kind of message, at most `at_once` in a request; `pause` the least
    seconds between two."""

    @property
    def name(self) -> str: ...
    @property
    def takes(self) -> type[Message]: ...
    @property
    def at_once(self) -> int: ...
    @property
    def pause(self) -> float: ...

    def request(self, entries: Sequence[Entry], *, now: datetime) -> Request:
        """The request that tells `entries`, signed at `now`. Blocking. Raises ReceiverError, and what a Read raises."""


@dataclass(frozen=True)
class Webhook:
    """JSON, signed after the Standard Webhooks specification (standardwebhooks.com). The secret is base64 after
    `whsec_`, as the specification writes it, else its UTF-8 bytes are the key."""

    url: Read
    secret: Read
    inventory: str
    name: str = "webhook"
    takes: type[Message] = Notice
    at_once: int = 1
    pause: float = 0.0

    def request(self, entries: Sequence[Entry], *, now: datetime) -> Request:
        (entry,) = entries
        body = _json(self._body(entry.message))
        timestamp = str(int(now.timestamp()))
        signed = b".".join((entry.id.encode(), timestamp.encode(), body))
        signature = hmac.new(_key(self.secret()), signed, hashlib.sha256).digest()
        headers = {
            "webhook-id": entry.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }
        return _request(self.url(), headers, body)

    def _body(self, told: Message) -> Mapping[str, Any]:
        assert isinstance(told, Notice)
        about = "source" if told.kind == "Source" else "object"
        data = {
            "inventory": self.inventory,
            "kind": told.kind,
            "name": told.name,
            "state": told.state,
            "severity": told.severity,
            "reason": told.reason,
            "message": logs.masked(told.message),
            "text": logs.masked(told.text),
            "release": told.release,
            "commit": told.commit,
            "endpoint": told.endpoint,
        }
        return {"type": f"{about}.{told.state.lower()}", "timestamp": moments.rfc3339(told.when), "data": data}


@dataclass(frozen=True)
class Slack:
    """An incoming webhook of Slack's. What came together is told together: Slack takes about one message a second."""

    url: Read
    inventory: str
    name: str = "slack"
    takes: type[Message] = Notice
    at_once: int = 20
    pause: float = 1.0

    def request(self, entries: Sequence[Entry], *, now: datetime) -> Request:
        lines = [self._line(entry.message) for entry in entries]
        return _request(self.url(), {}, _json({"text": "\n".join(lines), "mrkdwn": False, "unfurl_links": False}))

    def _line(self, told: Message) -> str:
        assert isinstance(told, Notice)
        text = bounded(logs.masked(told.text), length=SLACK_LINE_LENGTH)
        return f"{_MARKS[told.state]} [{self.inventory}] {escaped(text)}"


@dataclass(frozen=True)
class GitHub:
    """Commit statuses at GitHub. `api` is the API's address; `owner` and `repository` as `repository` gives them."""

    token: Read
    api: str
    owner: str
    repository: str
    inventory: str
    name: str = "github"
    takes: type[Message] = CommitStatus
    at_once: int = 1
    pause: float = 1.0

    def request(self, entries: Sequence[Entry], *, now: datetime) -> Request:
        told = entries[0].message
        assert isinstance(told, CommitStatus)
        body = {
            "state": told.state,
            "context": f"acaops/{self.inventory}",
            "description": bounded(logs.masked(told.description)),
        }
        headers = {
            "Authorization": f"Bearer {self.token().get_secret_value()}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        url = f"{self.api.rstrip('/')}/repos/{self.owner}/{self.repository}/statuses/{quote(told.sha, safe='')}"
        return _request(SecretStr(url), headers, _json(body))


def checked(url: SecretStr) -> str:
    """The address, if what is told may be sent to it: over https, or within this machine. Raises ReceiverError."""
    value = url.get_secret_value()
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ReceiverError("its address is no URL") from None
    if not host:
        raise ReceiverError("its address names no host")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ReceiverError("its address must begin with https://")
    return value


def repository(url: str) -> tuple[str, str]:
    """Owner and name from a git URL: https://…, ssh://… or user@host:path. Raises ReceiverError."""
    scp = _SCP.fullmatch(url)
    path = scp["path"] if scp else urlsplit(url).path
    found = _OWNER_AND_NAME.fullmatch(path) if scp or url.startswith(("https://", "http://", "ssh://")) else None
    if found is None or set(found.groups()) & {".", ".."}:
        raise ReceiverError("the repository's address has no owner and name, as GitHub's have")
    return found[1], found[2]


def escaped(text: str) -> str:
    """`text` as Slack shows it unchanged: a link or a mention needs `<`, which stays a character."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def bounded(text: str, *, length: int = DESCRIPTION_LENGTH) -> str:
    """`text` on one line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _request(url: SecretStr, headers: Mapping[str, str], body: bytes) -> Request:
    return Request(checked(url), {"Content-Type": "application/json", "User-Agent": AGENT, **headers}, body)


def _key(secret: SecretStr) -> bytes:
    value = secret.get_secret_value()
    if not value.startswith("whsec_"):
        return value.encode()
    try:
        return base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ReceiverError("what follows whsec_ in its secret is no base64") from None


def _is_loopback(host: str) -> bool:
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
