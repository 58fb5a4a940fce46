"""The only error language between rooms: what became of one step, and when to look at it again.

Done         nothing left to do, healthy
InProgress   Azure is at work; looking again soon is all there is to do
Waiting      something else must happen first, or Azure said when to come back
Transient    it failed in a way that passes by itself
Stalled      it can't succeed until somebody changes something
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Done:
    """`message` says what is so, e.g. which revision serves."""

    message: str = ""


@dataclass(frozen=True)
class InProgress:
    """`since` is when it began, where Azure tells; the look-again pace follows the age, unless its end is `awaited`: a
    newer state is to be written then."""

    reason: str
    message: str
    since: datetime | None = None
    awaited: bool = False


@dataclass(frozen=True)
class Waiting:
    """`after` is the number of seconds Azure asked to wait, None when it didn't say."""

    reason: str
    message: str
    after: float | None = None


@dataclass(frozen=True)
class Transient:
    """A failure worth repeating. `after` as in Waiting."""

    reason: str
    message: str
    after: float | None = None


@dataclass(frozen=True)
class Stalled:
    """`slowly` marks what may heal without a change in the desired state (quota, permissions): look again, seldom."""

    reason: str
    message: str
    slowly: bool = False


Outcome = Done | InProgress | Waiting | Transient | Stalled


class OutcomeError(Exception):
    """Carries an outcome up from a call that could not give its value. `cloud` raises it; the pass catches it."""

    def __init__(self, outcome: Outcome) -> None:
        message = outcome.message
        super().__init__(message)
        self.outcome = outcome
