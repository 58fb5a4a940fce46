"""YAML text to plain data that remembers where each value stood.

Refuses what a desired state never needs: duplicate keys, keys that aren't text, foreign tags, documents that nest too
deep or grow too large when their aliases are expanded. Knows nothing of what the fields mean.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MOST_NODES = 10_000
MOST_DEPTH = 40

Path = tuple[str | int, ...]
Place = tuple[int, int]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float")}
_MAPPING, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong, and where: `line` and `column` from 1. Prints as `file:line:column: message`."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True)
class Document:
    """One YAML document: its data, and the place of each value and key by the path to it."""

    file: str
    data: Any
    values: dict[Path, Place] = field(repr=False)
    keys: dict[Path, Place] = field(repr=False)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """A problem at the value (or its key) at `path`, or at the nearest thing around it that has a place."""
        if at_key and path in self.keys:
            return Problem(self.file, *self.keys[path], message)
        while path not in self.values:
            path = path[:-1]
        return Problem(self.file, *self.values[path], message)


def shown(path: object) -> str:
    """The path, fit for any terminal and log."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def parse(text: bytes, *, file: str) -> tuple[list[Document], list[Problem]]:
    """The documents that can be read, and every problem found. Empty documents are left out.

    A document with a problem is there too, if there is any sense in it, so that the rest of it can be checked.
    """
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return [], [_misread(text[: error.start], file=file)]
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        if place := _too_deep(decoded):
            return [], [Problem(file, *place, f"nested more than {MOST_DEPTH} levels deep")]
        for root in yaml.compose_all(decoded, Loader=_LOADER):
            reading = _Reading(file)
            data = reading.read(root)
            problems += reading.problems
            if data is not None:
                documents.append(Document(file, data, reading.values, reading.keys))
    except yaml.MarkedYAMLError as error:
        problems.append(_marked(error, file=file))
    except yaml.reader.ReaderError as error:
        before = decoded[: error.position].encode() if isinstance(error.position, int) else b""
        problems.append(_unprintable(before, error, file=file))
    return documents, problems


class _TooMuch(Exception):
    """The document is larger or deeper than `MOST_NODES` or `MOST_DEPTH`."""


class _Reading:
    """Builds one document's data; `yaml`'s nodes are shared by aliases, its data isn't."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.problems: list[Problem] = []
        self._nodes = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def read(self, root: yaml.Node) -> Any:
        try:
            return self._build(root, ())
        except _TooMuch as error:
            self._add(root, str(error))
            return None

    def _build(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _TooMuch(f"more than {MOST_NODES} values, aliases counted as often as they are used")
        if len(path) > MOST_DEPTH:
            raise _TooMuch(f"nested more than {MOST_DEPTH} levels deep")
        self.values[path] = _place(node)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQUENCE:
            return [self._build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        merged = [pair for key, value in node.value if key.tag == _MERGE for pair in self._merged(value)]
        first: dict[str, int] = {}
        data: dict[str, Any] = {}
        for key, value in own:
            name = self._key(key)
            if name is None:
                continue
            if name in first:
                self._add(key, f"duplicate key {name!r}: first on line {first[name]}")
                continue
            first[name] = key.start_mark.line + 1
            data[name] = self._pair(key, value, (*path, name))
        for key, value in merged:
            name = self._key(key)
            if name is not None and name not in data:
                data[name] = self._pair(key, value, (*path, name))
        return data

    def _pair(self, key: yaml.Node, value: yaml.Node, path: Path) -> Any:
        self.keys[path] = _place(key)
        return self._build(value, path)

    def _merged(self, node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The pairs a `<<` brings in; of a list, the earlier mapping wins."""
        for mapping in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(mapping, yaml.MappingNode) or any(key.tag == _MERGE for key, _ in mapping.value):
                self._add(mapping, "<< takes a mapping, or a list of them, without << of its own")
                continue
            yield from mapping.value

    def _key(self, node: yaml.Node) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag in _TEXT:
            return str(node.value)
        self._add(node, "a key must be text; put it in quotes")
        return None

    def _scalar(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag in _TEXT:
            return str(node.value)
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _PLAIN:
            self._add(node, f"the tag {node.tag!r} isn't supported")
            return None
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, LookupError, OverflowError):
            self._add(node, "the value isn't what its tag says")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._add(node, f"{node.value} is no number")
        return value

    def _add(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(self.file, *_place(node), message))


def _too_deep(text: str) -> Place | None:
    """Where the text nests too deep, if it does. The composer recurses, in C: such a text must not reach it."""
    depth = 0
    with contextlib.suppress(yaml.YAMLError):  # the composer stops at the same place, and tells
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH and (mark := event.start_mark):
                return mark.line + 1, mark.column + 1
    return None


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _marked(error: yaml.MarkedYAMLError, *, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    message = ", ".join(part for part in (error.context, error.problem) if part)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(file, line, column, message)


def _misread(before: bytes, *, file: str) -> Problem:
    return Problem(file, *_after(before), "not UTF-8")


def _unprintable(before: bytes, error: yaml.reader.ReaderError, *, file: str) -> Problem:
    return Problem(file, *_after(before), f"YAML doesn't allow this character: {error.reason}")


def _after(before: bytes) -> Place:
    """The place right after the bytes `before`."""
    lines = before.decode("utf-8", errors="replace").split("\n")
    return len(lines), len(lines[-1]) + 1
