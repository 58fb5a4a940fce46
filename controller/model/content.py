"""What goes on a share: the files of one app's content folders, by digest.

The content digest is the SHA-256 of the manifest text, a SHA256SUMS file that `sha256sum -c` verifies; lines
beginning with `#` carry what the sums don't (the executable bit).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True, order=True)
class File:
    """`path` is where the file goes, POSIX, relative to the mount (target included); `source` where it lies."""

    path: str
    source: Path
    size: int
    sha256: str
    executable: bool


@dataclass(frozen=True)
class Content:
    """All files of one app, sorted by path. `targets` are the folders on the share they fill."""

    files: tuple[File, ...]
    targets: tuple[str, ...]

    @cached_property
    def manifest(self) -> str:
        """The SHA256SUMS text: sums in path order, then `#x PATH` for each executable file."""
        sums = "".join(f"{file.sha256}  {file.path}\n" for file in self.files)
        modes = "".join(f"#x {file.path}\n" for file in self.files if file.executable)
        return sums + modes

    @cached_property
    def digest(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)
