"""One container of one replica: its process, its restarts, and its state in the service's words.

It has `sessions` start the command as `environment` translated it, lets `watches` judge it, and decides when the run
ends and when the next begins. It doesn't know the other containers or replicas.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import (
    doors,
    environment,
    groups,
    logs,
    memory,
    probes,
    restarts,
    scripts,
    sessions,
    watches,
    wording,
)

# However fast Azure's time goes, a process takes its own: real seconds.
LEAST_BACK_OFF_S = 0.25
LEAST_RESET_S = 10.0

_MI = 1024**2


@dataclass(frozen=True)
class Machine:
    """What all containers of a runtime share. `server` is the environment the server was started with."""

    time: clock.Clock
    session: aiohttp.ClientSession
    reaper: groups.Reaper
    memory: memory.Limits
    server: Mapping[str, str]


class Container:
    """`run` it once; `stop` ends it. `changed` is called whenever `status`, `crashing` or `hint` may differ.

    `waits` says what its replica waits for, a machine or a mount; `look` is called when that, or the scenario, differs.
    """

    def __init__(
        self,
        spec: replicas.Container,
        revision: replicas.Revision,
        *,
        place: environment.Place,
        door: doors.Door | None,
        log: logs.Log,
        machine: Machine,
        part: scripts.Part,
        waits: Callable[[], str | None],
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self._revision = revision
        self._place = place
        self._log = log
        self._machine = machine
        self._waits = waits
        self._changed = changed
        self._pull = scripts.Pull(part, machine.time, self.look)
        self._script = scripts.Script(part, machine.time, limits=True, changed=self._turned, end=self._finish)
        self._ending: scripts.Ending | None = None
        self._listening = doors.Listening(door, note=self._note, changed=changed)
        self._state, self._details = "Waiting", wording.waiting(wording.STARTING)
        self._id: str | None = None
        self._session: sessions.Session | None = None
        self._started = self._ready = False
        self._starts = self._crashes = 0
        self._stop = asyncio.Event()
        self._end = asyncio.Event()
        self._news = asyncio.Event()

    @property
    def status(self) -> replicas.ContainerStatus:
        return replicas.ContainerStatus(
            name=self.spec.name,
            container_id=self._id,
            state=self._state,
            details=self._details,
            ready=self._is_ready and not self._stop.is_set(),
            started=self._started,
            restarts=max(0, self._starts - 1),
        )

    @property
    def hint(self) -> str:
        """Where its app listens, if that isn't its target port; mostly empty."""
        return self._listening.hint

    @property
    def crashing(self) -> bool:
        """It ended at least twice in a row and hasn't become ready since."""
        return self._crashes >= restarts.CRASHES and not self._is_ready

    @property
    def _is_ready(self) -> bool:
        return self._ready and self._script.open

    def look(self) -> None:
        """See again what it waits for before its first start."""
        self._pull.look()
        self._news.set()

    def stop(self) -> None:
        """SIGTERM now, SIGKILL after the grace period; it is no longer ready from this moment."""
        self._stop.set()
        self._end.set()
        self._news.set()

    def kill(self) -> None:
        """End the process at once."""
        if self._session is not None:
            self._session.kill()

    async def run(self) -> None:
        """Start the command, and again whenever it ends, until `stop`."""
        try:
            await self._admitted()
            await self._runs()
        finally:
            self._pull.cancel()
            self._script.cancel()

    async def _admitted(self) -> None:
        """A machine, the mounts and the image are there, or it is stopped."""
        while (reason := self._blocked()) is not None and not self._stop.is_set():
            self._set("Waiting", wording.waiting(reason))
            await self._news.wait()
            self._news.clear()

    async def _runs(self) -> None:
        while not self._stop.is_set():
            lived = await self._once()
            self._crashes = 1 + (0 if lived >= self._reset_s() else self._crashes)
            if not self._stop.is_set():
                await self._pause()

    def _blocked(self) -> str | None:
        if (reason := self._waits()) is not None:
            return reason
        if not self.spec.command:
            return wording.without_command(self.spec.image)
        self._pull.begin()
        return self._pull.reason

    def _reset_s(self) -> float:
        return self._machine.time.real(restarts.BACK_OFF_RESET, least=LEAST_RESET_S)

    async def _pause(self) -> None:
        delay = self._machine.time.real(restarts.back_off(self._crashes), least=LEAST_BACK_OFF_S)
        if self._crashes < restarts.CRASHES:
            await self._sleep(delay)
            return
        await self._sleep(delay * restarts.SHOWN)
        self._id = None
        self._set("Waiting", wording.waiting(wording.CRASHING))
        await self._sleep(delay * (1 - restarts.SHOWN))

    async def _sleep(self, seconds: float) -> None:
        """Until it is stopped, at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _once(self) -> float:
        """One run of the command; returns how many real seconds it took."""
        self._starts += 1
        self._end.clear()
        begun = asyncio.get_running_loop().time()
        launch = environment.launch(self._revision, self.spec, place=self._place, server=self._machine.server)
        if self._starts == 1:
            self._log.write(list(launch.notes))
        try:
            session = await sessions.start(launch, self._place, log=self._log, reaper=self._machine.reaper)
        except (OSError, ValueError) as error:
            self._note(f"can't start {launch.argv[0]}: {error}")
            self._terminated("StartError", 128)  # assumed: Kubernetes' word and code
            return 0.0
        await self._attend(session)
        return asyncio.get_running_loop().time() - begun

    async def _attend(self, session: sessions.Session) -> None:
        """From the start of the process to the end of its group and of its output."""
        self._session = session
        self._id = f"containerd://{secrets.token_hex(16)}"
        self._set("Running", wording.started(self._machine.time.now()))
        self._ending = None
        self._script.begin()
        self._limit(session.pid)
        try:
            code = await self._watched(session)
        finally:
            self._session = None
            self._script.cancel()
            self._machine.memory.remove(session.pid)
            await session.close()
        ended = self._ending or scripts.Ending("Error" if code else "Completed", code)
        self._terminated(ended.reason, ended.code)

    async def _watched(self, session: sessions.Session) -> int:
        """Its exit code, in the end; until then its probes are asked, and it is ended when that is wanted."""

        async def ask(probe: replicas.Probe, timeout_s: float) -> probes.Result:
            return await self._ask(probe, timeout_s=timeout_s, session=session.pid)

        async with asyncio.TaskGroup() as tasks:
            watch = watches.Watch(self.spec.probes, time=self._machine.time, ask=ask, told=self)
            watching = tasks.create_task(watch.run())
            ending = tasks.create_task(self._terminate(session, watching))
            code = await session.wait()
            watching.cancel()
            ending.cancel()
        return code

    def _limit(self, pid: int) -> None:
        most = self._script.memory or self.spec.memory
        if most is not None:
            self._machine.memory.add(pid, most, lambda taken: self._too_large(taken, most))

    def _too_large(self, taken: int, most: int) -> None:
        self._note(f"it takes {taken / _MI:.0f} MiB of memory, more than its {most / _MI:.0f} MiB")
        self._finish(scripts.OUT_OF_MEMORY)

    def _finish(self, ending: scripts.Ending) -> None:
        """End this run as the kernel or the scenario has it."""
        if self._session is not None and self._ending is None:
            self._ending = ending
            self._note(f"ended: {ending.reason}, exit code {ending.code}")
            self.kill()

    def _turned(self) -> None:
        self._note("ready by the scenario" if self._script.open else "not ready by the scenario")
        self._now_ready()
        self._changed()

    def _now_ready(self) -> None:
        if self._is_ready:
            self._script.ready()

    async def _terminate(self, session: sessions.Session, watching: asyncio.Task[None]) -> None:
        await self._end.wait()
        watching.cancel()
        self._ready = False
        self._changed()
        await session.end(self._revision.grace)

    async def _ask(self, probe: replicas.Probe, *, timeout_s: float, session: int) -> probes.Result:
        if probe.kind == probes.STARTUP and not self._script.open:
            return probes.Result(False, "not ready by the scenario", False)
        port = self._listening.port(probe.port)
        result = await probes.check(probe, port, timeout_s=timeout_s, session=self._machine.session)
        await self._listening.heard(probe.port, result, session=session)
        return result

    def started(self) -> None:
        self._started = True
        self._changed()

    def ready(self, ready: bool, why: str) -> None:
        if self._ready and not ready:
            self._note(f"no longer ready: {why}")
        self._ready = ready
        self._now_ready()
        self._changed()

    def unhealthy(self, why: str) -> None:
        self._note(f"{why}; the container is restarted")
        self._end.set()

    def _terminated(self, reason: str, code: int) -> None:
        self._started = self._ready = False
        self._set("Terminated", wording.terminated(reason, code))

    def _set(self, state: str, details: str) -> None:
        self._state, self._details = state, details
        self._changed()

    def _note(self, text: str) -> None:
        self._log.write([f"local Azure: {text}"])
