"""What runs on this machine, and where a cache keeps its only mirror."""

from __future__ import annotations

import contextlib
from pathlib import Path


def at_work(cache: Path) -> list[str]:
    """The command lines of processes that were told of the cache, zombies excepted."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(cache).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [line for line in found if "python" not in line]


def home(cache: Path) -> Path:
    (only,) = (cache / "git").iterdir()
    return only


def arguments() -> list[bytes]:
    """Of every process on the machine."""
    seen = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            seen.append((process / "cmdline").read_bytes())
    return seen
