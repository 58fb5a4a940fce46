"""The facts acaops keeps on the resources themselves: tag names and the text of their values.

Azure allows 50 tags a resource and 256 characters a value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

OWNER = "acaops-owner"
ORIGIN = "acaops-origin"
APPLIED = "acaops-applied"
HEALTHY = "acaops-healthy"
REJECTED = "acaops-rejected"
ROLLOUT = "acaops-rollout"
COMMIT = "acaops-commit"
STORAGE_KEY = "acaops-storage-key"
DELETION = "acaops-deletion"

CREATED = "created"
ADOPTED = "adopted"


@dataclass(frozen=True)
class Owner:
    """Which object of which inventory a resource belongs to."""

    inventory: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.inventory}/{self.kind}/{self.name}"


def find(name: str, tags: Mapping[str, str]) -> str | None:
    """The tag's value. Azure looks at tag names without case (documented: Use tags to organize resources)."""
    return next((value for other, value in tags.items() if other.lower() == name.lower()), None)


Value = TypeVar("Value", str, "str | None")


def spelled(ours: Mapping[str, Value], live: Mapping[str, str]) -> dict[str, Value]:
    """`ours` under the names that `live` has for them, so that no tag stands there twice."""
    there = {name.lower(): name for name in live}
    return {there.get(name.lower(), name): value for name, value in ours.items()}


def other_owner(owner: Owner, tags: Mapping[str, str]) -> str | None:
    """The owner the tags name, where that is somebody else."""
    named = find(OWNER, tags)
    return None if named is None or named == str(owner) else named


def digest(value: str | bytes) -> str:
    """16 hex digits of SHA-256: short enough for tags and names, long enough to tell values apart."""
    data = value.encode() if isinstance(value, str) else value
    return hashlib.sha256(data).hexdigest()[:16]


@dataclass(frozen=True)
class MountKey:
    """Which environment storage mounts the share, and the digest of the account key it was made with."""

    storage: str
    key: str

    def __str__(self) -> str:
        return f"{self.storage}:{self.key}"

    @classmethod
    def parse(cls, text: str | None) -> MountKey | None:
        """None for an absent or unreadable value: it is then recorded anew."""
        name, _, key = (text or "").partition(":")
        return cls(name, key) if name and key else None


def mount_key(base: str, *, recorded: str | None, keys: tuple[str, ...] | None) -> MountKey | None:
    """The environment storage to mount by, given the account's key digests (None: they can't be read).

    A storage made with a key the account no longer has is not updated in place (new mounts then fail on the
    service): a new one, named after the new key, takes its place. A record of a storage of another name than the
    wanted one, or one rolled from it, counts for nothing.
    """
    known = MountKey.parse(recorded)
    if known and not re.fullmatch(rf"{re.escape(base)}(-[0-9a-f]{{8}})?", known.storage):
        known = None
    if not keys or (known and known.key in keys):
        return known
    return MountKey(base, keys[0]) if known is None else MountKey(f"{base}-{keys[0][:8]}", keys[0])
