"""Which of several controllers writes: the one that holds a timed lease on a share of its own.

It is a lease and no lock: what it is worth is counted by a clock that goes on while the process is stopped or the
machine asleep, from just before the request that got it, and looked at just before each write. Between that look and
Azure lies `MARGIN`. What a controller does with leading, or without, is its loop's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn, Protocol

import structlog

from controller import settings
from controller.cloud import lease as leases
from controller.model import conditions, moments, outcome

log = structlog.get_logger()

RENEWALS = 3
"""The lease is renewed so many times before it would run out."""

MARGIN = 0.2
"""The share of a lease in which nothing is written any more: for clocks that go at different speeds, and for the way
from here to Azure."""

POLL = 2.0
"""Seconds between attempts to get the lease, and to renew it after one that failed."""

State = Literal["single", "leading", "standby"]


def boottime() -> float:
    """Seconds since the machine started, also those in which it slept. macOS has no clock of that name; its monotonic
    one does the same (documented: clock_gettime(3))."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease(Protocol):
    """What `cloud.lease.Lease` offers. Every call raises OutcomeError where it can't be answered."""

    async def look(self) -> leases.Held | None: ...

    async def acquire(self, *, seconds: int, name: str, now: datetime) -> bool: ...

    async def renew(self) -> bool: ...

    async def release(self) -> None: ...


class HeldError(Exception):
    """Somebody else leads; the message names them."""


@dataclass(frozen=True)
class Leader:
    """`single`: nobody is elected, this one writes. `holder` is who leads and `since` when, where known."""

    state: State
    holder: str | None = None
    since: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        since = moments.rfc3339(self.since) if self.since else None
        return {"state": self.state, "holder": self.holder, "since": since}


class Election:
    """One candidate. Without a `lease` it always leads. `duration` is in seconds; `told` hears of each change.

    `clock` counts seconds and never stops; `now` tells the time; `pause` waits.
    """

    def __init__(
        self,
        lease: Lease | None = None,
        *,
        duration: float = settings.SHORTEST_LEASE,
        told: Callable[[bool], None] = lambda leading: None,
        clock: Callable[[], float] = boottime,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._lease = lease
        self._duration = round(duration)
        self._told = told
        self._clock = clock
        self._now = now
        self._pause = pause
        self._until = float("-inf")
        self._since: datetime | None = None
        self._other: leases.Held | None = None
        self._trouble: str | None = None
        self._decided = lease is None
        told(self.leading)

    @property
    def single(self) -> bool:
        """Whether nobody is elected."""
        return self._lease is None

    @property
    def leading(self) -> bool:
        """Whether this one may write, now."""
        return self._lease is None or self._clock() < self._until

    @property
    def leader(self) -> Leader:
        if self._lease is None:
            return Leader("single")
        if self.leading:
            return Leader("leading", self.name, self._since)
        return Leader("standby", self._other.holder or None, self._other.since) if self._other else Leader("standby")

    @property
    def undecided(self) -> str | None:
        """Why it isn't known yet who leads; None once it is."""
        return None if self._decided else self._trouble or "the lease was not asked for yet"

    def standing(self) -> str:
        """Why this one doesn't write, in words."""
        holder = self.leader.holder
        if self._trouble:
            return f"the lease can't be had: {self._trouble}"
        return f"{holder} leads, this controller stands by" if holder else "this controller stands by"

    def fence(self) -> None:
        """Raises OutcomeError unless this one may write, now."""
        if not self.leading:
            raise outcome.OutcomeError(outcome.Waiting(conditions.Reason.NOT_LEADER, self.standing()))

    async def run(self, *, lead: Callable[[], None], stand_by: Callable[[], Awaitable[None]]) -> NoReturn:
        """Lead whenever it can be had, until cancelled. `lead` is called each time it was; `stand_by` when it was lost,
        and ends only once nothing goes on that was begun before: who leads again must not carry out an old plan."""
        while True:
            if await self._tried():
                lead()
                await self._kept()
                await stand_by()
            await self._pause(POLL)

    async def release(self) -> None:
        """Let another lead at once. Nothing may be written any more when this is called."""
        held, self._until = self.leading and not self.single, float("-inf")
        if self._lease is not None and held:
            try:
                async with self._answered():
                    await self._lease.release()
            except outcome.OutcomeError as error:
                log.warning("the lease wasn't released; it runs out by itself", problem=str(error))
            self._told(False)

    @contextlib.asynccontextmanager
    async def held(self, lost: Callable[[], None]) -> AsyncIterator[None]:
        """Lead while inside; `lost` is called where that ends too soon. Raises HeldError where another leads, and
        OutcomeError where the lease can't be asked for."""
        if self._lease is None:
            yield
            return
        if not await self._acquired(self._lease):
            raise HeldError(self.standing())

        async def keep() -> None:
            await self._kept()
            lost()

        task = asyncio.create_task(keep(), name="lease")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.release()

    @property
    def _patience(self) -> float:
        """Seconds that one attempt may take."""
        return self._duration / RENEWALS

    @contextlib.asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        """An answer that doesn't come is an outcome like any other."""
        try:
            async with asyncio.timeout(self._patience):
                yield
        except TimeoutError:
            told = f"the lease's share gave no answer in {self._patience:g} s"
            raise outcome.OutcomeError(outcome.Transient(conditions.Reason.TIMEOUT, told)) from None

    async def _tried(self) -> bool:
        """Whether it leads now. What is in the way is told when it changes, not each time."""
        assert self._lease is not None, "who is single needs no lease"
        try:
            return await self._acquired(self._lease)
        except outcome.OutcomeError as error:
            self._note(str(error))
            return False

    async def _acquired(self, lease: Lease) -> bool:
        known = self._other
        async with self._answered():
            self._other = await lease.look()
            began, now = self._clock(), self._now()
            mine = self._other is not None and self._other.holder == self.name
            got = (mine or self._other is None) and await lease.acquire(seconds=self._duration, name=self.name, now=now)
        self._note(None)
        self._decided = True
        if got:
            self._until, self._since = self._valid(began), now
            log.info("leading", holder=self.name, seconds=self._duration)
            self._told(True)
        elif self._other and self._other != known:
            log.info("standing by", holder=self._other.holder)
        return got

    async def _kept(self) -> None:
        """Renew the lease until it is lost."""
        assert self._lease is not None, "who is single needs no lease"
        wait = self._patience
        while self.leading:
            await self._pause(max(0.0, min(wait, self._until - self._clock())))
            if self.leading:
                wait = self._patience if await self._renewed(self._lease) else POLL
        self._until = float("-inf")
        log.warning("no longer leading", holder=self.name, problem=self._trouble or "the lease ran out or was taken")
        self._told(False)

    async def _renewed(self, lease: Lease) -> bool:
        began = self._clock()
        try:
            async with self._answered():
                kept = await lease.renew()
        except outcome.OutcomeError as error:
            self._note(str(error))
            return False
        self._note(None)
        # Once it was over, work was let go: it is begun anew, not gone on with.
        kept = kept and self.leading
        self._until = self._valid(began) if kept else float("-inf")
        return kept

    def _valid(self, began: float) -> float:
        return began + self._duration * (1 - MARGIN)

    def _note(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                log.warning("the lease can't be asked for", problem=trouble)
            else:
                log.info("the lease can be asked for again")
