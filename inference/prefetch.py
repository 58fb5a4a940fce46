"""Reads weight files ahead into the page cache, many blocks at once: mapped from a network share, they would
otherwise be fetched page by page, as they are touched. Holds one block per thread; what it can't read, the loader will
complain about.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from inference import logs

_LOG = logging.getLogger("inference.load")
BLOCK = 8 * 1024 * 1024
THREADS = 8
_SHARE = 0.8
_CGROUP = Path("/sys/fs/cgroup/memory.max")


class Prefetch:
    """A running read of `files`. `wait` returns when it ended; it never fails."""

    def __init__(self, files: Sequence[Path], *, room: int | None = None) -> None:
        """`room`: bytes the page cache can hold; by default 80 % of the memory that is free."""
        self._files = tuple(files)
        self._room = int(memory() * _SHARE) if room is None else room
        self.bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="prefetch")
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        try:
            sizes = {path: path.stat().st_size for path in self._files}
            if sum(sizes.values()) > self._room:
                # The end of the files would push their beginning out again.
                logs.event(_LOG, "prefetch_skipped", bytes=sum(sizes.values()), room=self._room)
                return
            blocks = [(path, at) for path, size in sizes.items() for at in range(0, size, BLOCK)]
            with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
                self.bytes = sum(pool.map(_touch, blocks))
        except OSError as error:
            logs.event(_LOG, "prefetch_failed", level=logging.WARNING, error=str(error))
            return
        logs.event(_LOG, "prefetched", bytes=self.bytes, seconds=round(time.monotonic() - started, 3))


def _touch(block: tuple[Path, int]) -> int:
    path, at = block
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return len(os.pread(descriptor, BLOCK, at))
    finally:
        os.close(descriptor)


def memory() -> int:
    """Bytes of memory that are free for this process, its container's limit taken into account."""
    import psutil  # type: ignore[import-untyped]

    free: int = psutil.virtual_memory().available
    try:
        limit = _CGROUP.read_text().strip()
    except OSError:
        return free
    return min(free, int(limit)) if limit.isdecimal() else free
