"""Content folders to the files of a release, by digest; and those files to one archive.

Refuses what would not arrive unchanged on Azure Files, and links that lead out of their folder. Blocking. Never
writes into the folders it reads.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns

from controller.model import content, fields
from controller.sources import document, exclusions

MANIFEST = ".acaops-manifest"

_READ = 1024 * 1024
_TRIES = 3
_LFS_REMEDY = "run `git lfs pull` (a remote repository needs the file committed)"
_LFS = b"version https://git-lfs.github.com/spec/"
# a file written to again within the file system's clock tick keeps its mtime: sums of files this young aren't kept
_SETTLED_NS = 100_000_000

Stamp = tuple[int, int, int]
Memory = dict[Path, tuple[Stamp, str]]


class ContentError(Exception):
    """Every problem found. `retriable`: they come from files changing while they were read, and pass by themselves."""

    def __init__(self, problems: Iterable[str], *, retriable: bool = False) -> None:
        self.problems = tuple(problems)
        self.retriable = retriable
        super().__init__("\n".join(self.problems))


class _Changing(Exception):
    """A file kept changing, or went away, while it was read."""


@dataclass
class _Walk:
    """What walking has found so far. `root` is the content folder being walked, without links."""

    memory: Memory
    root: Path = Path("/")
    target: str = ""
    files: list[content.File] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    changing: list[str] = field(default_factory=list)


def collect(roots: Sequence[tuple[Path, str]], *, top: Path | None, memory: Memory) -> content.Content:
    """The files of the (absolute folder, target) pairs. `top`: where ignore files begin to count, the work tree's top
    folder, None outside of one. `memory` keeps sums between calls; start with an empty one.

    Raises ContentError: with what must be changed, or, where there is nothing of that kind, with what was changing.
    """
    walk = _Walk(memory)
    for root, target in roots:
        before = len(walk.files) + len(walk.problems) + len(walk.changing)
        walk.root, walk.target = root.resolve(), target
        _enter(walk, top)
        if len(walk.files) + len(walk.problems) + len(walk.changing) == before:
            # an empty folder is a mistake; mirrored, it would take every file off the share
            walk.problems.append(f"{root}: nothing to publish: no files, or all left out")
    walk.problems += _collisions(walk.files)
    if walk.problems:
        raise ContentError(walk.problems)
    if walk.changing:
        raise ContentError(walk.changing, retriable=True)
    return content.Content(tuple(sorted(walk.files)), tuple(target for _, target in roots))


def bundle(wanted: content.Content, destination: Path) -> None:
    """Write the reproducible tar.gz of `wanted`, `.acaops-manifest` first; equal content gives equal bytes.

    Every file is summed again on its way: ContentError (retriable) when one isn't what it was, and no archive then.
    """
    handle, name = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
    try:
        # level 1: code is small, and weights hardly get smaller
        with os.fdopen(handle, "wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed:
            _write(wanted, packed)
        os.replace(name, destination)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _enter(walk: _Walk, top: Path | None) -> None:
    rules = exclusions.Rules.above(walk.root, top=top)
    try:
        _folder(walk, walk.root, rules, inside=(walk.root,))
    except FileNotFoundError as error:
        walk.changing.append(f"{error.filename}: went away while it was read")


def _folder(walk: _Walk, folder: Path, rules: exclusions.Rules, *, inside: tuple[Path, ...]) -> None:
    """`inside`: the real folders from the root down to this one, to notice links that go round."""
    try:
        rules = rules.inside(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (PermissionError, NotADirectoryError) as error:
        walk.problems.append(f"{document.shown(folder)}: can't be read: {error.strerror}")
        return
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink() and (wrong := _wrong_link(walk, path)):
            if not exclusions.left_out(path, rules, folder=False):
                walk.problems.append(f"{document.shown(path)}: {wrong}")
        elif not exclusions.left_out(path, rules, folder=entry.is_dir()):
            _entry(walk, path, rules, inside=inside)


def _entry(walk: _Walk, path: Path, rules: exclusions.Rules, *, inside: tuple[Path, ...]) -> None:
    if wrong := fields.illegal_on_files(path.name):
        walk.problems.append(f"{document.shown(path)}: Azure Files can't hold this name: {wrong}")
        return
    if not path.is_dir():
        _file(walk, path)
    elif path.resolve() in inside:
        walk.problems.append(f"{document.shown(path)}: a symbolic link that goes round in a circle")
    else:
        _folder(walk, path, rules, inside=(*inside, path.resolve()))


def _wrong_link(walk: _Walk, path: Path) -> str | None:
    try:
        to = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "a symbolic link to nothing"
    if not to.is_relative_to(walk.root):
        return "a symbolic link that leads out of the folder"
    if any(exclusions.fixed(part) for part in to.relative_to(walk.root).parts):
        return "a symbolic link to what is left out"
    return None


def _file(walk: _Walk, path: Path) -> None:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        walk.problems.append(f"{document.shown(path)}: neither a file nor a folder")
        return
    try:
        sha256, size, mode = _sum(path, walk.memory)
    except _Changing as error:
        walk.changing.append(str(error))
    except _Pointer:
        walk.problems.append(f"{path}: a Git LFS pointer, not the file itself: {_LFS_REMEDY}")
    except OSError as error:
        walk.problems.append(f"{path}: can't be read: {error.strerror}")
    else:
        name = f"{walk.target}/{path.relative_to(walk.root).as_posix()}"
        walk.files.append(content.File(name, path, size, sha256, bool(mode & stat.S_IXUSR)))


class _Pointer(Exception):
    """The file stands for one that Git LFS keeps."""


def _sum(path: Path, memory: Memory) -> tuple[str, int, int]:
    """(sha256, size, mode), all of one moment."""
    for _ in range(_TRIES):
        try:
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                known = memory.get(path)
                if known is not None and known[0] == _stamp(before):
                    return known[1], before.st_size, before.st_mode
                sha256 = _digest(file)
                after = os.fstat(file.fileno())
        except FileNotFoundError as error:
            raise _Changing(f"{path}: went away while it was read") from error
        if _stamp(before) == _stamp(after) == _stamp(path.stat()):
            if time_ns() - after.st_mtime_ns > _SETTLED_NS:
                memory[path] = (_stamp(after), sha256)
            return sha256, after.st_size, after.st_mode
    raise _Changing(f"{path}: keeps changing while it is read")


def _stamp(of: os.stat_result) -> Stamp:
    return of.st_size, of.st_mtime_ns, of.st_ino


def _digest(file: io.BufferedReader) -> str:
    hashed = hashlib.sha256()
    first = file.read(_READ)
    if first.startswith(_LFS) and len(first) < 1024:
        raise _Pointer
    while first:
        hashed.update(first)
        first = file.read(_READ)
    return hashed.hexdigest()


def _collisions(files: Iterable[content.File]) -> Iterator[str]:
    """Paths, folders included, that differ in case only: one file to Azure Files."""
    spelled: dict[str, str] = {}
    told: set[str] = set()
    for file in files:
        parts = file.path.split("/")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            first = spelled.setdefault(path.casefold(), path)
            if first != path and path not in told:
                told.add(path)
                yield f"{file.source}: {path} and {first} differ in case only"
                break


def _write(wanted: content.Content, packed: gzip.GzipFile) -> None:
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        manifest = wanted.manifest.encode()
        archive.addfile(_member(MANIFEST, size=len(manifest), executable=False), io.BytesIO(manifest))
        for file in wanted.files:
            with _source(file) as source:
                archive.addfile(_member(file.path, size=file.size, executable=file.executable), source)
            if source.hashed.hexdigest() != file.sha256:
                raise ContentError([f"{file.source}: changed since it was looked at"], retriable=True)


def _member(name: str, *, size: int, executable: bool) -> tarfile.TarInfo:
    """Nothing of who packed it, or when."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o755 if executable else 0o644
    return member


class _Summed(io.RawIOBase):
    """A file that sums what is read from it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.hashed = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.hashed.update(data)
        return data


@contextlib.contextmanager
def _source(file: content.File) -> Iterator[_Summed]:
    """The file, opened; short or unreadable counts as changed."""
    try:
        with file.source.open("rb") as opened:
            yield _Summed(opened)
    except OSError as error:
        raise ContentError([f"{file.source}: changed since it was looked at: {error}"], retriable=True) from error
