"""Every setting that there is: its name, what it takes, its default, and what people are told of it. Where values come
from is `configuration`'s.

A setting called `fetch-interval` is the flag `--fetch-interval`, the variable `ACAOPS_FETCH_INTERVAL` and the key
`fetch-interval` of the settings file. A secret has no flag: its value may stand in a variable, or in a file that
`…-file` names.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from controller import settings
from controller.model import fields
from controller.sources import remote
from controller.telemetry import receivers

PREFIX = "ACAOPS_"

LEVELS = ("debug", "info", "warning", "error")
INVENTORY = re.compile(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
GUARDED = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(/[-\w.()]{1,90})?")

Group = Literal["source", "azure", "scope", "prune", "election", "daemon", "api"]


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be printable text")
    return text


def path_of(text: str) -> Path:
    """A user without a home folder keeps the `~`: it matters only where the path is used."""
    path = Path(_text(text))
    with contextlib.suppress(RuntimeError):
        return path.expanduser()
    return path


def _yes(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise ValueError("must be true or false")
    return words[text.lower()]


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65_535:
        raise ValueError("must be 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    if (parsed := fields.seconds(text)) < 1:
        raise ValueError("must be 1s or more")
    return parsed


def _address(text: str) -> str:
    if not text.startswith("https://") or not urlsplit(text).hostname:
        raise ValueError("must be an address that begins with https://; tokens are never sent in the clear")
    return text


def _lease(text: str) -> str:
    parts = urlsplit(_address(text))
    if not parts.path.strip("/") or parts.query or parts.username or parts.password:
        raise ValueError("must be a share's address, https://ACCOUNT.file.core.windows.net/SHARE")
    return text


def _lease_seconds(text: str) -> float:
    if not settings.SHORTEST_LEASE <= (parsed := fields.seconds(text)) <= settings.LONGEST_LEASE:
        raise ValueError(f"must be {settings.SHORTEST_LEASE}s to {settings.LONGEST_LEASE}s")
    return parsed


def _api(text: str) -> str:
    try:
        return receivers.checked(SecretStr(text))
    except receivers.ReceiverError as error:
        raise ValueError(f"can't be used: {error}") from None


def _inventory(text: str) -> str:
    if not INVENTORY.fullmatch(text):
        raise ValueError("must be lower-case letters, digits and inner hyphens, at most 63")
    return text


def _guarded(text: str) -> str:
    if not GUARDED.fullmatch(text):
        raise ValueError("must be SUBSCRIPTION or SUBSCRIPTION/GROUP, the subscription by its id")
    return text


def _level(text: str) -> str:
    if text not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return text


def _inside(text: str) -> str:
    parts = text.rstrip("/").split("/")
    if not text or text.startswith("/") or ".." in parts or not text.isprintable():
        raise ValueError("must be a folder inside the repository, without '..'")
    return "/".join(part for part in parts if part not in ("", ".")) or "."


@dataclass(frozen=True)
class Option:
    """One setting. `parse` takes its text and raises ValueError with what it must be. `default` is what people are
    told; None for none. A `many` may be repeated; a `secret` has no flag."""

    name: str
    group: Group
    help: str
    parse: Callable[[str], Any] = _text
    default: str | None = None
    metavar: str = "TEXT"
    many: bool = False
    secret: bool = False
    switch: bool = False

    @property
    def of_repository(self) -> bool:
        """Whether it says something of the repository, and nothing without one."""
        return self.group == "source" and self.name not in ("folder", "repo", "cache")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper().replace("-", "_")


def _secret(name: str, group: Group, what: str) -> tuple[Option, Option]:
    """Its value, and the file that holds it."""
    value = Option(name, group, f"{what[0].upper()}{what[1:]}.", secret=True)
    return value, Option(f"{name}-file", group, f"The file that holds {what}.", path_of, metavar="FILE")


OPTIONS = (
    Option("folder", "source", "The state folder.", path_of, "desired_state", "FOLDER"),
    Option("repo", "source", "The git repository to follow, https, ssh or file.", remote.checked, metavar="URL"),
    Option("ref", "source", "Its branch, tag or commit.", remote.checked_ref, "main", "REF"),
    Option("path", "source", "The state folder in it.", _inside, "desired_state", "DIR"),
    Option("submodules", "source", "Fetch its submodules too.", _yes, "false", switch=True),
    Option("verify-signers", "source", "Apply only commits signed by one of these (ssh's allowed signers).", path_of,
           metavar="FILE"),
    Option("git-username", "source", "The name that goes with the token.", metavar="NAME"),
    *_secret("git-token", "source", "the password for https"),
    Option("git-credential-helper", "source", "A git credential helper.", metavar="HELPER"),
    Option("git-ssh-key", "source", "The deploy key for ssh.", path_of, metavar="FILE"),
    Option("git-known-hosts", "source", "The ssh hosts that are trusted, instead of your own file.", path_of,
           metavar="FILE"),
    Option("secrets-folder", "source", "Where the files may lie that a repository's secrets name by fromFile.", path_of,
           metavar="FOLDER"),
    Option("cache", "source", "Where copies of the repository are kept.", path_of, "~/.cache/acaops", "FOLDER"),
    Option("cloud", "azure", "The cloud's resource manager, https://…; public Azure without it.", _address,
           metavar="URL"),
    Option("inventory", "scope", "Names this set of objects in owner tags; two controllers need two names.",
           _inventory, "default", "NAME"),
    Option("allow", "scope", "What may be touched; repeatable, everything without it.", _guarded,
           metavar="SUBSCRIPTION[/GROUP]", many=True),
    Option("lease", "election", "An Azure Files share of its own, by which of several controllers one leads.", _lease,
           metavar="URL"),
    Option("lease-duration", "election", "How long the lease on it lasts, 15s to 60s.", _lease_seconds, "15s",
           "DURATION"),
    Option("prune", "prune", "Delete what objects that are no longer desired have left; needs inventory and allow.",
           _yes, "false", switch=True),
    Option("allow-mass-delete", "prune", "Let more than half of the inventory's objects go at once.", _yes, "false",
           switch=True),
    Option("host", "daemon", "The address that health, status and metrics are served on.", _text, "127.0.0.1", "HOST"),
    Option("port", "daemon", "Its port; 0 for any free one.", _port, "8080", "PORT"),
    Option("log-level", "daemon", f"The least that is logged: {', '.join(LEVELS)}.", _level, "info", "LEVEL"),
    Option("fetch-interval", "daemon", "The time between fetches.", seconds, "1m", "DURATION"),
    *_secret("api-token", "api", "what requests that change something must show"),
    *_secret("hook-secret", "daemon", "what pushes told to /hook/git prove themselves by"),
    *_secret("notify-url", "daemon", "the address where changes are posted as JSON"),
    *_secret("notify-secret", "daemon", "what those posts are signed with"),
    *_secret("slack-url", "daemon", "the address of Slack's incoming webhook"),
    *_secret("github-token", "daemon", "the token to set commit statuses at GitHub"),
    Option("github-api", "daemon", "GitHub's API, for GitHub Enterprise.", _api, "https://api.github.com", "URL"),
)  # fmt: skip

NAMES = {option.name: option for option in OPTIONS}
