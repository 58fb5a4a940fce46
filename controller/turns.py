"""Whose turn it is to write in a managed environment: one write at a time there, in the order it was asked for.

Bookkeeping only. It must not know what is written, nor wake anybody: it says who is to be asked. All of it may be
forgotten at any moment: the service refuses a second write by itself, and all that is lost are refused calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Key = tuple[str, str]

LONGEST = 1200.0
"""Seconds that one may hold a turn while others wait."""

TAKEN = 60.0
"""Seconds within which one whose turn has come must take it."""


@dataclass
class _Line:
    """One environment: who writes, until when that counts, whether it was taken, and who comes next, in order."""

    holder: Key
    until: float
    taken: bool = True
    next: dict[Key, None] = field(default_factory=dict)


class Turns:
    """The turns of all environments. Their ids are compared without regard to case; `clock` gives seconds since any
    moment."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._places: dict[Key, set[str]] = {}

    def enter(self, environment_id: str, key: Key) -> bool:
        """Whether it is the turn of `key`, which then has it until `leave`. Else `key` stands in the line."""
        name, now = environment_id.lower(), self._clock()
        line = self._lines.setdefault(name, _Line(key, now + LONGEST))
        self._places.setdefault(key, set()).add(name)
        if line.holder != key:
            line.next.setdefault(key)
        if now > line.until and line.next:
            # The one that held it too long stands in line again when it asks.
            self._places[line.holder].discard(name)
            self._advance(line)
        if line.holder != key:
            line.next.setdefault(key)
            self._places[key].add(name)
            return False
        if not line.taken:
            line.until, line.taken = now + LONGEST, True
        return True

    def holder(self, environment_id: str) -> Key | None:
        """Who writes there now, or is about to."""
        line = self._lines.get(environment_id.lower())
        return line.holder if line else None

    def waiting(self, key: Key) -> bool:
        """Whether it stands in a line."""
        return any(key in self._lines[name].next for name in self._places.get(key, ()))

    def leave(self, key: Key) -> tuple[Key, ...]:
        """Give up every turn and place of `key`, also of one that is gone; who is to be asked: the turn is theirs."""
        called = []
        for name in self._places.pop(key, ()):
            line = self._lines[name]
            line.next.pop(key, None)
            if line.holder != key:
                continue
            if line.next:
                self._advance(line)
                called.append(line.holder)
            else:
                del self._lines[name]
        return tuple(called)

    def _advance(self, line: _Line) -> None:
        line.holder = next(iter(line.next))
        del line.next[line.holder]
        line.until, line.taken = self._clock() + TAKEN, False
