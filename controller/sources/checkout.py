"""Commits as folders: made whole or not at all, read-only, kept while anybody reads them.

A folder is being read as long as somebody holds a shared lock on it. It must not know where commits come from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path

NEWEST = 2
"""So many trees stay though nobody uses them: the next load may be of the one before."""

_NEW, _OLD = ".new-", ".old-"
_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class Trees:
    """The trees in one folder, by name. Blocking, all of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[Path, int] = {}

    def find(self, name: str) -> Path | None:
        """The tree, held until it is let go; None where there is none."""
        tree = self.folder / name
        if tree not in self._held:
            if (descriptor := _hold(tree, fcntl.LOCK_SH)) is None:
                return None
            self._held[tree] = descriptor
        # its time says when it was last wanted
        os.utime(tree)
        return tree

    def begin(self) -> tuple[Path, int]:
        """An empty hidden folder to fill, and the descriptor that keeps it; git gets it too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=self.folder, prefix=_NEW))
        descriptor = _hold(fresh, fcntl.LOCK_SH)
        assert descriptor is not None, "nobody else clears up while the mirror is ours"
        return fresh, descriptor

    def finish(self, fresh: Path, name: str) -> Path:
        """What `begin` gave becomes the tree `name`, in one step; one that is already there is as good."""
        _freeze(fresh)
        tree = self.folder / name
        try:
            fresh.rename(tree)
        except OSError:
            if not tree.is_dir():
                raise
        return tree

    def abandon(self, fresh: Path, descriptor: int) -> None:
        """After `begin`, whatever came of it."""
        os.close(descriptor)
        if fresh.is_dir():
            remove(fresh)

    def sweep(self) -> None:
        """Remove what killed processes left. Only while the mirror is ours."""
        for left in self._listed(hidden=True):
            self._clear(left)

    def tidy(self, in_use: Collection[Path]) -> None:
        """Let go of the trees that `in_use` doesn't name, and remove all but the newest that nobody holds."""
        for tree in [tree for tree in self._held if tree not in in_use]:
            os.close(self._held.pop(tree))
        newest = sorted(self._listed(hidden=False), key=lambda tree: tree.stat().st_mtime_ns, reverse=True)
        for tree in newest[NEWEST:]:
            if tree not in in_use:
                self._clear(tree)

    def close(self) -> None:
        """Let go of every tree."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _listed(self, *, hidden: bool) -> list[Path]:
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return [one for one in found if one.name.startswith((_NEW, _OLD)) == hidden]

    def _clear(self, tree: Path) -> None:
        """Remove it, unless somebody holds it. Nobody finds it under its name while it is being removed."""
        if (descriptor := _hold(tree, fcntl.LOCK_EX)) is None:
            return
        try:
            remove(tree.rename(tree.with_name(f"{_OLD}{tree.name.removeprefix(_OLD)}")))
        finally:
            os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove a folder whose folders are read-only."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder)


def _freeze(folder: Path) -> None:
    for path, _, names in os.walk(folder, topdown=False):
        for name in [*(os.path.join(path, name) for name in names), path]:
            mode = os.lstat(name).st_mode
            if not stat.S_ISLNK(mode):
                os.chmod(name, stat.S_IMODE(mode) & ~_WRITE)


def _hold(folder: Path, how: int) -> int | None:
    """A descriptor that keeps `folder` as long as it is open; None where it isn't there, or another has it so that
    it can't be held like this."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            return descriptor
    os.close(descriptor)
    return None
