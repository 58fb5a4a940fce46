"""Tells receivers what changed, in the background: nobody who has something to tell ever waits for one.

It must not know what is worth telling. Each receiver has its own queue, in which the latest message about a thing takes
the place of earlier ones; what can't be delivered after some tries is dropped, logged once and counted.
"""

from __future__ import annotations

import asyncio
import email.utils
import uuid
from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

import aiohttp
import structlog
import tenacity

from controller.telemetry import receivers

log = structlog.get_logger()

MOST_PENDING = 1000
REQUEST_SECONDS = 10.0
TRIES = 8
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
MOST_TOLD_PAUSE = 3600.0
"""A receiver that asks for a longer pause is asked again after this one."""

LEAVE_SECONDS = 1.0
Result = Literal["sent", "dropped"]
Count = Callable[[str, Result, int], None]
Sleep = Callable[[float], Awaitable[None]]


class Notifier:
    """One background sender per receiver while inside. Leaving gives what is pending LEAVE_SECONDS.

    `count` is told the receiver's name, what became of messages, and how many they were. `sleep` takes seconds.
    """

    def __init__(
        self,
        to: Sequence[receivers.Receiver],
        session: aiohttp.ClientSession,
        *,
        count: Count,
        sleep: Sleep = asyncio.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._outboxes = [_Outbox(one, session, count=count, sleep=sleep, now=now) for one in to]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(one.run(), name=f"notify {one.name}") for one in self._outboxes]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.gather(*(one.emptied() for one in self._outboxes))
        except TimeoutError:
            pass
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for one in self._outboxes:
                one.abandon()

    def put(self, message: receivers.Message) -> None:
        """Tell `message` to those who take its kind. Never waits, never fails."""
        for one in self._outboxes:
            one.put(message)


class _UndeliveredError(Exception):
    """A request came to nothing. `why` names no address; `after` is the pause in seconds that was asked for."""

    def __init__(self, why: str, *, again: bool, after: float = 0.0) -> None:
        super().__init__(why)
        self.again = again
        self.after = after


class _Outbox:
    """What one receiver is still to be told, by what it is about, oldest first."""

    def __init__(
        self,
        receiver: receivers.Receiver,
        session: aiohttp.ClientSession,
        *,
        count: Count,
        sleep: Sleep,
        now: Callable[[], datetime],
    ) -> None:
        self.name = receiver.name
        self._receiver = receiver
        self._session = session
        self._count = count
        self._sleep = sleep
        self._now = now
        self._pending: dict[Hashable, receivers.Entry] = {}
        self._batch: Sequence[receivers.Entry] = ()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, message: receivers.Message) -> None:
        if not isinstance(message, self._receiver.takes):
            return
        self._pending[message.key] = receivers.Entry(f"msg_{uuid.uuid4().hex}", message)
        if len(self._pending) > MOST_PENDING:
            self._drop([next(iter(self._pending.values()))], "too many wait")
        self._empty.clear()
        self._filled.set()

    async def emptied(self) -> None:
        """Wait until nothing is pending."""
        await self._empty.wait()

    def abandon(self) -> None:
        """Give up what is still pending."""
        if self._pending:
            self._drop(tuple(self._pending.values()), "the controller ends")

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            await self._deliver()
            if not self._pending:
                self._filled.clear()
                self._empty.set()
            else:
                await self._sleep(self._receiver.pause)

    async def _deliver(self) -> None:
        """Deliver what stands first. Between tries newer messages take the place of those they outdate."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, _UndeliveredError) and error.again),
            wait=_pause,
            stop=tenacity.stop_after_attempt(TRIES),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            await retrying(self._try)
        except _UndeliveredError as error:
            self._drop(self._batch, str(error))

    async def _try(self) -> None:
        self._batch = list(self._pending.values())[: self._receiver.at_once]
        await self._send(self._batch)
        self._forget(self._batch)
        self._count(self.name, "sent", len(self._batch))

    async def _send(self, batch: Sequence[receivers.Entry]) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await asyncio.to_thread(self._receiver.request, batch, now=self._now())
                async with self._session.post(
                    request.url, data=request.body, headers=request.headers, allow_redirects=False
                ) as answer:
                    _judge(answer, now=self._now())
        except receivers.ReceiverError as error:
            raise _UndeliveredError(str(error), again=False) from None
        except _UndeliveredError:
            raise
        # Whatever it is, a sender that died would be silent for good. Only the kind is told: messages may hold the
        # address.
        except Exception as error:
            raise _UndeliveredError(type(error).__name__, again=True) from None

    def _drop(self, batch: Sequence[receivers.Entry], why: str) -> None:
        self._forget(batch)
        self._count(self.name, "dropped", len(batch))
        log.error("notifications dropped", receiver=self.name, why=why, messages=len(batch))

    def _forget(self, batch: Sequence[receivers.Entry]) -> None:
        for entry in batch:
            if self._pending.get(entry.message.key) is entry:
                del self._pending[entry.message.key]


def _judge(answer: aiohttp.ClientResponse, *, now: datetime) -> None:
    """Success is any 2xx. What was refused for good isn't tried again, unless the answer says when to."""
    if 200 <= answer.status < 300:
        return
    after = _retry_after(answer.headers.get("Retry-After", ""), now=now)
    again = answer.status in (408, 425, 429) or answer.status >= 500 or after > 0
    raise _UndeliveredError(f"HTTP {answer.status}", again=again, after=after)


def _retry_after(value: str, *, now: datetime) -> float:
    """Seconds; the header has a number of them or a date. 0 where it says neither."""
    if value.strip().isdecimal():
        return min(float(value), MOST_TOLD_PAUSE)
    try:
        told = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return min(max((told - now).total_seconds(), 0.0), MOST_TOLD_PAUSE)


_growing = tenacity.wait_exponential_jitter(initial=FIRST_PAUSE, max=LONGEST_PAUSE, jitter=FIRST_PAUSE)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    told = error.after if isinstance(error, _UndeliveredError) else 0.0
    return max(_growing(state), told)
