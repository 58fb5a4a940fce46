"""ARM's token buckets, kept on our side: a request waits for its turn instead of being refused.

Each subscription has a bucket for reads, writes and deletes, as ARM has for each of its principals. What ARM tells of
them lowers ours, because others may draw from them too. It sends nothing and judges no answer.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from controller.cloud import buckets
from controller.model import conditions, outcome

LONGEST_WAIT = 20.0
"""Seconds that a request waits for its turn; one that would wait longer is handed back to be made later."""

PAUSE = 2.0
"""Seconds after a 429 that doesn't say how long (recorded: arm-429-throttled says two in its text)."""

REMAINING = "x-ms-ratelimit-remaining-subscription-"
RESOURCE_REQUESTS = "resource-requests"
"""The bucket that writes of some types are counted in as well, each type's its own."""

_PURPOSES = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
_PROVIDER = re.compile(r"/providers/([^/]+)/(.+)")


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Clock:
    """Seconds that only go forward, and a pause in them."""

    now: Callable[[], float] = _loop_time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True)
class Target:
    """What a request to ARM draws from. `purpose` is reads, writes or deletes; `type` the resource's outermost, e.g.
    `microsoft.app/containerapps`, empty for groups; `route` that and all below it with the method, without names."""

    subscription: str
    purpose: str
    type: str
    route: str


def target(method: str, url: URL) -> Target | None:
    """None for what isn't asked of a subscription."""
    segments = url.path.lower().strip("/").split("/")
    if len(segments) < 2 or segments[0] != "subscriptions":
        return None
    found = _PROVIDER.search(url.path.lower())
    types = found[2].split("/")[0::2] if found else []
    kind = f"{found[1]}/{types[0]}" if found else ""
    return Target(segments[1], _PURPOSES.get(method, "writes"), kind, f"{method} {kind} {'/'.join(types[1:])}")


class Heard(Protocol):
    """Takes one wait: `bucket` is reads, writes, deletes or `RESOURCE_REQUESTS`, `seconds` how long it took."""

    def __call__(self, bucket: str, *, seconds: float) -> None: ...


class Pacing:
    """The buckets of every subscription that is asked for something."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._queues: dict[tuple[str, str, str], _Queue] = {}
        self._counted: set[tuple[str, str]] = set()
        self._listeners: list[Heard] = []

    def listen(self, heard: Heard) -> None:
        """Call `heard` after each wait, in the event loop."""
        self._listeners.append(heard)

    async def turn(self, wanted: Target) -> Turn:
        """Wait until a request may go out. Raises OutcomeError where that takes too long."""
        turn = Turn()
        try:
            for queue in self._drawn(wanted, turn):
                turn.add(queue, await queue.turn())
        except BaseException:
            turn.give_back()
            raise
        return turn

    def answered(self, wanted: Target, turn: Turn, headers: Mapping[str, str]) -> None:
        """ARM's own count, from an answer's headers with lower-case names. The turn must have ended."""
        for name, left in _remaining(headers).items():
            if name == wanted.purpose:
                turn.told(self._general(wanted), left)
            elif name == RESOURCE_REQUESTS and wanted.type:
                self._counted.add((wanted.subscription, wanted.route))
                turn.told(self._of_type(wanted), left)

    def refused(self, turn: Turn, headers: Mapping[str, str], after: float | None) -> None:
        """A 429. Where it names empty buckets only those are closed for `after` seconds, else all that it drew from."""
        empty = {name for name, left in _remaining(headers).items() if left <= 0}
        turn.close(empty, PAUSE if after is None else after)

    def _drawn(self, wanted: Target, turn: Turn) -> list[_Queue]:
        """The type's own bucket goes first: waiting for it must not use up what all have in common. Until it is known
        what is counted in it, everything is that could be."""
        queues = [self._general(wanted)]
        if wanted.purpose == "writes" and wanted.type:
            own = self._of_type(wanted)
            if (wanted.subscription, wanted.route) in self._counted or not own.bucket.sized:
                queues.insert(0, own)
            else:
                turn.add(own, own.bucket.seen())
        return queues

    def _general(self, wanted: Target) -> _Queue:
        return self._queue(wanted, wanted.purpose, "")

    def _of_type(self, wanted: Target) -> _Queue:
        return self._queue(wanted, RESOURCE_REQUESTS, wanted.type)

    def _queue(self, wanted: Target, name: str, kind: str) -> _Queue:
        key = (wanted.subscription, name, kind)
        if key not in self._queues:
            bucket = buckets.of(name, now=self._clock.now)
            what = f"{f'writes of {kind}' if kind else name} in subscription {wanted.subscription}"
            self._queues[key] = _Queue(bucket, name, what, clock=self._clock, tell=self._tell)
        return self._queues[key]

    def _tell(self, bucket: str, seconds: float) -> None:
        for heard in self._listeners:
            heard(bucket, seconds=seconds)


class Turn:
    """What one request drew from which bucket."""

    def __init__(self) -> None:
        self._drawn: dict[_Queue, buckets.Draw] = {}

    def add(self, queue: _Queue, draw: buckets.Draw) -> None:
        self._drawn[queue] = draw

    def give_back(self) -> None:
        """It was never sent."""
        for queue, draw in self._drawn.items():
            queue.bucket.give_back(draw)

    def end(self) -> None:
        """Its request is under way no more."""
        for queue, draw in self._drawn.items():
            queue.bucket.ended(draw)

    def told(self, queue: _Queue, left: int) -> None:
        draw = self._drawn.get(queue)
        if draw is not None:
            queue.bucket.told(left, draw)

    def close(self, names: set[str], seconds: float) -> None:
        """Close the buckets of these names, or all that it drew from where it drew from none of them."""
        drawn = [queue for queue, draw in self._drawn.items() if draw.amount]
        for queue in [queue for queue in drawn if queue.name in names] or drawn:
            queue.bucket.close(seconds)


class _Queue:
    """Requests that wait for one bucket, first come first served."""

    def __init__(
        self,
        bucket: buckets.Bucket,
        name: str,
        what: str,
        *,
        clock: Clock,
        tell: Callable[[str, float], None],
    ) -> None:
        self.bucket = bucket
        self.name = name
        self._what = what
        self._clock = clock
        self._tell = tell
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def turn(self) -> buckets.Draw:
        self._refuse_over(self.bucket.wait(ahead=self._waiting), LONGEST_WAIT)
        came, had_to_wait = self._clock.now(), self._waiting > 0
        self._waiting += 1
        try:
            async with self._lock:
                # Answers that come meanwhile change how long it takes.
                while pause := self.bucket.wait():
                    self._refuse_over(pause, LONGEST_WAIT - (self._clock.now() - came))
                    had_to_wait = True
                    await self._clock.sleep(pause)
                draw = self.bucket.draw()
        finally:
            self._waiting -= 1
        if had_to_wait:
            self._tell(self.name, self._clock.now() - came)
        return draw

    def _refuse_over(self, pause: float, longest: float) -> None:
        if pause <= longest:
            return
        told = f"held back: Azure allows no more {self._what} for {pause:.0f} s"
        raise outcome.OutcomeError(outcome.Waiting(conditions.Reason.THROTTLED, told, math.ceil(pause)))


def _remaining(headers: Mapping[str, str]) -> dict[str, int]:
    """What ARM says is left, by bucket; of the principal's and the whole subscription's the less."""
    found: dict[str, int] = {}
    for header, value in headers.items():
        if header.startswith(REMAINING) and value.isdigit():
            name = header.removeprefix(REMAINING).removeprefix("global-")
            found[name] = min(int(value), found.get(name, int(value)))
    return found
