"""Looks at one object, again and again, whenever it is due or asked for. It keeps nothing but the count of failures in
a row, and must not know what a look is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from controller import settings, signals
from controller.status import store, summarize
from controller.telemetry import workqueue

log = structlog.get_logger()

SPREAD = 0.05
"""Pauses vary by this share, so that objects that once met don't stay together."""

SLOW_FIRST = 30.0
"""Seconds after which a failure that only somebody can mend is looked at again for the first time: a role that was just
granted takes minutes to work. Doubled each time, up to the pause that the pass asked for."""

Look = Callable[[store.Key], Awaitable[summarize.Requeue]]


def pause(requeue: summarize.Requeue, failures: int, *, backoff: settings.Backoff, chance: float) -> float | None:
    """Seconds to wait before the next look; None for "until asked". `failures` in a row, this one included;
    `chance` in 0..1 sets the jitter. What Azure told to wait is never cut short."""
    swing = 2 * chance - 1
    if requeue.kind == "slow" and requeue.after is not None:
        slowly = SLOW_FIRST * 2.0 ** min(max(0, failures - 1), 32)
        return min(requeue.after, slowly) * (1 + SPREAD * swing)
    if requeue.kind == "interval" and requeue.after is not None:
        return requeue.after * (1 + SPREAD * swing)
    if requeue.kind == "told" and requeue.after is not None:
        return requeue.after * (1 + SPREAD * chance)
    return requeue.pause(backoff=backoff.delay(max(1, failures)) * (1 + backoff.jitter * swing))


class Seats:
    """So many looks at a time. Who goes on with something that is under way comes before who only looks."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._first: dict[store.Key, asyncio.Future[None]] = {}
        self._rest: dict[store.Key, asyncio.Future[None]] = {}

    async def take(self, key: store.Key, *, first: bool) -> None:
        """Wait for a seat; each key waits for one at most."""
        if self._free:
            self._free -= 1
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._first if first else self._rest)[key] = given
        try:
            await given
        except asyncio.CancelledError:
            self._first.pop(key, None)
            self._rest.pop(key, None)
            if not given.cancelled():
                self.give_back()
            raise

    def prefer(self, key: store.Key) -> None:
        """One that waits, if it does, goes on with something."""
        if key in self._rest:
            self._first[key] = self._rest.pop(key)

    def give_back(self) -> None:
        for line in (self._first, self._rest):
            while line:
                given = line.pop(next(iter(line)))
                if not given.done():
                    given.set_result(None)
                    return
        self._free += 1


class Worker:
    """Looks at one object, again and again, whenever it is due or asked for. `seats` limits how many look at a time;
    `queue` is told of each."""

    def __init__(
        self,
        key: store.Key,
        look: Look,
        *,
        backoff: settings.Backoff,
        seats: Seats,
        queue: workqueue.Queue,
    ) -> None:
        self.key = key
        self._look = look
        self._queue = queue
        self._backoff = backoff
        self._seats = seats
        self._first = False
        self._asked = asyncio.Event()
        self._failures = 0
        self._looking = False
        self._ending = False
        self._task = asyncio.create_task(self._run(), name="/".join(key))

    @property
    def stopped(self) -> bool:
        """Whether it ended without being told to."""
        return self._task.done() and not self._ending

    def ask(self, *, first: bool = False) -> None:
        """Look as soon as possible; `first`: before those that only look."""
        if first:
            self._first = True
            self._seats.prefer(self.key)
        self._queue.asked(self.key)
        self._asked.set()

    def end(self) -> asyncio.Task[None]:
        """Let the look in hand end, begin no other; gives what to wait for."""
        self._ending = True
        if not self._looking:
            self._task.cancel()
        return self._task

    async def _run(self) -> None:
        while not self._ending:
            self._queue.asked(self.key)
            requeue = await self._one_look()
            self._first = self._first or requeue.kind == "poll"
            self._failures = self._failures + 1 if requeue.kind in ("backoff", "slow") else 0
            wait = pause(requeue, self._failures, backoff=self._backoff, chance=random.random())
            if not self._ending:
                await signals.waited(self._asked, wait)

    async def _one_look(self) -> summarize.Requeue:
        """A look that breaks is tried again like any failure: a worker lives as long as its object."""
        requeue = summarize.Requeue("backoff", None)
        await self._seats.take(self.key, first=self._first)
        self._looking, self._first = True, False
        self._asked.clear()
        self._queue.begun(self.key)
        try:
            requeue = await self._look(self.key)
        except Exception:
            log.exception("look failed", kind=self.key[0], name=self.key[1])
        finally:
            self._queue.ended(self.key, retry=requeue.kind == "backoff")
            self._looking = False
            self._seats.give_back()
        return requeue
