"""Who may generate now, who waits, who is turned away. One gate for the API and the chat page alike.

A request holds a place and its tokens (prompt plus longest answer) of the engine's key/value cache. Waiting is
first come, first served, bounded in number and time. Runs on one event loop; takes no lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from inference import metrics


class Refused(Exception):
    """Not admitted; try again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Refused):
    """Too many are waiting, or it waited too long."""


class Draining(Refused):
    """The process is about to end."""


class Place:
    """The right to generate, until `release`, which may be called more than once."""

    def __init__(self, gate: Admission, tokens: int) -> None:
        self._gate = gate
        self.tokens = tokens
        self._since = time.monotonic()
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._gate._released(self.tokens, time.monotonic() - self._since)


class Admission:
    """`capacity` in tokens, taken in whole pages of `page`; `timeout` in seconds is how long one may wait."""

    def __init__(
        self, *, places: int, queue: int, timeout: float, capacity: int, page: int, measure: metrics.Metrics
    ) -> None:
        self._places = places
        self._queue = queue
        self._timeout = timeout
        self._capacity = capacity
        self._page = page
        self._measure = measure
        self._tokens = 0
        self._typical = 1.0
        self._waiting: deque[tuple[int, asyncio.Future[Place]]] = deque()
        self._closed = False
        self._held = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_flight = 0

    async def place(self, tokens: int) -> Place:
        """A place for `tokens` tokens. Raises Overloaded or Draining."""
        tokens = math.ceil(tokens / self._page) * self._page
        if self._closed:
            raise self._refusal(Draining("this replica is shutting down", retry_after=1), "draining")
        if not self._waiting and self._fits(tokens):
            return self._take(tokens)
        if len(self._waiting) >= self._queue:
            raise self._refusal(Overloaded("too many requests are waiting", retry_after=self._estimate()), "queue_full")
        return await self._wait(tokens)

    def close(self) -> None:
        """Admit nobody any more; those who wait are refused."""
        self._closed = True
        while self._waiting:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(Draining("this replica is shutting down", retry_after=1))
        self._show()

    def hold(self) -> None:
        """Let nobody in until `resume`; those who come wait their usual time."""
        self._held = True

    def resume(self) -> None:
        self._held = False
        self._admit()

    async def idle(self) -> None:
        """Returns once no place is taken."""
        await self._idle.wait()

    async def _wait(self, tokens: int) -> Place:
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.append((tokens, turn))
        self._show()
        try:
            async with asyncio.timeout(self._timeout):
                return await turn
        except TimeoutError:
            _forfeit(turn)
            message = f"no place became free in {self._timeout:g} s"
            raise self._refusal(Overloaded(message, retry_after=self._estimate()), "queue_timeout") from None
        except Draining as error:
            raise self._refusal(error, "draining") from None
        except asyncio.CancelledError:
            _forfeit(turn)
            raise
        finally:
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
            self._admit()

    def _fits(self, tokens: int) -> bool:
        return not self._held and self.in_flight < self._places and self._tokens + tokens <= self._capacity

    def _take(self, tokens: int) -> Place:
        self.in_flight += 1
        self._idle.clear()
        self._tokens += tokens
        self._show()
        return Place(self, tokens)

    def _released(self, tokens: int, seconds: float) -> None:
        self.in_flight -= 1
        self._tokens -= tokens
        self._typical = 0.8 * self._typical + 0.2 * seconds
        self._admit()
        if not self.in_flight:
            self._idle.set()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            tokens, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self._take(tokens))
        self._show()

    def _estimate(self) -> int:
        rounds = (len(self._waiting) + 1) / self._places
        return max(1, min(30, math.ceil(rounds * self._typical)))

    def _refusal(self, error: Refused, reason: str) -> Refused:
        self._measure.rejected.labels(reason).inc()
        return error

    def _show(self) -> None:
        self._measure.in_flight.set(self.in_flight)
        self._measure.queued.set(len(self._waiting))


def _forfeit(turn: asyncio.Future[Place]) -> None:
    """Give back a place that was given in the very turn of the loop in which its taker gave up."""
    if turn.done() and not turn.cancelled() and turn.exception() is None:
        turn.result().release()
