"""A scenario played on one container: its image's pull, and what becomes of each of its runs.

It says when; making a process end, or look as if it did, is its owner's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from infra.local_azure import clock, replicas, scenario
from infra.local_azure.runtime import wording

CONSUMPTION = "Consumption"


@dataclass(frozen=True)
class Ending:
    """How a run ends, in the service's words and numbers (OOMKilled and 137 are Kubernetes': assumed)."""

    reason: str
    code: int


OUT_OF_MEMORY = Ending("OOMKilled", 137)


@dataclass(frozen=True)
class Part:
    """What a scenario says of one container."""

    played: scenario.Scenario
    app: str
    image: str
    profile: str

    def rule(self, *does: str) -> scenario.Rule | None:
        return self.played.rule(*does, app=self.app, image=self.image, profile=self.profile)


def part(played: scenario.Scenario, revision: replicas.Revision, container: replicas.Container) -> Part:
    profile = revision.demand.profile if revision.demand is not None else CONSUMPTION
    return Part(played, revision.app, container.image, profile)


class Pull:
    """An image on its way: `reason` is what its container waits for, None once it is there. `changed` is called when
    that differs."""

    def __init__(self, told: Part, time: clock.Clock, changed: Callable[[], None]) -> None:
        self.reason: str | None = wording.PULLING
        self._part = told
        self._time = time
        self._changed = changed
        self._next: clock.Cancel | None = None
        self._begun = False

    def begin(self) -> None:
        """Pull; nothing happens a second time."""
        if self._begun:
            return
        self._begun = True
        fails = self._part.rule("pull-fails")
        if fails is None:
            self._take()
            return
        self.reason = wording.unpulled(self._part.image)
        if fails.seconds is not None:
            self._next = self._time.later(fails.seconds, self._take_late)

    def look(self) -> None:
        """Other rules are in force: one that fails may get through now."""
        failing = self._begun and self.reason not in (None, wording.PULLING)
        if failing and self._part.rule("pull-fails") is None:
            self.cancel()
            self._take_late()

    def cancel(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _take_late(self) -> None:
        self._take()
        self._changed()

    def _take(self) -> None:
        takes = self._part.rule("pull-takes")
        if takes is None or takes.seconds is None:
            self.reason = None
        else:
            self.reason = wording.PULLING
            self._next = self._time.later(takes.seconds, self._done)

    def _done(self) -> None:
        self.reason = None
        self._changed()


class Script:
    """A container's runs, one after the other. While it isn't `open`, the container isn't ready, whatever its probes
    say. `end` is called when a run is to end; `changed` when `open` differs."""

    def __init__(
        self,
        told: Part,
        time: clock.Clock,
        *,
        limits: bool,
        changed: Callable[[], None],
        end: Callable[[Ending], None],
    ) -> None:
        """`limits` says that the owner enforces a limit on memory; else out-of-memory goes by the clock alone."""
        self.open = True
        self._part = told
        self._time = time
        self._limits = limits
        self._changed = changed
        self._end = end
        self._next: list[clock.Cancel] = []
        self._was_ready = False

    @property
    def memory(self) -> int | None:
        """The limit in bytes that the scenario sets, if any."""
        rule = self._part.rule("out-of-memory")
        return rule.memory if rule is not None else None

    def begin(self) -> None:
        """A run begins."""
        self.cancel()
        self._was_ready = False
        ends, slow = self._ends(), self._part.rule("slow-start")
        dies = ends is not None and ends.after is None
        self.open = slow is None and not dies and self._part.rule("hang") is None
        if slow is not None or dies:
            self._later(slow.seconds or 0.0 if slow is not None else 0.0, self._started)

    def ready(self) -> None:
        """The container is ready; what counts from then begins with the first time in each run."""
        if self._was_ready:
            return
        self._was_ready = True
        ends, flaps = self._ends(), self._part.rule("flap")
        if ends is not None and ends.after is not None:
            self._later(ends.after, lambda: self._end(_ending(ends)))
        if flaps is not None and self._time.real(1.0):  # a clock that takes no time would flap without end
            self._flap(flaps)

    def cancel(self) -> None:
        """The run is over."""
        for call in self._next:
            call.cancel()
        self._next.clear()

    def _started(self) -> None:
        ends = self._ends()
        if ends is not None and ends.after is None:
            self._end(_ending(ends))
        elif self._part.rule("hang") is None:
            self.open = True
            self._changed()

    def _ends(self) -> scenario.Rule | None:
        rule = self._part.rule("crash", "out-of-memory")
        return None if rule is not None and self._limits and rule.memory is not None else rule

    def _flap(self, rule: scenario.Rule) -> None:
        """`open` until `ready` is over, then not until `unready` is over, and so on."""
        seconds = rule.ready if self.open else rule.unready
        self._later(seconds or 0.0, lambda: self._turn(rule))

    def _turn(self, rule: scenario.Rule) -> None:
        self.open = not self.open
        self._changed()
        self._flap(rule)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._next = [*self._next[-1:], self._time.later(seconds, call)]


def _ending(rule: scenario.Rule) -> Ending:
    if rule.does == "out-of-memory":
        return OUT_OF_MEMORY
    return Ending("Error" if rule.exit_code else "Completed", rule.exit_code)
