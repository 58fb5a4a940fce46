"""The Dockerfile and .dockerignore, read: stages with their instructions, and the build context."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION: str = PROJECT["version"]
INSTRUCTION = re.compile(r"^(?P<word>[A-Z]+)\s+(?P<rest>.*)$", re.DOTALL)


@dataclass
class Stage:
    """One stage; `lines` are (instruction, the rest of its line), continuation lines joined."""

    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for each, rest in self.lines if each == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]

    def copies(self) -> list[tuple[list[str], str]]:
        """(sources, target) of each COPY from the build context."""
        split = [rest.split() for rest in self.all("COPY") if not rest.startswith("--from=")]
        return [(copy[:-1], copy[-1]) for copy in split]

    def sources(self) -> list[str]:
        """What is copied from the build context."""
        return [source for sources, _ in self.copies() for source in sources]

    def environment(self) -> dict[str, str]:
        pairs = [word.partition("=") for rest in self.all("ENV") for word in shlex.split(rest)]
        return {name: value for name, _, value in pairs}

    def started(self) -> list[str]:
        """The words of ENTRYPOINT and CMD."""
        return [word for each in ("ENTRYPOINT", "CMD") for rest in self.all(each)[-1:] for word in json.loads(rest)]

    def health_check(self) -> list[str]:
        return [str(word) for word in json.loads(self.last("HEALTHCHECK").partition("CMD ")[2])]


def stages() -> dict[str, Stage]:
    """By name, in the file's order."""
    found: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        match = INSTRUCTION.match(line)
        assert match, line
        word, rest = match["word"], match["rest"]
        if word == "ARG":
            name, _, arguments[name] = rest.partition("=")
        elif word == "FROM":
            base, _, name = rest.split()
            found[name] = Stage(arguments.get(base.strip("${}"), base))
        else:
            list(found.values())[-1].lines.append((word, rest))
    return found


def build_context(target: Path) -> None:
    """Copy to `target` what an engine would be sent of the repository."""
    for path in _sent(ROOT):
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def is_sent(name: str) -> bool:
    """Whether a path, relative to the repository, is part of the build context. The last pattern that matches it or
    one of its parents decides, as Docker has it."""
    sent = True
    for pattern in _patterns():
        if _matches(name, pattern.removeprefix("!")):
            sent = pattern.startswith("!")
    return sent


def _patterns() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _sent(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        name = path.relative_to(ROOT).as_posix()
        if not path.is_dir():
            if is_sent(name):
                yield path
        elif is_sent(name) or any(pattern.startswith(f"!{name}/") for pattern in _patterns()):
            yield from _sent(path)


def _matches(name: str, pattern: str) -> bool:
    within = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(f"{within}(/.*)?", name) is not None
