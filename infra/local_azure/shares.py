"""File shares as the storage provider and the runtime see them: plain folders, and facts beside them.

A share's files are plain files under `folder()`, so that a container can have the folder as its mount.
What a file system can't keep (etag, metadata, leases, quota) lies in a sidecar outside that folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Share:
    """`quota` in GiB; `etag` with its quotes, e.g. `"0x8DC…"`."""

    account: str
    name: str
    quota: int
    metadata: Mapping[str, str]
    etag: str
    last_modified: datetime
    lease_state: str
    lease_status: str


class ShareExists(Exception):
    """A share of that name is already there."""


class Shares(Protocol):
    """The shares of every account. Names are lower case already."""

    def create(self, account: str, name: str, *, quota: int, metadata: Mapping[str, str]) -> Share:
        """Make the share; raises ShareExists."""

    def get(self, account: str, name: str) -> Share | None: ...

    def list(self, account: str) -> list[Share]: ...

    def update(self, account: str, name: str, *, quota: int | None, metadata: Mapping[str, str] | None) -> Share:
        """Set what isn't None (metadata as a whole); raises KeyError for a missing share."""

    def delete(self, account: str, name: str) -> bool:
        """Remove the share and its files; False when it wasn't there."""

    def delete_account(self, account: str) -> None: ...

    def folder(self, account: str, name: str) -> Path:
        """Where the share's files lie; raises KeyError for a missing share."""
