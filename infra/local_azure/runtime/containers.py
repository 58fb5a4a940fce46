"""One container of one replica: its process, its restarts, and its state in the service's words.

It starts the command as `environment` translated it, lets `watches` judge it, and ends it with its whole
group. It doesn't know the other containers or replicas.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import environment, groups, logs, memory, probes, scripts, watches

# Documented: kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle, "Container restarts": the first restart
# comes at once, then 10 s doubling to 5 min; ten minutes of running clear the count. In Azure's seconds.
BACK_OFF_FIRST, BACK_OFF_MOST, BACK_OFF_RESET = 10.0, 300.0, 600.0
LEAST_BACK_OFF_S = 0.25
LEAST_RESET_S = 10.0
CRASHES = 2
# Assumed: for this part of a back-off the container shows how it ended, then that it waits.
SHOWN = 0.5

_LOOK_EVERY_S = 0.25
_MI = 1024**2
_DRAIN_S = 1.0


@dataclass(frozen=True)
class Machine:
    """What all containers of a runtime share. `server` is the environment the server was started with."""

    time: clock.Clock
    session: aiohttp.ClientSession
    reaper: groups.Reaper
    memory: memory.Limits
    server: Mapping[str, str]


@dataclass
class Door:
    """A replica's loopback port for the revision's target port; `port` may still move to the target itself."""

    target: int
    port: int


def back_off(crashes: int) -> float:
    """Azure's seconds before the next start, after `crashes` in a row."""
    return 0.0 if crashes < CRASHES else min(BACK_OFF_MOST, BACK_OFF_FIRST * 2.0 ** (crashes - CRASHES))


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
        door: Door | None,
        log: logs.Log,
        machine: Machine,
        part: scripts.Part,
        waits: Callable[[], str | None],
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.hint = ""
        self._revision = revision
        self._place = place
        self._door = door
        self._log = log
        self._machine = machine
        self._waits = waits
        self._changed = changed
        self._pull = scripts.Pull(part, machine.time, self.look)
        self._script = scripts.Script(part, machine.time, limits=True, changed=self._turned, end=self._finish)
        self._ending: scripts.Ending | None = None
        self._probes = probes.complete(spec.probes, revision.target_port if place.main else None)
        self._state, self._details = "Waiting", "Container is waiting with reason: PodInitializing."
        self._id: str | None = None
        self._pid: int | None = None
        self._started = self._ready = False
        self._restarts = -1
        self._crashes = 0
        self._looked = float("-inf")
        self._address_checked = False
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
            restarts=max(0, self._restarts),
        )

    @property
    def crashing(self) -> bool:
        """It ended at least twice in a row and hasn't become ready since."""
        return self._crashes >= CRASHES and not self._is_ready

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
        if self._pid is not None:
            groups.kill(self._pid)

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
            self._set("Waiting", f"Container is waiting with reason: {reason}")
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
            return (
                f"ImagePullBackOff on legion. Local Azure doesn't pull images, so it can't know the entry point of "
                f"{self.spec.image}: give the container a command."
            )
        self._pull.begin()
        return self._pull.reason

    def _reset_s(self) -> float:
        return self._machine.time.real(BACK_OFF_RESET, least=LEAST_RESET_S)

    async def _pause(self) -> None:
        delay = self._machine.time.real(back_off(self._crashes), least=LEAST_BACK_OFF_S)
        if self._crashes < CRASHES:
            await self._sleep(delay)
            return
        await self._sleep(delay * SHOWN)
        self._id = None
        # recorded: the words "on legion." in replica details
        self._set("Waiting", "Container is waiting with reason: CrashLoopBackOff on legion.")
        await self._sleep(delay * (1 - SHOWN))

    async def _sleep(self, seconds: float) -> None:
        """Until it is stopped, at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _once(self) -> float:
        """One run of the command; returns how many real seconds it took."""
        self._restarts += 1
        if not self._stop.is_set():
            self._end.clear()
        begun = asyncio.get_running_loop().time()
        launch = environment.launch(self._revision, self.spec, place=self._place, server=self._machine.server)
        if self._restarts == 0:
            self._log.write(list(launch.notes))
        read, write = os.pipe()
        try:
            process = await self._spawn(launch, write)
        except (OSError, ValueError) as error:
            os.close(read)
            self._note(f"can't start {launch.argv[0]}: {error}")
            self._terminated("StartError", 128)  # assumed: Kubernetes' word and code
            return 0.0
        finally:
            os.close(write)
        await self._attend(process, read)
        return asyncio.get_running_loop().time() - begun

    async def _spawn(self, launch: environment.Launch, output: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *launch.argv,
            env=dict(launch.env),
            cwd=self._place.home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    async def _attend(self, process: asyncio.subprocess.Process, output: int) -> None:
        """From the start of the process to the end of its group and of its output."""
        self._machine.reaper.add(process.pid)
        self._pid = process.pid
        self._id = f"containerd://{secrets.token_hex(16)}"
        self._set("Running", f"Container started at: {moment(self._machine.time.now())}.")
        self._ending = None
        self._script.begin()
        self._limit(process.pid)
        pump = asyncio.create_task(self._pump(output))
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = watches.Watch(self._probes, time=self._machine.time, ask=self._ask, told=self)
                watching = tasks.create_task(watch.run())
                ending = tasks.create_task(self._terminate(process, watching))
                code = await process.wait()
                watching.cancel()
                ending.cancel()
        finally:
            self._pid = None
            self._script.cancel()
            self._machine.memory.remove(process.pid)
            groups.kill(process.pid)
            await asyncio.to_thread(groups.kill_marked, self._place.marker)
            self._machine.reaper.remove(process.pid)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pump, _DRAIN_S)
        own = scripts.Ending("Error" if code else "Completed", code if code >= 0 else 128 - code)
        ended = self._ending or own
        self._terminated(ended.reason, ended.code)

    def _limit(self, pid: int) -> None:
        most = self._script.memory or self.spec.memory
        if most is not None:
            self._machine.memory.add(pid, most, lambda taken: self._too_large(taken, most))

    def _too_large(self, taken: int, most: int) -> None:
        self._note(f"it takes {taken / _MI:.0f} MiB of memory, more than its {most / _MI:.0f} MiB")
        self._finish(scripts.OUT_OF_MEMORY)

    def _finish(self, ending: scripts.Ending) -> None:
        """End this run as the kernel or the scenario has it."""
        if self._pid is not None and self._ending is None:
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

    async def _terminate(self, process: asyncio.subprocess.Process, watching: asyncio.Task[None]) -> None:
        await self._end.wait()
        watching.cancel()
        self._ready = False
        self._changed()
        # Kubernetes signals the container's first process only; what it leaves behind ends with the group.
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.sleep(self._revision.grace)
        groups.kill(process.pid)

    async def _pump(self, output: int) -> None:
        reader, splitter = asyncio.StreamReader(), logs.Splitter()
        loop = asyncio.get_running_loop()
        file = os.fdopen(output, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        try:
            while data := await reader.read(logs.LINE_BYTES):
                self._log.write(splitter.feed(data))
        finally:
            self._log.write(splitter.end())
            transport.close()

    async def _ask(self, probe: replicas.Probe, timeout_s: float) -> probes.Result:
        if probe.kind == probes.STARTUP and not self._script.open:
            return probes.Result(False, "not ready by the scenario", False)
        door = self._door if self._door is not None and self._door.target == probe.port else None
        port = probe.port if door is None else door.port
        result = await probes.check(probe, port, timeout_s=timeout_s, session=self._machine.session)
        if door is not None and result.refused:
            await self._find_port(door)
        elif door is not None and result.ok:
            self._hint("")
            await self._check_address(door)
        return result

    async def _find_port(self, door: Door) -> None:
        """Nobody listens where it should: move to the target port itself, or say where it listens instead."""
        now = asyncio.get_running_loop().time()
        if self._pid is None or now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        ports = [one.port for one in await asyncio.to_thread(groups.listeners, self._pid)]
        if door.target in ports and door.port != door.target:
            door.port = door.target
            self._note(f"the app listens on its target port {door.target}, not on PORT; requests go there")
        elif ports and door.port not in ports:
            # recorded: runningStateDetails of a revision with the wrong port
            self._hint(f"The TargetPort {door.target} does not match the listening port {ports[0]}.")

    async def _check_address(self, door: Door) -> None:
        if self._address_checked or self._pid is None:
            return
        self._address_checked = True
        found = [one for one in await asyncio.to_thread(groups.listeners, self._pid) if one.port == door.port]
        if found and all(one.local_only for one in found):
            self._note("the app listens on the loopback address only: Azure couldn't reach it; use 0.0.0.0")

    def _hint(self, text: str) -> None:
        if text != self.hint:
            self.hint = text
            self._changed()

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
        self._set("Terminated", f"Container was terminated with reason: {reason}, exit code: {code}.")

    def _set(self, state: str, details: str) -> None:
        self._state, self._details = state, details
        self._changed()

    def _note(self, text: str) -> None:
        self._log.write([f"local Azure: {text}"])


def moment(time: datetime) -> str:
    """Recorded: replicas-list, "5/24/2025 4:35:31 PM"."""
    hour = time.hour % 12 or 12
    return f"{time.month}/{time.day}/{time.year} {hour}:{time:%M:%S} {time:%p}"
