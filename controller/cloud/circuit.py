"""A circuit breaker for each subscription: when nothing but failures comes back, nothing is sent for a while.

It counts; what is a failure is its caller's to say. Other hosts, e.g. those of Azure Files, have no part in it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Protocol

import structlog

from controller.model import conditions, outcome

log = structlog.get_logger()

FAILURES = 10
"""So many in a row open the circuit."""

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0
"""Seconds; the pause doubles with each trial that fails."""

JITTER = 0.2
"""A pause is so much longer or shorter, as a fraction: controllers that failed together don't come back together."""


class Heard(Protocol):
    """Takes one change: the circuit of `subscription` opened, or closed again."""

    def __call__(self, subscription: str, *, is_open: bool) -> None: ...


class Attempt:
    """One request under way."""


class Circuit:
    """Closed, requests pass. Open, they are refused until the pause is over; then one passes, and its success closes
    the circuit."""

    def __init__(
        self, where: str, *, now: Callable[[], float], chance: Callable[[], float], tell: Callable[[bool], None]
    ) -> None:
        """`where` is what is behind it, for messages; `chance` gives numbers from 0 to 1."""
        self._where = where
        self._now = now
        self._chance = chance
        self._tell = tell
        self._failures = 0
        self._why = ""
        self._pause = FIRST_PAUSE
        self._until: float | None = None
        self._trial: Attempt | None = None

    def check(self) -> None:
        """Raises OutcomeError when a request would be refused."""
        if self._until is None:
            return
        left = self._until - self._now()
        if left <= 0 and self._trial is None:
            return
        after = math.ceil(left if left > 0 else FIRST_PAUSE)
        told = f"{self._where} doesn't answer, {self._failures} times in a row, last: {self._why}; asked again later"
        raise outcome.OutcomeError(outcome.Transient(conditions.Reason.CIRCUIT_OPEN, told, after))

    def begin(self) -> Attempt:
        """A request is about to be sent. Raises OutcomeError when it must not."""
        self.check()
        attempt = Attempt()
        if self._until is not None:
            self._trial = attempt
        return attempt

    def answered(self) -> None:
        """Whatever the answer, the service is there."""
        self._failures = 0
        if self._until is not None:
            self._until, self._trial, self._pause = None, None, FIRST_PAUSE
            self._tell(False)

    def failed(self, attempt: Attempt, why: str) -> None:
        self._failures, self._why = self._failures + 1, why
        if attempt is self._trial:
            self._trial, self._pause = None, min(2 * self._pause, LONGEST_PAUSE)
            self._open()
        elif self._until is None and self._failures >= FAILURES:
            self._open()
            self._tell(True)

    def abandoned(self, attempt: Attempt) -> None:
        """Nobody waited for the answer: it says nothing, and another may try."""
        if attempt is self._trial:
            self._trial = None

    def _open(self) -> None:
        self._until = self._now() + self._pause * (1 - JITTER + 2 * JITTER * self._chance())


class Circuits:
    """The circuits of one cloud's subscriptions. `host` is ARM's, for messages."""

    def __init__(self, host: str, *, now: Callable[[], float], chance: Callable[[], float] = random.random) -> None:
        self._host = host
        self._now = now
        self._chance = chance
        self._circuits: dict[str, Circuit] = {}
        self._listeners: list[Heard] = []

    def listen(self, heard: Heard) -> None:
        """Call `heard` when a circuit opens or closes, in the event loop."""
        self._listeners.append(heard)

    def of(self, subscription: str) -> Circuit:
        """The subscription's circuit; `subscription` in lower case."""
        if subscription not in self._circuits:
            self._circuits[subscription] = self._made(subscription)
        return self._circuits[subscription]

    def _made(self, subscription: str) -> Circuit:
        def tell(is_open: bool) -> None:
            event = "circuit opened: nothing but failures" if is_open else "circuit closed"
            log.warning(event, host=self._host, subscription=subscription)
            for heard in self._listeners:
                heard(subscription, is_open=is_open)

        where = f"subscription {subscription} at {self._host}"
        return Circuit(where, now=self._now, chance=self._chance, tell=tell)
