"""A file or directory as the data plane shows it: what the disk says, joined with what the sidecar kept. Pure.

Processes write to a share's folder directly, as SMB clients do. So the sidecar's word counts only while it
fits the file that is there: another inode is another file, another size or time of modification is a write
by such a process.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from infra.local_azure.files import leases, moments, names

_IDS = 0xC000_0000_0000_0000
"""Recorded ids of files and directories lie above this."""

READ_ONLY = "ReadOnly"


@dataclass(frozen=True)
class Facts:
    """What the sidecar keeps. Times are ticks; `content` has the keys of the x-ms-content-* headers.

    `inode`, `modified` (ns) and `size` say of which state of which file it speaks.
    """

    inode: int
    modified: int
    size: int
    created: int
    written: int
    changed: int
    attributes: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    content: Mapping[str, str] = field(default_factory=dict)
    lease: leases.Lease | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)

    def seen(self, found: os.stat_result) -> Facts:
        """The same facts, spoken of the file as it is now."""
        return replace(self, inode=found.st_ino, modified=found.st_mtime_ns, size=found.st_size)


@dataclass(frozen=True)
class Entry:
    """One file or directory. `path` is in the disk's casing; `size` in bytes; `id` in the service's form.

    A symbolic link is a file of no length that can't be written: it is never followed (assumed; Azure
    Files over SMB has none).
    """

    path: names.Parts
    is_directory: bool
    is_link: bool
    size: int
    id: str
    parent_id: str
    accessed: int
    facts: Facts

    @property
    def name(self) -> str:
        return self.path[-1] if self.path else ""

    @property
    def etag(self) -> str:
        return moments.etag(self.facts.changed)

    @property
    def is_read_only(self) -> bool:
        return self.is_link or READ_ONLY in self.facts.attributes


def entry(path: names.Parts, found: os.stat_result, *, kept: Mapping[str, Any] | None, parent: int | None) -> Entry:
    """`parent` is the inode of the directory it lies in; None when that is the share's root, or it is itself."""
    directory = stat.S_ISDIR(found.st_mode)
    return Entry(
        path=path,
        is_directory=directory,
        is_link=not directory and not stat.S_ISREG(found.st_mode),
        size=found.st_size if stat.S_ISREG(found.st_mode) else 0,
        id=file_id(found.st_ino) if path else "0",
        parent_id="0" if parent is None else file_id(parent),
        accessed=moments.of_ns(found.st_atime_ns),
        facts=_facts(found, kept),
    )


def file_id(inode: int) -> str:
    """A stable id in the recorded form; it outlives renames."""
    return str(_IDS | inode & ~_IDS)


def attributes(text: str, *, directory: bool) -> str:
    """The attributes a header names, as shown; `none` stands for the usual ones (recorded: files-create-file)."""
    usual = "Directory" if directory else "Archive"
    given = [word.strip() for word in text.split("|")]
    kept = [word for word in given if word and word.lower() not in ("none", "normal")]
    if directory and usual not in kept:
        kept.append(usual)
    return " | ".join(kept) or usual


def _facts(found: os.stat_result, kept: Mapping[str, Any] | None) -> Facts:
    if kept is None or kept["inode"] != found.st_ino:
        return _derived(found)
    lease = kept["lease"]
    facts = Facts(**{**kept, "lease": None if lease is None else leases.Lease(**lease)})
    if stat.S_ISDIR(found.st_mode) or (facts.modified, facts.size) == (found.st_mtime_ns, found.st_size):
        return facts
    written = moments.of_ns(found.st_mtime_ns)
    return replace(facts, written=written, changed=written)


def _derived(found: os.stat_result) -> Facts:
    written = moments.of_ns(found.st_mtime_ns)
    return Facts(
        inode=found.st_ino,
        modified=found.st_mtime_ns,
        size=found.st_size,
        created=min(written, moments.of_ns(found.st_ctime_ns)),
        written=written,
        changed=written,
        attributes="Directory" if stat.S_ISDIR(found.st_mode) else "Archive",
    )
