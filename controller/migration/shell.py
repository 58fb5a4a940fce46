"""A container's start command as the `commands` of an app: one after the other, each only if the one before succeeded.

What can't be taken apart safely stays one command. It runs nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash")

BACK = 'cd "$OLDPWD"'
"""The start command goes to the mounted share first; this goes back to the image's working folder."""

_OPAQUE = re.compile(
    r"(?:^|[;&|(\s])(?:for|while|until|if|case|select|function|coproc|\{|\[\[)(?:\s|$)"  # compound commands
    r"|`|<<|(?:^|\s)#|\"[^\"]*\$\("  # substitutions with quotes of their own, here-documents, comments
)
_ABSOLUTE = re.compile(r"cd (--\s+)?[\"']?/")
_MKDIR = re.compile(r"mkdir ((?!-)[^\s;&|<>]+)")


@dataclass(frozen=True)
class Commands:
    """`lines` for `spec.commands`. `forgiving`: a failure in the middle didn't stop the original, and stops these.
    `folders`: the lines that made a folder and would now fail where it is there; they say `mkdir -p`."""

    lines: tuple[str, ...]
    forgiving: bool = False
    folders: tuple[str, ...] = ()


def commands(argv: Sequence[str]) -> Commands:
    """Of a container's command and arguments, which are not empty."""
    if len(argv) == 3 and argv[0] in SHELLS and argv[1] == "-c":
        lines, forgiving = split(argv[2])
    else:
        lines, forgiving = [shlex.join(argv)], False
    lines = [*lines[:-1], *map(_without_exec, lines[-1:])]
    folders = tuple(line for line in lines if _MKDIR.fullmatch(line))
    lines = [_MKDIR.sub(r"mkdir -p \1", line) if line in folders else line for line in lines]
    if not lines or not _ABSOLUTE.match(lines[0]):
        lines = [BACK, *lines]
    return Commands(tuple(lines), forgiving, folders)


def _without_exec(line: str) -> str:
    """The last command without the `exec`, and the shell of its own, that acaops would put around it."""
    try:
        words = shlex.split(line)
    except ValueError:
        return line
    if len(words) == 4 and words[0] == "exec" and words[1] in SHELLS and words[2] == "-c":
        return words[3]
    return line.removeprefix("exec ") if words[:1] == ["exec"] and "&" not in line and ";" not in line else line


def split(text: str) -> tuple[list[str], bool]:
    """The commands joined by `&&` and `;`, and whether by `;` anywhere. Quotes, groups and substitutions are respected;
    a list with `||` in it and text with compound commands stay whole."""
    if _OPAQUE.search(text):
        return [text.strip()], False
    lists = [items for items in _lists(text) if any(items)]
    flat = [item for items in lists for item in ([" && ".join(items)] if any("||" in one for one in items) else items)]
    return flat, len(lists) > 1


def _lists(text: str) -> Iterator[list[str]]:
    """What stands between `;`, each as what stands between `&&`."""
    items, piece, depth, at = [], "", 0, 0
    for token in _TOKEN.findall(text):
        at += len(token)
        depth += (token == "(") - (token == ")")
        if depth > 0 or token not in ("&&", ";", "\n"):
            piece += token
            continue
        items.append(piece.strip())
        piece = ""
        if token != "&&":
            yield items
            items = []
    yield [*items, piece.strip()]


_TOKEN = re.compile(r"\\.|'[^']*'?|\"(?:\\.|[^\"\\])*\"?|&&|[^\\'\"&]|&|\\", re.DOTALL)
"""A quoted string, an escaped character, `&&`, or one other character."""
