"""A state folder to checked objects, or to every problem in it as `file:line:column: message`.

What one document may say is in `model.desired`; here is what needs the folder or a second object. A folder that
doesn't load whole gives nothing: `load` raises. Blocking; never writes.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from controller.model import desired
from controller.model.commit import Commit
from controller.sources import crosscheck, document, worktree
from controller.sources.document import Document, Problem

MOST_BYTES = 1024 * 1024

T = TypeVar("T", desired.Environment, desired.InferenceApp)


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """One object and where it stands. `folder` is the YAML file's, absolute; `contents` are an app's
    (absolute folder, target) pairs. `top` is the work tree's or the commit's top folder, None outside of git."""

    object: T
    file: str
    line: int
    folder: Path
    contents: tuple[tuple[Path, str], ...] = ()
    top: Path | None = None

    @property
    def name(self) -> str:
        return self.object.metadata.name

    def shown(self, message: str) -> str:
        """`message` with paths as the repository has them."""
        return message.replace(f"{self.top}/", "") if self.top else message


LoadedApp = Loaded[desired.InferenceApp]
LoadedAny = Loaded[desired.Environment] | LoadedApp


@dataclass(frozen=True)
class Tree:
    """All files of one commit, below `root`, which nobody changes. `secrets` is the folder outside of it in which the
    files of its secrets may lie."""

    root: Path
    commit: Commit
    secrets: Path | None = None


@dataclass(frozen=True)
class Source:
    """The whole desired state at one moment. `digest` is 64 hex digits over all YAML files; `revision` what people
    read: `git:<12 hex>` of the commit, which is HEAD in a clean work tree, else `files:<12 hex>` of the digest.
    `commit` is None for files; `tree` is set where all files are a commit's own, and nobody changes them."""

    folder: Path
    digest: str
    revision: str
    environments: tuple[Loaded[desired.Environment], ...]
    apps: tuple[Loaded[desired.InferenceApp], ...]
    commit: Commit | None = None
    tree: Tree | None = None

    @functools.cached_property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """(kind, name) of every object, environments first."""
        return tuple(self._by_key)

    def find(self, kind: str, name: str) -> LoadedAny:
        """The object; KeyError where there is none."""
        return self._by_key[kind, name]

    def environment(self, name: str) -> desired.Environment:
        """The Environment called `name`; KeyError where there is none."""
        found = self.find("Environment", name).object
        assert isinstance(found, desired.Environment)
        return found

    def dependents(self, kind: str, name: str) -> tuple[tuple[str, str], ...]:
        """The apps that stand on the Environment called `name`, or that depend on the InferenceApp called so."""
        return tuple(
            (one.object.kind, one.name)
            for one in self.apps
            if (
                name == one.object.spec.environment_ref if kind == "Environment" else name in one.object.spec.depends_on
            )
        )

    @functools.cached_property
    def _by_key(self) -> dict[tuple[str, str], LoadedAny]:
        loaded: tuple[LoadedAny, ...] = (*self.environments, *self.apps)
        return {(one.object.kind, one.name): one for one in loaded}


class LoadError(Exception):
    """Every problem of the folder, by place. `commit` is the one that has them, None for files."""

    def __init__(self, problems: Iterable[Problem], *, commit: Commit | None = None) -> None:
        self.problems = tuple(sorted(set(problems)))
        self.commit = commit
        super().__init__("\n".join(map(str, self.problems)))


@dataclass
class _Reading:
    """What loading has found so far."""

    folder: Path
    root: Path
    problems: list[Problem] = field(default_factory=list)
    entries: list[crosscheck.Entry] = field(default_factory=list)

    def add(self, file: str, message: str) -> None:
        self.problems.append(Problem(document.shown(file), 1, 1, message))


def load(folder: Path, *, tree: Tree | None = None) -> Source:
    """Everything in the *.yaml and *.yml files below `folder`. Raises LoadError with all problems.

    With `tree`, `folder` lies in it, and problems name files as the commit has them.
    """
    root = folder.resolve()
    reading = _Reading(folder.relative_to(tree.root) if tree else folder, root)
    top = tree.root if tree else worktree.top(root)
    if tree and not root.is_relative_to(tree.root):
        reading.add(str(reading.folder), "a symbolic link that leads out of the repository")
        raise LoadError(reading.problems, commit=tree.commit)
    digest = _read_files(reading)
    reading.problems += crosscheck.problems(reading.entries, boundary=top or root.parent)
    if tree:
        reading.problems += crosscheck.committed(reading.entries, secrets=tree.secrets)
    commit = tree.commit if tree else worktree.commit(root)
    if reading.problems:
        raise LoadError(reading.problems, commit=commit)
    return Source(
        folder=root,
        digest=digest,
        revision=revision(commit, digest),
        environments=tuple(
            _loaded(entry, entry.object, top=top)
            for entry in reading.entries
            if isinstance(entry.object, desired.Environment)
        ),
        apps=tuple(
            _loaded(entry, entry.object, top=top, contents=crosscheck.contents(entry, entry.object))
            for entry in reading.entries
            if isinstance(entry.object, desired.InferenceApp)
        ),
        commit=commit,
        tree=tree,
    )


def revision(commit: Commit | None, digest: str) -> str:
    """What people read: `git:<12 hex>`, or `files:<12 hex>`."""
    return f"git:{commit.sha[:12]}" if commit else f"files:{digest[:12]}"


def _loaded(
    entry: crosscheck.Entry, value: T, *, top: Path | None, contents: tuple[tuple[Path, str], ...] = ()
) -> Loaded[T]:
    file = entry.document
    return Loaded(value, file.file, file.values[()][0], entry.folder, contents, top)


def _read_files(reading: _Reading) -> str:
    """Reads and validates every file; returns the digest of their names and bytes."""
    digest = hashlib.sha256()
    found = False
    for path in _files(reading):
        found = True
        name = str(path.relative_to(reading.root))
        shown = document.shown(reading.folder / name)
        data = _bytes(reading, path, shown)
        if data is None:
            continue
        digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode(errors="surrogateescape"))
        documents, problems = document.parse(data, file=shown)
        reading.problems += problems
        for found_document in documents:
            reading.entries.append(_entry(reading, found_document, path.parent))
    if not found and not reading.problems:
        reading.add(str(reading.folder), "no YAML files here; nothing is applied and nothing is deleted")
    return digest.hexdigest()


def _files(reading: _Reading) -> Iterator[Path]:
    """YAML files below the folder, by name. Hidden ones are left out; links that lead out are problems."""
    if not reading.root.is_dir():
        reading.add(str(reading.folder), "no such folder; nothing is applied and nothing is deleted")
        return
    seen: set[Path] = set()
    for base, folders, names in os.walk(reading.root, onerror=lambda error: _unreadable(reading, error)):
        links = [name for name in folders if (Path(base) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in links)
        for name in sorted(names + links):
            path = Path(base) / name
            if name.startswith(".") or (name not in links and path.suffix not in (".yaml", ".yml")):
                continue
            if not path.resolve().is_relative_to(reading.root):
                shown = reading.folder / path.relative_to(reading.root)
                reading.add(str(shown), "a symbolic link that leads out of the state folder")
            elif name not in links and path.resolve() not in seen:
                seen.add(path.resolve())
                yield path


def _unreadable(reading: _Reading, error: OSError) -> None:
    reading.add(str(error.filename or reading.folder), f"can't be read: {error.strerror}")


def _bytes(reading: _Reading, path: Path, shown: str) -> bytes | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            reading.add(shown, "not a regular file")
            return None
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        reading.add(shown, f"can't be read: {error.strerror}")
        return None
    if len(data) > MOST_BYTES:
        reading.add(shown, f"larger than {MOST_BYTES // 1024} KiB")
        return None
    return data


def _entry(reading: _Reading, found: Document, folder: Path) -> crosscheck.Entry:
    taken = {(problem.line, problem.column) for problem in reading.problems if problem.file == found.file}
    value, problems = _validated(found)
    reading.problems += [problem for problem in problems if (problem.line, problem.column) not in taken]
    return crosscheck.Entry(found, folder, value)


def _validated(found: Document) -> tuple[desired.Environment | desired.InferenceApp | None, list[Problem]]:
    if not isinstance(found.data, dict):
        return None, [found.problem((), "a document must be a mapping with apiVersion, kind, metadata, spec")]
    kind = found.data.get("kind")
    model = desired.KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        return None, [found.problem(("kind",), f"kind must be one of {', '.join(desired.KINDS)}")]
    try:
        return model.model_validate(found.data), []
    except ValidationError as error:
        return None, [_problem(found, details) for details in error.errors(include_url=False, include_input=False)]


def _problem(found: Document, details: ErrorDetails) -> Problem:
    """A validation error at the value it speaks of: an unknown field at its key, a missing one at what lacks it."""
    path, kind, message = details["loc"], details["type"], details["msg"]
    if kind == "extra_forbidden":
        close = get_close_matches(str(path[-1]), _field_names(), n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        return found.problem(path, f"unknown field {_dotted(path)}{hint}", at_key=True)
    if kind == "missing":
        return found.problem(path[:-1], f"missing field {_dotted(path)}")
    hint = "; numbers and words like yes or null need quotes to be text" if kind == "string_type" else ""
    message = message[:1].lower() + message[1:] if kind != "refused" else message
    return found.problem(path, f"{_dotted(path)}: {message}{hint}")


def _dotted(path: document.Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".")


@functools.cache
def _field_names() -> list[str]:
    definitions: dict[str, Any] = desired.json_schema()["$defs"]
    return sorted({name for schema in definitions.values() for name in schema["properties"]})
