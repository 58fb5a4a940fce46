"""What containers print: lines with the time they were read, kept on disk within bounds, to tail and to follow.

One `Log` belongs to one container of one replica. It knows nothing of processes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path

ROTATE_BYTES = 4 * 1024 * 1024
LINE_BYTES = 64 * 1024
ENDED_REPLICAS = 5

Line = tuple[datetime, str]


class Log:
    """A container's log: `path`, and `path` + `.1` with what was rotated away, each at most `rotate` bytes."""

    def __init__(self, path: Path, *, now: Callable[[], datetime], rotate: int = ROTATE_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._older = path.with_name(path.name + ".1")
        self._now = now
        self._rotate = rotate
        self._file = path.open("ab")
        self._generation = 0
        self._news = asyncio.Event()
        self._ended = False

    def write(self, lines: list[str]) -> None:
        """Append `lines`; ignored once the log has ended."""
        if self._ended or not lines:
            return
        stamp = self._now().isoformat()
        for line in "\n".join(lines).split("\n"):
            if self._file.tell() > self._rotate:
                self._turn()
            self._file.write(f"{stamp} {line}\n".encode(errors="replace"))
        self._file.flush()
        self._wake()

    def end(self) -> None:
        """No more lines will come: followers finish."""
        if not self._ended:
            self._ended = True
            self._file.close()
            self._wake()

    def delete(self) -> None:
        self.end()
        self.path.unlink(missing_ok=True)
        self._older.unlink(missing_ok=True)

    async def read(self, *, tail: int, follow: bool) -> AsyncIterator[Line]:
        """The last `tail` lines, then with `follow` each new one until the log ends."""
        generation, offset = self._generation, self.path.stat().st_size if self.path.exists() else 0
        kept = [*_lines(self._older, 0), *_lines(self.path, 0)]
        for line in kept[-tail:] if tail > 0 else []:
            yield line
        while follow:
            news = self._news
            if generation < (current := self._generation):
                # After two rotations lines are lost: a follower that slow reads what is left.
                for line in _lines(self._older, offset if generation + 1 == current else 0):
                    yield line
                generation, offset = current, 0
                continue
            fresh = list(_lines(self.path, offset))
            offset = self.path.stat().st_size if self.path.exists() else offset
            for line in fresh:
                yield line
            if self._ended and not fresh:
                return
            if not fresh:
                await news.wait()

    def _turn(self) -> None:
        self._file.close()
        self.path.replace(self._older)
        self._file = self.path.open("ab")
        self._generation += 1

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _lines(path: Path, offset: int) -> Iterator[Line]:
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    for line in data.decode(errors="replace").split("\n")[:-1]:
        stamp, _, text = line.partition(" ")
        yield datetime.fromisoformat(stamp), text


class Shelf:
    """All logs of one runtime, under `root`: of the running replicas, and of the last few ended of each revision."""

    def __init__(self, root: Path, *, now: Callable[[], datetime], ended: int = ENDED_REPLICAS) -> None:
        self._root = root
        self._now = now
        self._limit = ended
        self._logs: dict[tuple[str, str], dict[str, Log]] = {}
        self._ended: dict[str, list[str]] = {}

    def open(self, key: str, replica: str, container: str) -> Log:
        """The log of a container about to start."""
        folder = self._root / re.sub(r"[^\w.-]+", "_", key) / replica
        log = Log(folder / f"{container}.log", now=self._now)
        self._logs.setdefault((key, replica), {})[container] = log
        return log

    def find(self, key: str, replica: str, container: str) -> Log:
        """Raises KeyError when there is no such container, or not any more."""
        return self._logs[key, replica][container]

    def end(self, key: str, replica: str) -> None:
        """The replica has ended; its logs stay until newer ones push them out."""
        for log in self._logs.get((key, replica), {}).values():
            log.end()
        ended = self._ended.setdefault(key, [])
        ended.append(replica)
        while len(ended) > self._limit:
            for log in self._logs.pop((key, ended.pop(0)), {}).values():
                log.delete()


class Splitter:
    """Cuts a stream of bytes into lines; a line over 64 KiB comes in pieces."""

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines completed by `data`."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in whole for piece in self._cut(line)]
        while len(self._rest) > self._limit:
            pieces.append(self._rest[: self._limit])
            self._rest = self._rest[self._limit :]
        return [_text(piece) for piece in pieces]

    def end(self) -> list[str]:
        """What was left without a newline."""
        rest, self._rest = self._rest, b""
        return [_text(piece) for piece in self._cut(rest)] if rest else []

    def _cut(self, line: bytes) -> list[bytes]:
        return [line[at : at + self._limit] for at in range(0, max(1, len(line)), self._limit)]


def _text(line: bytes) -> str:
    # A carriage return inside a line (a progress bar) stays; splitlines() elsewhere must not see it as an end.
    return line.decode(errors="replace").removesuffix("\r")
