"""Requests to one Azure Files share: how many at once, with which key, and how often they are repeated.

The SDK's own retries are off, because one 500 makes them pause for 15 s. A request is repeated here, a few times and
visibly; then its outcome is the caller's. What is asked for is none of its business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity
from azure.storage.fileshare.aio import ShareClient

from controller.cloud import answers
from controller.model import conditions, outcome

Value = TypeVar("Value")
Call = Callable[[ShareClient], Awaitable[Value]]

# Requests in flight for one share; each may hold a range in memory.
IN_FLIGHT = 8
ATTEMPTS = 5


@dataclass(frozen=True)
class Pace:
    """Pauses between attempts, in seconds: exponential with jitter from `first` up to `longest`."""

    first: float = 0.5
    longest: float = 8.0


class Calls:
    """At most IN_FLIGHT requests at a time, however many calls are made."""

    def __init__(self, clients: list[ShareClient], *, host: str, pace: Pace) -> None:
        """`clients` differ by key only, the preferred one first; at least one."""
        self._clients = clients
        self._host = host
        self._pace = pace
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    async def present(self, call: Call[Value]) -> Value | None:
        """As `run`, with None for a 404."""
        try:
            return await self.run(call)
        except answers.Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def run(self, call: Call[Value]) -> Value:
        """One request, repeated while it fails in a way that passes by itself."""
        first, longest = self._pace.first, self._pace.longest
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_passes),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=first, max=longest) + tenacity.wait_random(0, first),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                return await self.once(call)
        raise AssertionError("tenacity reraises")

    async def once(self, call: Call[Value]) -> Value:
        """One request."""
        async with self._slots:
            return await self._keyed(call)

    async def _keyed(self, call: Call[Value]) -> Value:
        """The call with the key in use, and once with the next one: keys are rotated one at a time."""
        client = self._clients[0]
        try:
            return await answers.judged(call(client), host=self._host)
        except answers.Refused as refused:
            if refused.status != 403 or refused.code != "AuthenticationFailed":
                raise
            if self._clients[0] is client:
                if len(self._clients) == 1:
                    raise
                self._clients.pop(0)
                await client.close()
        return await answers.judged(call(self._clients[0]), host=self._host)


def _passes(error: BaseException) -> bool:
    if not isinstance(error, outcome.OutcomeError) or not isinstance(error.outcome, outcome.Transient):
        return False
    return error.outcome.reason in (conditions.Reason.AZURE_ERROR, conditions.Reason.CONNECTION_FAILED)
