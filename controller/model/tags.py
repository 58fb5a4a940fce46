"""The facts acaops keeps on the resources themselves: tag names and the text of their values.

Azure allows 50 tags a resource and 256 characters a value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

OWNER = "acaops-owner"
ORIGIN = "acaops-origin"
APPLIED = "acaops-applied"
HEALTHY = "acaops-healthy"
COMMIT = "acaops-commit"
STORAGE_KEY = "acaops-storage-key"

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


def other_owner(owner: Owner, tags: Mapping[str, str]) -> str | None:
    """The owner the tags name, where that is somebody else."""
    named = tags.get(OWNER)
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
    service): a new one, named after the new key, takes its place.
    """
    known = MountKey.parse(recorded)
    if keys is None:
        return known
    if known is None:
        return MountKey(base, keys[0])
    return known if known.key in keys else MountKey(f"{base}-{keys[0][:8]}", keys[0])
