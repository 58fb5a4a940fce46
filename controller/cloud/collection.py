"""What was last heard of the resources of one kind in one place, and whether it may still be believed.

Bookkeeping only, in memory: it sends nothing and decides nothing about what was heard. `order` numbers requests and
writes as they are begun, so that what was asked before a write is never taken for what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.model import observed

MOVING = 0.5
"""Seconds for which an answer about a resource with an operation in flight holds."""

ABSENT = 1.5
"""The same about one that isn't there: long enough that the list which shows that one app of an environment is done
serves the next, which is to be created."""

AHEAD = 0.5
"""Seconds in which an answer about one that isn't there will be wanted again, and be too old by then."""

ACTIVE = 1500.0
"""Seconds after which one that was moving counts as no longer waited for: longer than one waits for its turn to be
created between looks."""

LARGE = 200
"""Resources in a list that is too much to be asked for because of one that moves."""

REMEMBERED = 6 * 3600.0
"""Seconds for which it is remembered that somebody asked for a resource: longer than most looks are apart."""


@dataclass(frozen=True)
class Answer:
    """About one resource: when its request was begun (`order`), and when it was answered (seconds)."""

    resource: observed.Resource | None
    order: int
    at: float

    @property
    def settled(self) -> bool:
        return self.resource is not None and self.resource.settled

    def holds(self, now: float, *, settled: float) -> bool:
        if self.resource is None:
            return now - self.at <= ABSENT
        return now - self.at <= (settled if self.settled else MOVING)


@dataclass
class Pending:
    """A request in flight, and when it was begun."""

    order: int
    task: asyncio.Task[Mapping[str, Answer]]


@dataclass
class Collection:
    """All ids are lower-case. Answers about settled resources hold for `seconds`. `floor` is the order above which
    answers count; `pending` the requests in flight by id, None for the list's. Until `single` nothing is listed: it is
    forbidden."""

    seconds: float
    floor: int = 0
    single: float = 0.0
    pending: dict[str | None, Pending] = field(default_factory=dict)
    _marks: dict[str, int] = field(default_factory=dict)
    _answers: dict[str, Answer] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)
    _whole: Answer | None = None

    def asked(self, name: str, *, now: float) -> None:
        """Somebody wants to know."""
        self._asked[name] = now

    def ended(self, key: str | None, order: int) -> None:
        """The request in flight for `key` is answered."""
        if key in self.pending and self.pending[key].order == order:
            del self.pending[key]

    def mark(self, name: str, order: int) -> None:
        """Answers to what was asked before `order` say nothing of `name` any more."""
        self._marks[name] = order

    def valid(self, order: int, name: str | None) -> bool:
        """Whether a request of that order may speak of `name`, or of the whole for None."""
        least = max(self._marks.values(), default=0) if name is None else self._marks.get(name, 0)
        return order > max(least, self.floor)

    def known(self, name: str) -> Answer | None:
        """What was last heard, however old. One that a list didn't name isn't there."""
        return self._answers.get(name, self._whole)

    def fresh(self, name: str, *, now: float) -> Answer | None:
        """What was heard, if it may still be believed."""
        answer = self.known(name)
        return answer if answer and self.valid(answer.order, name) and answer.holds(now, settled=self.seconds) else None

    def all(self, *, now: float) -> tuple[observed.Resource, ...] | None:
        """Everything there is, if a list may still be believed."""
        if self._whole is None or not self.valid(self._whole.order, None):
            return None
        there = [answer for answer in self._answers.values() if answer.resource]
        if now - self._whole.at > (self.seconds if all(answer.settled for answer in there) else MOVING):
            return None
        return tuple(answer.resource for answer in there if answer.resource)

    def shared(self, name: str, *, now: float) -> bool:
        """Whether a list answers more than a read of `name` does: others are as stale, and are looked at along with
        it. For one that moves, those are the ones that move; for the rest, all that are looked at now and then."""
        if now < self.single:
            return False
        known = self.known(name)
        moving = known is not None and not (known.settled and self.valid(known.order, name))
        if moving and len(self._answers) > LARGE:
            return False
        ahead = AHEAD if moving else 0.0
        return any(
            not moving or (now - at <= ACTIVE and not self._settled(other))
            for other, at in self._asked.items()
            if other != name and self.fresh(other, now=now + ahead) is None
        )

    def put(self, name: str, answer: Answer) -> None:
        """What one read said."""
        before = self._answers.get(name)
        if before is None or before.order < answer.order:
            self._answers[name] = answer

    def put_all(self, resources: Iterable[observed.Resource], *, order: int, at: float) -> dict[str, Answer]:
        """What a list said; what was read since then stays."""
        listed = {one.id.lower(): Answer(one, order, at) for one in resources}
        if self._whole is None or self._whole.order < order:
            newer = {name: answer for name, answer in self._answers.items() if answer.order > order}
            self._whole, self._answers = Answer(None, order, at), listed | newer
        self._asked = {name: asked for name, asked in self._asked.items() if at - asked <= REMEMBERED}
        return listed

    def _settled(self, name: str) -> bool:
        known = self.known(name)
        return known is not None and known.settled
