"""What of a content folder is left out: caches, virtual environments, editors' droppings, and what ignore files name.

`fixed` needs the name alone and serves the watch too; `Rules` reads `.gitignore` and `.acaopsignore`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pathspec

IGNORE_FILES = (".gitignore", ".acaopsignore")

_NAMES = {
    *(".git", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"),
    *("node_modules", ".DS_Store", ".ipynb_checkpoints"),
}
# compiled Python; vim's swap files and its write test; emacs' locks and autosaves; backups
_PATTERN = re.compile(r".*\.py[co]|\..*\.sw[a-z]|4913|\.#.*|#.*#|.*~")


def fixed(name: str) -> bool:
    """Left out everywhere, whatever the ignore files say."""
    return name in _NAMES or _PATTERN.fullmatch(name) is not None


@dataclass(frozen=True)
class Rules:
    """The ignore files that hold in one folder: its own, then its parents', nearest first."""

    layers: tuple[tuple[Path, pathspec.GitIgnoreSpec], ...] = ()

    @classmethod
    def above(cls, folder: Path, *, top: Path | None) -> Rules:
        """Those of `folder`'s parents, from the git top `top` down; none outside of a work tree."""
        rules = cls()
        if top is not None and folder != top:
            for parent in reversed([parent for parent in folder.parents if parent.is_relative_to(top)]):
                rules = rules.inside(parent)
        return rules

    def inside(self, folder: Path) -> Rules:
        """With the folder's own ignore files; in the same folder `.acaopsignore` has the last word."""
        lines: list[str] = []
        for name in IGNORE_FILES:
            path = folder / name
            if path.is_file():
                lines += path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        if not lines:
            return self
        return Rules(((folder, pathspec.GitIgnoreSpec.from_lines(lines)), *self.layers))

    def ignored(self, path: Path, *, folder: bool) -> bool:
        """Whether the nearest ignore file that speaks of `path` leaves it out."""
        for base, spec in self.layers:
            named = path.relative_to(base).as_posix() + ("/" if folder else "")
            said = spec.check_file(named).include
            if said is not None:
                return said
        return False


def left_out(path: Path, rules: Rules, *, folder: bool) -> bool:
    """Whether the file or folder at `path` isn't published."""
    if fixed(path.name) or (folder and (path / "pyvenv.cfg").is_file()):
        return True
    return rules.ignored(path, folder=folder)
