"""The runtime for thousands of apps: replicas without processes, which come and go by the clock alone.

It answers requests itself (`answer`), so that an ingress in front of it shows which release would serve.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import containers, processes

# Assumed, in Azure's seconds: an image that is cached and a small app.
START_S = 8.0
END_S = 2.0

SWITCH = "LOCAL_AZURE_SIMULATE"

# Inside the class `replicas` is the method.
_Revision = replicas.Revision


class Simulated:
    """`replicas.Runtime` by the clock. A replica is ready 8 s after its start and gone 2 s after its stop.

    For tests, a container whose env holds LOCAL_AZURE_SIMULATE behaves as its value says: `crash` ends with
    exit code 1 after each start until it is in back-off, `never-ready` starts and doesn't become ready.
    Replicas have no address; `answer` says what they would.
    """

    def __init__(self, time: clock.Clock) -> None:
        self.changed: Callable[[str], None] = lambda key: None
        self._time = time
        self._revisions: dict[str, replicas.Revision] = {}
        self._replicas: dict[str, list[_Replica]] = {}

    def start(self, revision: replicas.Revision) -> None:
        if revision.key not in self._revisions:
            self._revisions[revision.key] = revision
            self._fill(revision)

    def stop(self, key: str) -> None:
        self._revisions.pop(key, None)
        for replica in self._replicas.get(key, []):
            self._end(key, replica)

    def restart(self, key: str) -> None:
        for replica in self._replicas.get(key, []) if key in self._revisions else []:
            self._end(key, replica)

    def replicas(self, key: str) -> tuple[replicas.Replica, ...]:
        return tuple(replica.value() for replica in self._replicas.get(key, []))

    def crashing(self, key: str) -> tuple[str, ...]:
        found = (name for replica in self._replicas.get(key, []) for name in replica.crashing())
        return tuple(dict.fromkeys(found))

    def hint(self, key: str) -> str:
        return ""

    async def logs(
        self, key: str, replica: str, container: str, *, tail: int, follow: bool
    ) -> AsyncIterator[tuple[datetime, str]]:
        """One line that says there is no process; raises KeyError for an unknown replica or container."""
        found = next((one for one in self._replicas.get(key, []) if one.name == replica), None)
        if found is None or container not in (spec.name for spec in found.revision.containers):
            raise KeyError(container)
        if tail > 0:
            yield found.created, "local Azure: this replica is simulated and prints nothing"

    async def close(self) -> None:
        for several in self._replicas.values():
            for replica in several:
                replica.cancel()
        self._revisions.clear()
        self._replicas.clear()

    def answer(self, key: str) -> dict[str, str | None]:
        """What a replica of `key` says to any request: its release, from the env ACAOPS_RELEASE."""
        revision = self._revisions.get(key)
        values = [spec.env.get("ACAOPS_RELEASE") for spec in revision.containers] if revision else []
        return {"release": next((value for value in values if value is not None), None), "status": "ready"}

    def _fill(self, revision: _Revision) -> None:
        several = self._replicas.setdefault(revision.key, [])
        while sum(not replica.ending for replica in several) < revision.replicas:
            several.append(_Replica(revision, self._time, lambda: self.changed(revision.key)))

    def _end(self, key: str, replica: _Replica) -> None:
        if not replica.ending:
            replica.end(lambda: self._ended(key, replica))

    def _ended(self, key: str, replica: _Replica) -> None:
        several = self._replicas.get(key, [])
        if replica in several:
            several.remove(replica)
        if (revision := self._revisions.get(key)) is not None:
            self._fill(revision)
        elif not several:
            self._replicas.pop(key, None)
        self.changed(key)


class _Replica:
    def __init__(self, revision: replicas.Revision, time: clock.Clock, changed: Callable[[], None]) -> None:
        self.revision = revision
        self.name = processes.replica_name(revision.key)
        self.created = time.now()
        self.ending = False
        self._time = time
        self._changed = changed
        self._mode = next((spec.env[SWITCH] for spec in revision.containers if SWITCH in spec.env), "")
        self._up = False
        self._crashes = 0
        self._id = f"containerd://{secrets.token_hex(16)}"
        blocked = revision.problem is not None
        self._next = None if blocked else time.later(START_S, self._crash if self._mode == "crash" else self._start)

    def value(self) -> replicas.Replica:
        state, details = self._state()
        up = self._up and not self.ending
        return replicas.Replica(
            name=self.name,
            created=self.created,
            state="Running" if state == "Running" else "NotRunning",
            details="",
            containers=tuple(
                replicas.ContainerStatus(
                    name=spec.name,
                    container_id=None if state == "Waiting" else self._id,
                    state=state,
                    details=details,
                    ready=up and self._mode != "never-ready",
                    started=self._up,
                    restarts=max(0, self._crashes - 1),
                )
                for spec in self.revision.containers
            ),
            address=None,
        )

    def crashing(self) -> tuple[str, ...]:
        crashes = self._crashes >= containers.CRASHES
        return tuple(spec.name for spec in self.revision.containers if crashes and spec.env.get(SWITCH) == "crash")

    def end(self, ended: Callable[[], None]) -> None:
        self.cancel()
        self.ending = True
        self._next = self._time.later(END_S, ended)
        self._time.later(0.0, self._changed)  # not now: the one who stops it isn't to be called back meanwhile

    def cancel(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _state(self) -> tuple[str, str]:
        if self.revision.problem is not None:
            return "Waiting", f"Container is waiting with reason: {self.revision.problem}"
        if self._up:
            return "Running", f"Container started at: {containers.moment(self.created)}."
        if self._crashes >= containers.CRASHES:
            return "Waiting", "Container is waiting with reason: CrashLoopBackOff on legion."
        if self._crashes:
            return "Terminated", "Container was terminated with reason: Error, exit code: 1."
        return "Waiting", "Container is waiting with reason: PodInitializing."

    def _start(self) -> None:
        self._up = True
        self._changed()

    def _crash(self) -> None:
        # In back-off nothing more is to be seen: another restart would only cost a timer.
        self._crashes += 1
        if self._crashes < containers.CRASHES:
            self._next = self._time.later(containers.BACK_OFF_FIRST, self._crash)
        self._changed()
