"""Whether a replica's volumes could be mounted when it came, and again while they couldn't.

A replica that has its mounts keeps them: what happens to a share's key afterwards concerns new ones only.
"""

from __future__ import annotations

from collections.abc import Callable

from infra.local_azure import clock, replicas

# Kubernetes tries a failed mount again (documented); how often is assumed. In Azure's seconds.
RETRY = 30.0


class Mounts:
    """One replica's. `problem` is what it waits for, None once all are there; `changed` is called when that differs."""

    def __init__(self, revision: replicas.Revision, time: clock.Clock, changed: Callable[[], None]) -> None:
        self.problem = revision.problem or revision.unmountable()
        self._revision = revision
        self._time = time
        self._changed = changed
        self._next: clock.Cancel | None = None
        self._try_later()

    def cancel(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _try_later(self) -> None:
        """A revision that never had its mounts is its owner's to start anew; a clock that takes no time would try
        without end."""
        if self.problem is not None and self._revision.problem is None and self._time.real(1.0):
            self._next = self._time.later(RETRY, self._retry)

    def _retry(self) -> None:
        before, self.problem = self.problem, self._revision.unmountable()
        self._try_later()
        if self.problem != before:
            self._changed()
