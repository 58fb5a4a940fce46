"""What git says of a folder: the work tree it lies in and the commit it is at. Never writes, not even the index."""

from __future__ import annotations

import functools
import os
import subprocess
from datetime import datetime
from pathlib import Path

from controller.model.commit import Commit

FORMAT = "%H%x00%an%x00%s%x00%cI"
"""How git is asked for a commit: sha, author, subject, the committer's time."""

_SECONDS = 20


def top(folder: Path) -> Path | None:
    """The work tree's top folder, None outside of one. `folder` is absolute and without links."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)


def commit(folder: Path) -> Commit | None:
    """HEAD when the whole work tree is clean; None when it isn't or git can't say."""
    lines = _git(folder, "status", "--porcelain=v2", "--branch").splitlines()
    head = next((line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), "")
    clean = all(line.startswith("#") for line in lines)
    return _described(folder, head) if clean and head and head != "(initial)" else None


@functools.lru_cache(maxsize=16)
def _described(folder: Path, sha: str) -> Commit | None:
    return parsed(_git(folder, "log", "-1", f"--format={FORMAT}", sha))


def parsed(line: str) -> Commit | None:
    """A commit as git prints it in `FORMAT`; None where there is none."""
    parts = line.rstrip("\n").split("\0")
    return Commit(parts[0], parts[1], parts[2], datetime.fromisoformat(parts[3])) if len(parts) == 4 else None


def _git(folder: Path, *arguments: str) -> str:
    """What git prints, "" where it fails."""
    # GIT_DIR and its kin, set inside git hooks, would name another repository
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    call = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            call, env=environ | {"GIT_OPTIONAL_LOCKS": "0"}, capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
