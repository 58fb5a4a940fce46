"""What was seen of one release that took over or didn't, the figures of it, and the budgets it has to keep.

Pure: what was measured comes in.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench import load, serving

WITHOUT_FAILURE: Mapping[str, frozenset[str]] = {
    "Rolling": frozenset({serving.GOOD, serving.SLOW, serving.HANG, serving.CRASH_BEFORE_READY}),
    "BlueGreen": frozenset(serving.ALL),
    "Canary": frozenset(serving.ALL),
    "Recreate": frozenset(),
}
"""By strategy, the cases in which no request may fail and no release that must not take over may answer."""

LOOKS = 0.75
"""Seconds around an answer in which its weight may have been seen: a look takes a while."""

ENOUGH = 100
"""Answers from which on a share says something."""

WEIGHT = 0.03
"""How far from its weight a canary's share of the answers may be."""

HEAD = (
    f"{'strategy':9} {'case':18} {'asked':>6} {'failed':>6} {'gap s':>6} {'bad':>5} {'outside':>7} {'bad s':>6} "
    f"{'slowest':>7} {'took':>6}  {'at the end':20} status"
)


@dataclass(frozen=True)
class Case:
    """What a release does, and whether it is to take over."""

    does: str
    seconds: float = 0.0
    good: bool = False


@dataclass(frozen=True)
class Weight:
    """At one moment, the share of the traffic in percent that went by name to revisions which weren't there before."""

    at: float
    percent: int


@dataclass
class Seen:
    """One case as it went. `version` is the new content, `before` what answered until then, `last` what answers at the
    end. `settled` is None where it was given up; `status` is the app's, as `/status` has it."""

    version: str
    before: str
    began: float
    ended: float = 0.0
    settled: bool = False
    status: Mapping[str, Any] = field(default_factory=dict)
    weights: list[Weight] = field(default_factory=list)
    answers: Sequence[load.Answer] = ()
    last: str | None = None


@dataclass(frozen=True)
class Row:
    """The figures of one case."""

    strategy: str
    case: Case
    seen: Seen

    @property
    def expected(self) -> str:
        return self.seen.version if self.case.good else self.seen.before

    @property
    def failed(self) -> list[load.Answer]:
        return [one for one in self.seen.answers if one.failed]

    @property
    def bad(self) -> list[load.Answer]:
        """Answers by the release that must not take over."""
        return [] if self.case.good else [one for one in self.seen.answers if one.version == self.seen.version]

    @property
    def outside(self) -> int:
        """Bad answers at times when no step of a canary gave the release its share; all of the traffic isn't one."""
        return sum(not self._in_step(one.due + one.seconds) for one in self.bad)

    @property
    def shares(self) -> list[tuple[int, float]]:
        """For each weight that the release had beside another for long enough: its share of the answers."""
        found = []
        for percent, several in itertools.groupby(self.seen.weights, key=lambda one: one.percent):
            times = [one.at for one in several]
            begin, end = times[0] + LOOKS, times[-1] - LOOKS
            within = [one for one in self.seen.answers if begin < one.due < end and not one.failed]
            if 0 < percent < 100 and len(within) >= ENOUGH:
                found.append((percent, sum(one.version == self.seen.version for one in within) / len(within)))
        return found

    @property
    def broken(self) -> list[str]:
        """The budgets that weren't kept, in words."""
        found = [] if self.seen.settled else ["the status didn't settle"]
        if self.seen.last != self.expected:
            found.append(f"at the end {self.seen.last} answers, not {self.expected}")
        if self.case.does in WITHOUT_FAILURE[self.strategy]:
            found += [f"{len(self.failed)} failed: {_kinds(self.failed)}"] if self.failed else []
            found += (
                [f"{self.outside} answers by {self.seen.version} outside a canary's weight"] if self.outside else []
            )
        if self.strategy == "Canary" and self.case.good:
            found += [] if self.shares else ["no step of the canary was seen"]
            found += [f"{one} % were {share:.1%}" for one, share in self.shares if abs(share - one / 100) > WEIGHT]
        return found

    def shown(self) -> str:
        """A line under HEAD."""
        seen = self.seen
        slowest = max((one.seconds for one in seen.answers), default=0.0)
        shares = "".join(f"; at {percent} % it answered {share:.1%}" for percent, share in self.shares)
        return (
            f"{self.strategy:9} {self.case.does:18} {len(seen.answers):6} {len(self.failed):6} "
            f"{_span(self.failed):6.2f} {len(self.bad):5} {self.outside:7} {_span(self.bad):6.2f} {slowest:7.2f} "
            f"{seen.ended - seen.began:6.1f}  {seen.last or 'nobody':20} {told(seen.status)}{shares}"
        )

    def _in_step(self, at: float) -> bool:
        return any(0 < one.percent < 100 for one in self.seen.weights if abs(one.at - at) <= LOOKS)


def told(status: Mapping[str, Any]) -> str:
    """The condition that people see first: its type and reason."""
    words = {one["type"]: one for one in status.get("conditions", ())}
    first = next((words[each] for each in ("Stalled", "Reconciling", "Ready") if each in words), None)
    return f"{first['type']} {first['reason']}" if first else "nothing told"


def _span(several: Sequence[load.Answer]) -> float:
    times = [one.due for one in several]
    return max(times) - min(times) if times else 0.0


def _kinds(several: Sequence[load.Answer]) -> str:
    return ", ".join(sorted({str(one.status) for one in several}))
