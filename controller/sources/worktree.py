"""What git says of a folder: the work tree it lies in and the commit it is at. Never writes, not even the index."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_SECONDS = 20


def top(folder: Path) -> Path | None:
    """The work tree's top folder, None outside of one. `folder` is absolute and without links."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)


def commit(folder: Path) -> str | None:
    """HEAD's 40 (or 64) hex digits when the whole work tree is clean; None when it isn't or git can't say."""
    # GIT_DIR and its kin, set inside git hooks, would name another repository
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    call = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), "status", "--porcelain=v2", "--branch"]
    try:
        done = subprocess.run(
            call,
            env=environ | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    lines = done.stdout.splitlines()
    head = next((line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), "")
    clean = all(line.startswith("#") for line in lines)
    return head if clean and head and head != "(initial)" else None
