"""The runtime for thousands of apps: replicas without processes, which come and go by the clock alone.

It answers requests itself (`answer`), so that an ingress in front of it shows which release would serve.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from infra.local_azure import clock, replicas, scenario
from infra.local_azure.runtime import mounts, places, pretended, processes, scripts, wording

START_S = pretended.START_S
# Assumed, in Azure's seconds.
END_S = 2.0

SWITCH = "LOCAL_AZURE_SIMULATE"
_SWITCHED = {
    "crash": scenario.Scenario(scenario.Rule("crash")),
    "never-ready": scenario.Scenario(scenario.Rule("hang")),
}

# Inside the class `replicas` is the method.
_Revision = replicas.Revision


class Simulated:
    """`replicas.Runtime` by the clock. A replica is ready 8 s after its start and gone 2 s after its stop.

    A scenario says what goes otherwise. For tests, a container whose env holds LOCAL_AZURE_SIMULATE is played a rule
    of its own: `crash`, or `never-ready` for hang. Replicas have no address; `answer` says what they would.
    """

    def __init__(self, time: clock.Clock) -> None:
        self.changed: Callable[[str], None] = lambda key: None
        self.pools: Callable[[str], replicas.Pool | None] = lambda pool: None
        self.scenario = scenario.Scenario()
        self._places = places.Places(time, self.scenario, lambda pool: self.pools(pool))
        self.scenario.on_change.append(self._replayed)
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

    def scale(self, key: str, count: int) -> None:
        if (revision := self._revisions.get(key)) is None:
            return
        self._revisions[key] = dataclasses.replace(revision, replicas=count)
        staying = [replica for replica in self._replicas.get(key, []) if not replica.ending]
        for replica in staying[count:]:
            self._end(key, replica)
        self._fill(self._revisions[key])

    def look(self) -> None:
        self._places.look()

    def replicas(self, key: str) -> tuple[replicas.Replica, ...]:
        return tuple(replica.value() for replica in self._replicas.get(key, []))

    def crashing(self, key: str) -> tuple[str, ...]:
        found = (one for replica in self._replicas.get(key, []) for one in replica.containers if one.crashing)
        return tuple(dict.fromkeys(one.spec.name for one in found))

    def hint(self, key: str) -> str:
        several = self._replicas.get(key, [])
        return places.said([replica.place for replica in several], self.replicas(key))

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
        self._places.close()
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
            self._add(revision, several)

    def _add(self, revision: _Revision, several: list[_Replica]) -> None:
        def part(spec: replicas.Container) -> scripts.Part:
            played = _SWITCHED.get(spec.env.get(SWITCH, ""), self.scenario)
            return scripts.part(played, revision, spec)

        replica = _Replica(revision, self._time, lambda: self.changed(revision.key), part)
        several.append(replica)
        if revision.demand is not None:
            replica.place = self._places.want(revision.demand, replica.admitted)
        replica.begin()

    def _end(self, key: str, replica: _Replica) -> None:
        if not replica.ending:
            replica.end(lambda: self._ended(key, replica))

    def _ended(self, key: str, replica: _Replica) -> None:
        several = self._replicas.get(key, [])
        if replica in several:
            several.remove(replica)
        if replica.place is not None:
            self._places.leave(replica.place)
        if (revision := self._revisions.get(key)) is not None:
            self._fill(revision)
        elif not several:
            self._replicas.pop(key, None)
        self.changed(key)

    def _replayed(self) -> None:
        for replica in [one for several in self._replicas.values() for one in several]:
            replica.look()


class _Replica:
    def __init__(
        self,
        revision: replicas.Revision,
        time: clock.Clock,
        changed: Callable[[], None],
        part: Callable[[replicas.Container], scripts.Part],
    ) -> None:
        self.revision = revision
        self.name = processes.replica_name(revision.key)
        self.created = time.now()
        self.ending = False
        self.place: places.Place | None = None
        self.mounts = mounts.Mounts(revision, time, self.admitted)
        self.containers = [pretended.Container(spec, part(spec), time, changed) for spec in revision.containers]
        self._time = time
        self._changed = changed
        self._next: clock.Cancel | None = None

    def value(self) -> replicas.Replica:
        blocked = self._blocked()
        states = tuple(self._status(container.status, blocked) for container in self.containers)
        return replicas.Replica(
            name=self.name,
            created=self.created,
            state="Running" if all(one.state == "Running" for one in states) else "NotRunning",
            details="",
            containers=states,
            address=None,
            placed=self.place is None or self.place.shortage is None,
        )

    def _status(self, status: replicas.ContainerStatus, blocked: str | None) -> replicas.ContainerStatus:
        if blocked is not None:
            return dataclasses.replace(status, details=wording.waiting(blocked))
        return dataclasses.replace(status, ready=status.ready and not self.ending)

    def begin(self) -> None:
        """Start its containers, if nothing keeps it from that."""
        if self._blocked() is None and not self.ending:
            for container in self.containers:
                container.begin()

    def admitted(self) -> None:
        """What it waits for is another."""
        self.begin()
        self._changed()

    def look(self) -> None:
        for container in self.containers:
            container.look()

    def _blocked(self) -> str | None:
        if self.place is not None and self.place.shortage is not None:
            return self.place.shortage.container
        return self.mounts.problem

    def end(self, ended: Callable[[], None]) -> None:
        self.cancel()
        self.ending = True
        self._next = self._time.later(END_S, ended)
        self._time.later(0.0, self._changed)  # not now: the one who stops it isn't to be called back meanwhile

    def cancel(self) -> None:
        self.mounts.cancel()
        for container in self.containers:
            container.cancel()
        if self._next is not None:
            self._next.cancel()
