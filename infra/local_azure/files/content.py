"""The bytes of one share's files: making, writing, clearing, resizing and reading them.

A file has its full length, of zeros that take no room, before its ranges arrive; they may arrive in any
order and side by side. All calls block; none may be made on the event loop.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from infra.local_azure.files import entries, errors, names, tree

LARGEST_FILE = 4 * 1024**4
LARGEST_RANGE = 4 * 1024**2
_ZEROS = bytes(1024**2)
_PUNCH_HOLE = 0x02 | 0x01
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

Make = Callable[[entries.Entry], entries.Facts]
"""The facts a file is to have, given what it was; raises to refuse."""


@dataclass(frozen=True)
class Opened:
    """A file open for reading. `descriptor` is the caller's to close."""

    entry: entries.Entry
    descriptor: int


def create(
    share: tree.Tree,
    path: names.Parts,
    size: int,
    *,
    permit: Callable[[entries.Entry], None],
    make: Callable[[entries.Entry | None], entries.Facts],
    data: bytes = b"",
) -> entries.Entry:
    """A file of `size` bytes that begin with `data`, in place of a file that was there, if `permit` lets it.

    `make` gives its facts, told what it replaces. Raises FilesError ParentNotFound, ResourceAlreadyExists
    over a directory (recorded), OutOfRangeInput.
    """
    _check_size(size)
    with share.lock, share.place(path) as place:
        old = None if place.found is None else share.entry(place)
        if old is not None:
            if old.is_directory:
                raise errors.FilesError("ResourceAlreadyExists")
            if old.is_link:
                os.unlink(place.leaf, dir_fd=place.folder)
            else:
                permit(old)
        facts = make(old)
        descriptor = os.open(place.leaf, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _OPEN, 0o666, dir_fd=place.folder)
        try:
            os.ftruncate(descriptor, size)
            _write_all(descriptor, 0, data)
        finally:
            os.close(descriptor)
        return share.remember(place, facts)


def write(share: tree.Tree, path: names.Parts, start: int, data: bytes, make: Make) -> entries.Entry:
    """Put `data` at `start`; raises FilesError InvalidRange (416) where it would pass the file's end."""
    return _write(share, path, start + len(data), make, lambda descriptor: _write_all(descriptor, start, data))


def clear(share: tree.Tree, path: names.Parts, start: int, end: int, make: Make) -> entries.Entry:
    """Make zeros of the bytes from `start` to before `end`, giving their room back where that can be done."""
    return _write(share, path, end, make, lambda descriptor: _clear(descriptor, start, end))


def resize(share: tree.Tree, path: names.Parts, size: int, make: Make) -> entries.Entry:
    """Cut the file, or lengthen it by zeros."""
    _check_size(size)
    return _write(share, path, 0, make, lambda descriptor: os.ftruncate(descriptor, size))


def open_(share: tree.Tree, path: names.Parts) -> Opened:
    """The file at `path`, for reading; a link reads as empty."""
    with share.lock, share.place(path) as place:
        entry = share.entry(place)
        if entry.is_directory:
            raise errors.FilesError("ResourceNotFound")
        if entry.is_link:
            return Opened(entry, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        return Opened(entry, os.open(place.leaf, os.O_RDONLY | _OPEN, dir_fd=place.folder))


def ranges(opened: Opened, start: int, end: int) -> list[tuple[int, int]]:
    """The ranges that hold data, as (first byte, last byte), within `start` to before `end`.

    As fine as the file system's blocks are; the service's pages are of 512 bytes (documented).
    """
    found: list[tuple[int, int]] = []
    at, end = start, min(end, opened.entry.size)
    while at < end:
        try:
            first = os.lseek(opened.descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        at = os.lseek(opened.descriptor, first, os.SEEK_HOLE)
        if first < end:
            found.append((first, min(at, end) - 1))
    return found


def _write(share: tree.Tree, path: names.Parts, end: int, make: Make, act: Callable[[int], None]) -> entries.Entry:
    """Acts on the open file as one step, once `make` allows it and `end` lies within the file."""
    with share.lock, share.place(path) as place:
        entry = share.entry(place)
        if entry.is_directory:
            raise errors.FilesError("ResourceNotFound")
        facts = make(entry)
        if end > entry.size:
            raise errors.FilesError("InvalidRange")
        descriptor = os.open(place.leaf, os.O_WRONLY | _OPEN, dir_fd=place.folder)
        try:
            act(descriptor)
        finally:
            os.close(descriptor)
        return share.remember(place, facts)


def _clear(descriptor: int, start: int, end: int) -> None:
    if not _punched(descriptor, start, end - start):
        for at in range(start, end, len(_ZEROS)):
            _write_all(descriptor, at, _ZEROS[: end - at])


def _check_size(size: int) -> None:
    if not 0 <= size <= LARGEST_FILE:
        raise errors.FilesError("OutOfRangeInput")


def _write_all(descriptor: int, start: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, start)
        view, start = view[written:], start + written


def _punched(descriptor: int, start: int, length: int) -> bool:
    """Whether the file system made a hole of the range; only Linux is asked."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    offset = ctypes.c_longlong
    return bool(libc.fallocate(descriptor, _PUNCH_HOLE, offset(start), offset(length)) == 0)
