"""The files and directories of one share: finding, listing, making, renaming and deleting them.

Every step goes from an open directory to a name in it and follows no symbolic link, so that no path leads
out of the share's folder, whatever processes do to it meanwhile. Names match without regard to case; a name
that matches to the letter wins. All calls block; none may be made on the event loop.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.local_azure.files import entries, errors, leases, names

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Memory(Protocol):
    """The facts of one share, by path (`dir/sub/file`)."""

    def get(self, path: str) -> Mapping[str, Any] | None: ...
    def put(self, path: str, document: Mapping[str, Any]) -> None: ...
    def drop(self, path: str) -> None: ...
    def move(self, old: str, new: str) -> None: ...


@dataclass(frozen=True)
class Place:
    """A name in an open directory. `path` is in the disk's casing as far as it exists; `found` None if it doesn't."""

    folder: int
    path: names.Parts
    found: os.stat_result | None
    parent: int | None

    @property
    def leaf(self) -> str:
        return self.path[-1] if self.path else "."


@dataclass(frozen=True)
class Page:
    """Part of a directory's listing. `more` is the name to go on with, None at the end."""

    directory: entries.Entry
    entries: list[entries.Entry]
    more: str | None


class Tree:
    """One share's tree. `lock` is held by every call that writes, so that each is one step to the others.

    `held` says whether an SMB client has a file open so that it can't be deleted or renamed.
    """

    def __init__(self, folder: Path, memory: Memory, *, held: Callable[[Path], bool]) -> None:
        self.folder = folder
        self.memory = memory
        self.lock = threading.RLock()
        self._held = held

    @contextmanager
    def place(self, path: names.Parts) -> Iterator[Place]:
        """Where `path` is or would be; raises FilesError ShareNotFound or ParentNotFound."""
        with _translated():
            folder = _open_root(self.folder)
            try:
                walked: names.Parts = ()
                for name in path[:-1]:
                    folder, walked = self._descend(folder, name, walked)
                yield self._place(folder, walked, path)
            finally:
                os.close(folder)

    def entry(self, place: Place) -> entries.Entry:
        """What is at `place`; raises FilesError ResourceNotFound."""
        if place.found is None:
            raise errors.FilesError("ResourceNotFound")
        kept = self.memory.get("/".join(place.path))
        return entries.entry(place.path, place.found, kept=kept, parent=place.parent)

    def get(self, path: names.Parts, *, directory: bool) -> entries.Entry:
        """The file or directory at `path`; 404 ResourceNotFound also where it is of the other kind, on which
        az's upload-batch depends."""
        with self.place(path) as place:
            return self._of_kind(place, directory=directory)

    def remember(self, place: Place, facts: entries.Facts) -> entries.Entry:
        """Keep `facts` of what is at `place`, as it is on the disk now."""
        found = os.stat(place.leaf, dir_fd=place.folder, follow_symlinks=False)
        kept = facts.seen(found)
        self.memory.put("/".join(place.path), kept.document())
        return entries.entry(place.path, found, kept=kept.document(), parent=place.parent)

    def list(self, path: names.Parts, *, prefix: str, start: str | None, limit: int) -> Page:
        """Up to `limit` children of the directory from the name `start` on, in the order of their names.

        Names that Azure Files can't have are left out; only processes can make them.
        """
        with self.place(path) as place:
            directory = self._of_kind(place, directory=True)
            folder = os.open(place.leaf, _DIRECTORY, dir_fd=place.folder)
            try:
                found = sorted(filter(names.is_component, os.listdir(folder)), key=_order)
                wanted = [name for name in found if names.fold(name).startswith(names.fold(prefix))]
                rest = [name for name in wanted if start is None or _order(name) >= _order(start)]
                children = (self._child(folder, directory, name) for name in rest[:limit])
                return Page(
                    directory, [child for child in children if child], rest[limit] if len(rest) > limit else None
                )
            finally:
                os.close(folder)

    def create_directory(self, path: names.Parts, make: Callable[[entries.Entry], entries.Facts]) -> entries.Entry:
        """Raises FilesError ResourceAlreadyExists whatever is there, ParentNotFound."""
        with self.lock, self.place(path) as place:
            if place.found is not None:
                raise errors.FilesError("ResourceAlreadyExists")
            os.mkdir(place.leaf, dir_fd=place.folder)
            with self.place(path) as made:
                return self.remember(made, make(self.entry(made)))

    def change(
        self, path: names.Parts, change: Callable[[entries.Entry], entries.Facts], *, directory: bool
    ) -> entries.Entry:
        """Give what is at `path` other facts; `change` may raise to refuse."""
        with self.lock, self.place(path) as place:
            return self.remember(place, change(self._of_kind(place, directory=directory)))

    def delete(self, path: names.Parts, permit: Callable[[entries.Entry], None], *, directory: bool) -> None:
        """Raises FilesError DirectoryNotEmpty (documented: 409), SharingViolation, ReadOnlyAttribute."""
        with self.lock, self.place(path) as place:
            entry = self._of_kind(place, directory=directory)
            if not path:
                raise errors.FilesError("CannotDeleteFileOrDirectory")
            self._refuse_held(entry)
            permit(entry)
            remove = os.rmdir if directory else os.unlink
            remove(place.leaf, dir_fd=place.folder)
            self.memory.drop("/".join(place.path))

    def rename(
        self,
        source: names.Parts,
        target: names.Parts,
        permit: Callable[[entries.Entry, entries.Entry | None], entries.Facts],
        *,
        directory: bool,
    ) -> entries.Entry:
        """Move `source` to `target`; `permit(source, what lies at the target or None)` refuses by raising."""
        with self.lock, self.place(source) as old, self.place(target) as new:
            entry = self._of_kind(old, directory=directory)
            same = new.found is not None and old.found is not None and os.path.samestat(new.found, old.found)
            other = None if new.found is None or same else self.entry(new)
            if not source or not target or new.path[: len(old.path)] == old.path != new.path:
                raise errors.FilesError("InvalidResourceName")
            for one in filter(None, (entry, other)):
                self._refuse_held(one)
            facts = permit(entry, other)
            # Onto itself only the casing changes, and that is the target's as sent.
            path = (*new.path[:-1], target[-1] if same else new.leaf)
            if other is not None and directory:
                os.unlink(new.leaf, dir_fd=new.folder)
            os.rename(old.leaf, path[-1], src_dir_fd=old.folder, dst_dir_fd=new.folder)
            if path != old.path:
                self.memory.move("/".join(old.path), "/".join(path))
            with self.place(path) as moved:
                return self.remember(moved, facts)

    def _of_kind(self, place: Place, *, directory: bool) -> entries.Entry:
        entry = self.entry(place)
        if entry.is_directory != directory:
            raise errors.FilesError("ResourceNotFound")
        return entry

    def _refuse_held(self, entry: entries.Entry) -> None:
        if self._held(self.folder.joinpath(*entry.path)):
            raise errors.FilesError("SharingViolation")

    def _descend(self, folder: int, name: str, walked: names.Parts) -> tuple[int, names.Parts]:
        actual = _match(folder, name)
        if actual is None:
            raise errors.FilesError("ParentNotFound")
        try:
            deeper = os.open(actual, _DIRECTORY, dir_fd=folder)
        except OSError as error:
            # A symbolic link is ENOTDIR or ELOOP, by platform.
            if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.ENOENT):
                raise
            raise errors.FilesError("ParentNotFound") from error
        # The caller closes what it is given, so the descriptor it had takes the new directory's place.
        os.dup2(deeper, folder, inheritable=False)
        os.close(deeper)
        return folder, (*walked, actual)

    def _place(self, folder: int, walked: names.Parts, path: names.Parts) -> Place:
        if not path:
            return Place(folder, (), os.stat(folder), None)
        actual = _match(folder, path[-1])
        parent = os.stat(folder).st_ino if walked else None
        if actual is None:
            return Place(folder, (*walked, path[-1]), None, parent)
        return Place(folder, (*walked, actual), _stat(folder, actual), parent)

    def _child(self, folder: int, directory: entries.Entry, name: str) -> entries.Entry | None:
        found = _stat(folder, name)
        if found is None:
            return None
        path = (*directory.path, name)
        parent = directory.facts.inode if directory.path else None
        return entries.entry(path, found, kept=self.memory.get("/".join(path)), parent=parent)


def permit_write(entry: entries.Entry, lease_id: str | None, now: int) -> None:
    """Raises where a lease or the read-only attribute forbids writing to the file or deleting it."""
    if not entry.is_directory:
        leases.permit(entry.facts.lease, now, given=lease_id, kind="File")
    if entry.is_read_only:
        raise errors.FilesError("ReadOnlyAttribute")


def _order(name: str) -> tuple[str, str]:
    return names.fold(name), name


def _match(folder: int, name: str) -> str | None:
    if _stat(folder, name) is not None:
        return name
    wanted = names.fold(name)
    return next((other for other in sorted(os.listdir(folder)) if names.fold(other) == wanted), None)


def _stat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _open_root(folder: Path) -> int:
    try:
        return os.open(folder, _DIRECTORY)
    except FileNotFoundError as error:
        raise errors.FilesError("ShareNotFound") from error


_CODES = {
    errno.ENOENT: "ResourceNotFound",
    errno.ENAMETOOLONG: "InvalidFileOrDirectoryPathName",
    errno.ENOTEMPTY: "DirectoryNotEmpty",
    errno.EEXIST: "ResourceAlreadyExists",
    errno.EISDIR: "ResourceAlreadyExists",
    errno.ELOOP: "ReadOnlyAttribute",
    errno.EFBIG: "OutOfRangeInput",
}


@contextmanager
def _translated() -> Iterator[None]:
    """Lets what a process did between two of our steps look as the service would answer it."""
    try:
        yield
    except OSError as error:
        code = _CODES.get(error.errno or 0)
        if code is None:
            raise
        raise errors.FilesError(code) from error
