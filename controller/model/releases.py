"""Releases as they are tried: one run of a release, the runs that were rejected, and how far a canary has come; each as
the text of a tag on the container app.

An unreadable text counts for nothing: losing it costs at most one repeated attempt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.model import moments, observed

REMEMBERED = 3
"""Rejected runs that a tag holds: the newest."""

UNDONE = "Undone"
"""Instead of a cause: people went back."""

RETRY = "Retry"
"""Instead of a cause: people want it tried once more."""

_RUN = r"([0-9a-f]{16})\.([1-9][0-9]{0,5})"
_REJECTION = re.compile(rf"{_RUN}:([A-Za-z]{{1,40}})")
_PROGRESS = re.compile(rf"{_RUN}:([0-9]{{1,3}}):(\S{{1,40}})")


@dataclass(frozen=True)
class Run:
    """One attempt, from 1 on, at serving a release."""

    release: str
    attempt: int = 1

    def __str__(self) -> str:
        return f"{self.release}.{self.attempt}"

    @property
    def said(self) -> str:
        """As people read it."""
        return self.release if self.attempt == 1 else f"{self.release} (attempt {self.attempt})"

    @property
    def next(self) -> Run:
        return Run(self.release, self.attempt + 1)


@dataclass(frozen=True)
class Rejection:
    """A run that isn't tried any more, and why; with RETRY as its cause the next one is."""

    run: Run
    cause: str

    def __str__(self) -> str:
        return f"{self.run}:{self.cause}"


@dataclass(frozen=True)
class Progress:
    """A canary's step, from 0 on, and since when (aware) it holds."""

    run: Run
    step: int
    since: datetime

    def __str__(self) -> str:
        return f"{self.run}:{self.step}:{moments.rfc3339(self.since)}"


def rejections(text: str | None) -> tuple[Rejection, ...]:
    """Oldest first."""
    found = (_REJECTION.fullmatch(part) for part in (text or "").split(","))
    return tuple(Rejection(Run(match[1], int(match[2])), match[3]) for match in found if match)


def rejected(known: Iterable[Rejection], run: Run) -> Rejection | None:
    """The run's rejection, None where it may be tried. An earlier attempt's counts for nothing."""
    return next((one for one in known if one.run == run and one.cause != RETRY), None)


def attempt(known: Iterable[Rejection], release: str) -> int:
    """Which attempt at the release is the one to be made, as far as the rejections say."""
    found = next((one for one in known if one.run.release == release), None)
    return found.run.attempt + (found.cause == RETRY) if found else 1


def with_rejection(known: Iterable[Rejection], one: Rejection) -> str:
    """The tag's text with one more, in place of what it says of the same release."""
    kept = [other for other in known if other.run.release != one.run.release]
    return ",".join(map(str, [*kept, one][-REMEMBERED:]))


def progress(text: str | None) -> Progress | None:
    match = _PROGRESS.fullmatch(text or "")
    since = observed.moment(match[4]) if match else None
    return Progress(Run(match[1], int(match[2])), int(match[3]), since) if match and since else None
