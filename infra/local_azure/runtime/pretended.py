"""A container without a process, by the clock alone: pulled, started, ready, restarted, as the scenario has it.

It knows no other containers and no replicas. Times are in Azure's seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import probes, restarts, scripts, wording

# Assumed: an image that is cached and a small app.
START_S = 8.0
# What ends a container whose startup probe's budget is over; it takes no notice of SIGTERM.
_UNHEALTHY = scripts.Ending("Error", 137)


class Container:
    """`begin` once its replica has a machine. `changed` is called whenever `status` or `crashing` differs.

    Its probes pass as soon as it is ready; one that takes longer than its startup probe allows is restarted.
    """

    def __init__(
        self, spec: replicas.Container, part: scripts.Part, time: clock.Clock, changed: Callable[[], None]
    ) -> None:
        self.spec = spec
        self._time = time
        self._changed = changed
        self._pull = scripts.Pull(part, time, self._pulled)
        self._script = scripts.Script(part, time, limits=False, changed=self._turned, end=self._finish)
        self._state, self._details = "Waiting", ""
        self._id: str | None = None
        self._up = self._passed = self._begun = False
        self._starts = self._crashes = 0
        self._next: clock.Cancel | None = None
        self._began = time.now()

    @property
    def status(self) -> replicas.ContainerStatus:
        return replicas.ContainerStatus(
            name=self.spec.name,
            container_id=self._id,
            state=self._state,
            details=self._details or wording.waiting(self._pull.reason or wording.STARTING),
            ready=self._ready,
            started=self._up and (self._passed or self._budget() is None),
            restarts=max(0, self._starts - 1),
        )

    @property
    def crashing(self) -> bool:
        """It ended at least twice in a row and hasn't become ready since."""
        return self._crashes >= restarts.CRASHES and not self._ready

    @property
    def _ready(self) -> bool:
        return self._up and self._script.open

    def begin(self) -> None:
        """Pull the image, then start; nothing happens a second time."""
        if self._begun:
            return
        self._begun = True
        self._pull.begin()
        if self._pull.reason is None:
            self._next = self._time.later(START_S, self._run)

    def look(self) -> None:
        """The scenario has other rules."""
        self._pull.look()

    def cancel(self) -> None:
        """It is over, without a word."""
        self._pull.cancel()
        self._over()

    def _pulled(self) -> None:
        if self._pull.reason is None:
            self._next = self._time.later(START_S, self._run)
        self._changed()

    def _run(self) -> None:
        self._starts += 1
        self._began = self._time.now()
        self._up, self._passed = True, False
        self._id = f"containerd://{secrets.token_hex(16)}"
        self._state = "Running"
        self._details = wording.started(self._began)
        self._script.begin()
        budget = self._budget()
        if self._script.open:
            self._pass()
        elif budget is not None and self._time.real(1.0):  # a clock that takes no time would restart it at once
            self._next = self._time.later(budget, lambda: self._finish(_UNHEALTHY))
        self._changed()

    def _budget(self) -> float | None:
        """How long its startup probe lets it be not ready."""
        found = next((probe for probe in self.spec.probes if probe.kind == probes.STARTUP), None)
        return None if found is None else found.initial_delay + found.period * found.failure_threshold

    def _turned(self) -> None:
        if self._script.open and not self._passed:
            if self._next is not None:
                self._next.cancel()
            self._pass()
        self._changed()

    def _pass(self) -> None:
        self._passed = True
        self._script.ready()

    def _finish(self, ending: scripts.Ending) -> None:
        self._over()
        self._up = self._passed = False
        self._crashes = 1 + (0 if self._lived_long() else self._crashes)
        self._state = "Terminated"
        self._details = wording.terminated(ending.reason, ending.code)
        self._restart()
        self._changed()

    def _lived_long(self) -> bool:
        lived, reset = self._time.now() - self._began, self._time.real(restarts.BACK_OFF_RESET)
        return reset > 0 and lived.total_seconds() >= reset

    def _restart(self) -> None:
        pause = restarts.back_off(self._crashes)
        if self._crashes < restarts.CRASHES:
            self._next = self._time.later(pause + START_S, self._run)
        else:
            self._next = self._time.later(pause * restarts.SHOWN, lambda: self._wait(pause))

    def _wait(self, pause: float) -> None:
        self._id = None
        self._state = "Waiting"
        self._details = wording.waiting(wording.CRASHING)
        if self._time.real(1.0):  # a clock that takes no time would restart it without end
            self._next = self._time.later(pause * (1 - restarts.SHOWN) + START_S, self._run)
        self._changed()

    def _over(self) -> None:
        self._script.cancel()
        if self._next is not None:
            self._next.cancel()
