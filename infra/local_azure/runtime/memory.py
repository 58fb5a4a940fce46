"""How much memory each container's processes take, looked at a few times a second, and who takes too much.

Documented: a container over its memory is ended by the kernel. There are no cgroups here, so what counts is the memory
of its session that isn't a file's; pages shared after a fork count more than once. Without /proc nothing is limited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from infra.local_azure.runtime import groups

LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class _Limit:
    most: int
    exceeded: Callable[[int], None]


class Limits:
    """The limits of every container; `add` and `remove` by its session, which is its first process's id."""

    def __init__(self) -> None:
        self._limits: dict[int, _Limit] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, session: int, most: int, exceeded: Callable[[int], None]) -> None:
        """`exceeded` is called, with the bytes taken, at each look at which they are more than `most`."""
        self._limits[session] = _Limit(most, exceeded)
        if self._task is None:
            self._task = asyncio.create_task(self._look())

    def remove(self, session: int) -> None:
        self._limits.pop(session, None)

    async def close(self) -> None:
        self._limits.clear()
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])

    async def _look(self) -> None:
        while True:
            taken = await asyncio.to_thread(groups.memory, frozenset(self._limits)) if self._limits else {}
            for session, size in taken.items():
                limit = self._limits.get(session)
                if limit is not None and size > limit.most:
                    limit.exceeded(size)
            await asyncio.sleep(LOOK_EVERY_S)
