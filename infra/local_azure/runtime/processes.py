"""The runtime that runs revisions as processes: which replicas there are, and where each one lives on disk.

Under `root` it owns `replicas/` (scratch folders), `logs/` and `caches/`. It owns no traffic and no
revision states; those are the provider's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import aiohttp

from infra.local_azure import clock, replicas, scenario
from infra.local_azure.runtime import containers, doors, environment, groups, logs, memory, mounts, places, scripts

# At the server's own end nobody waits for half a minute; a process gets this long at most.
CLOSE_GRACE_S = 5.0

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"

_log = logging.getLogger(__name__)


def replica_name(key: str) -> str:
    """Recorded: replicas-list, `<revision>-<hash of the template>-<5 characters>`."""
    revision = key.rpartition("/")[2]
    digest = hashlib.sha256(key.encode()).hexdigest()[:10]
    return f"{revision}-{digest}-{''.join(random.choices(_SUFFIX, k=5))}"


# Inside the class `replicas` is the method.
_Revision = replicas.Revision
_Container = replicas.Container


class Processes:
    """`replicas.Runtime` with one process group per container.

    What a killed server with the same `root` left running is ended here, before anything new starts, so two
    servers must not share a `root`. Needs a POSIX system; finding strays and listening ports needs /proc.
    """

    def __init__(self, root: Path, time: clock.Clock) -> None:
        self.changed: Callable[[str], None] = lambda key: None
        self.pools: Callable[[str], replicas.Pool | None] = lambda pool: None
        self.scenario = scenario.Scenario()
        self._places = places.Places(time, self.scenario, lambda pool: self.pools(pool))
        self._root = root.resolve()
        self._time = time
        self._revisions: dict[str, replicas.Revision] = {}
        self._replicas: dict[str, list[_Replica]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()
        self._machine: containers.Machine | None = None
        self._ports = groups.Ports()
        self.scenario.on_change.append(self._replayed)
        self._sweep()
        self._shelf = logs.Shelf(self._root / "logs", now=time.now)

    def start(self, revision: replicas.Revision) -> None:
        if revision.key in self._revisions:
            return
        self._revisions[revision.key] = revision
        self._fill(revision)

    def stop(self, key: str) -> None:
        self._revisions.pop(key, None)
        for replica in self._replicas.get(key, []):
            replica.leave()
        self._tell(key)

    def restart(self, key: str) -> None:
        """Each replica's successor starts when it has ended. Assumed: Azure's own order isn't documented."""
        for replica in self._replicas.get(key, []) if key in self._revisions else []:
            replica.stop()
        self._tell(key)

    def scale(self, key: str, count: int) -> None:
        if (revision := self._revisions.get(key)) is None:
            return
        self._revisions[key] = dataclasses.replace(revision, replicas=count)
        for replica in self._staying(key)[count:]:
            replica.leave()
        self._fill(self._revisions[key])
        self._tell(key)

    def look(self) -> None:
        self._places.look()

    def replicas(self, key: str) -> tuple[replicas.Replica, ...]:
        return tuple(replica.value() for replica in self._replicas.get(key, []))

    def crashing(self, key: str) -> tuple[str, ...]:
        found = (one for replica in self._replicas.get(key, []) for one in replica.containers if one.crashing)
        return tuple(dict.fromkeys(one.spec.name for one in found))

    def hint(self, key: str) -> str:
        several = self._replicas.get(key, [])
        found = (one.hint for replica in several for one in replica.containers if one.hint)
        return next(found, "") or places.said([replica.place for replica in several], self.replicas(key))

    def logs(
        self, key: str, replica: str, container: str, *, tail: int, follow: bool
    ) -> AsyncIterator[tuple[datetime, str]]:
        """Raises KeyError for a container that isn't, or isn't any more, known."""
        return self._shelf.find(key, replica, container).read(tail=tail, follow=follow)

    async def close(self) -> None:
        """Grace periods end after 5 real seconds here."""
        self._places.close()
        for key in list(self._revisions):
            self.stop(key)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_GRACE_S)
            for replica in [one for several in self._replicas.values() for one in several]:
                replica.kill()
            await asyncio.gather(*late)
        if self._machine is not None:
            machine, self._machine = self._machine, None
            await machine.memory.close()
            await machine.session.close()
            await asyncio.to_thread(machine.reaper.close)

    def _sweep(self) -> None:
        if found := groups.kill_marked(f"{self._root}|"):
            _log.info("ended processes of an earlier server", extra={"processes": found})
        for name in ("replicas", "logs"):
            shutil.rmtree(self._root / name, ignore_errors=True)

    def _add(self, revision: _Revision) -> None:
        door = None
        if revision.target_port is not None:
            door = doors.Door(revision.target_port, self._ports.take())
        replica = _Replica(revision, replica_name(revision.key), self._time, door)
        if revision.demand is not None:
            replica.place = self._places.want(revision.demand, replica.look)
        for index, spec in enumerate(revision.containers):
            replica.containers.append(self._container(replica, spec, main=index == 0))
        self._replicas.setdefault(revision.key, []).append(replica)
        task = asyncio.create_task(self._run(replica))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._tell(revision.key)

    def _container(self, replica: _Replica, spec: _Container, *, main: bool) -> containers.Container:
        home = self._root / "replicas" / replica.name / spec.name
        (home / "tmp").mkdir(parents=True)
        place = environment.Place(
            replica=replica.name,
            port=replica.door.port if replica.door else None,
            home=home,
            caches=self._root / "caches",
            marker=f"{self._root}|{replica.name}/{spec.name};",
            main=main,
        )
        key = replica.revision.key
        return containers.Container(
            spec,
            replica.revision,
            place=place,
            door=replica.door,
            log=self._shelf.open(key, replica.name, spec.name),
            machine=self._shared(),
            part=scripts.part(self.scenario, replica.revision, spec),
            waits=replica.waits,
            changed=lambda: self._tell(key),
        )

    def _shared(self) -> containers.Machine:
        if self._machine is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            session = aiohttp.ClientSession(
                connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
            self._machine = containers.Machine(self._time, session, groups.Reaper(), memory.Limits(), dict(os.environ))
        return self._machine

    async def _run(self, replica: _Replica) -> None:
        key, port = replica.revision.key, replica.door.port if replica.door else None
        lost = False
        try:
            async with asyncio.TaskGroup() as tasks:
                for container in replica.containers:
                    tasks.create_task(container.run())
        except ExceptionGroup:
            lost = True
            _log.exception("a replica was lost", extra={"replica": replica.name})
        finally:
            self._replicas[key].remove(replica)
            replica.mounts.cancel()
            if replica.place is not None:
                self._places.leave(replica.place)
            self._shelf.end(key, replica.name)
            if port is not None:
                self._ports.give_back(port)
        await asyncio.to_thread(shutil.rmtree, self._root / "replicas" / replica.name, ignore_errors=True)
        if not lost:  # what failed once here, e.g. for want of file descriptors, would fail again at once
            self._refill(key)
        self._tell(key)

    def _refill(self, key: str) -> None:
        if (revision := self._revisions.get(key)) is not None:
            self._fill(revision)
        elif not self._replicas.get(key):
            self._replicas.pop(key, None)

    def _fill(self, revision: _Revision) -> None:
        while len(self._staying(revision.key)) < revision.replicas:
            self._add(revision)

    def _staying(self, key: str) -> list[_Replica]:
        """The replicas that are wanted, oldest first; one that restarts keeps its place until its successor starts."""
        return [replica for replica in self._replicas.get(key, []) if not replica.leaving]

    def _replayed(self) -> None:
        for replica in [one for several in self._replicas.values() for one in several]:
            replica.look()

    def _tell(self, key: str) -> None:
        """Tell `changed` soon, once for all that happens in one turn of the event loop."""
        if key not in self._told:
            self._told.add(key)
            asyncio.get_running_loop().call_soon(self._tell_now, key)

    def _tell_now(self, key: str) -> None:
        self._told.discard(key)
        self.changed(key)


class _Replica:
    def __init__(self, revision: replicas.Revision, name: str, time: clock.Clock, door: doors.Door | None) -> None:
        self.revision = revision
        self.name = name
        self.door = door
        self.containers: list[containers.Container] = []
        self.leaving = False
        self.place: places.Place | None = None
        self.mounts = mounts.Mounts(revision, time, self.look)
        self._created = time.now()

    @property
    def placed(self) -> bool:
        return self.place is None or self.place.shortage is None

    def waits(self) -> str | None:
        """For a machine first, then for its mounts."""
        if self.place is not None and self.place.shortage is not None:
            return self.place.shortage.container
        return self.mounts.problem

    def look(self) -> None:
        """What the containers wait for may differ."""
        for container in self.containers:
            container.look()

    def leave(self) -> None:
        """Stop without a successor."""
        self.leaving = True
        self.stop()

    def stop(self) -> None:
        for container in self.containers:
            container.stop()

    def kill(self) -> None:
        for container in self.containers:
            container.kill()

    def value(self) -> replicas.Replica:
        states = tuple(container.status for container in self.containers)
        running = all(state.state == "Running" for state in states)
        return replicas.Replica(
            name=self.name,
            created=self._created,
            state="Running" if running else "NotRunning",
            details="",  # recorded: replicas-list, always empty
            containers=states,
            address=("127.0.0.1", self.door.port) if self.door else None,
            placed=self.placed,
        )
