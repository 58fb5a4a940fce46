"""One run of a command: a process in a session of its own, what it prints, and the end of all it left behind.

It knows no container's state: when the run is to end, and what comes after it, is decided by its owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from infra.local_azure.runtime import environment, groups, logs

_DRAIN_S = 1.0


async def start(
    launch: environment.Launch, place: environment.Place, *, log: logs.Log, reaper: groups.Reaper
) -> Session:
    """The command, running. Raises OSError or ValueError when it can't be started."""
    read, write = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *launch.argv,
            env=dict(launch.env),
            cwd=place.home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            start_new_session=True,
        )
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    return Session(process, read, marker=place.marker, log=log, reaper=reaper)


class Session:
    """A started command and whatever it starts. `pid` is its first process's, and the id of its group and session."""

    def __init__(
        self, process: asyncio.subprocess.Process, output: int, *, marker: str, log: logs.Log, reaper: groups.Reaper
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._marker = marker
        self._reaper = reaper
        reaper.add(self.pid)
        self._pump = asyncio.create_task(_pump(output, log))

    async def wait(self) -> int:
        """Until the first process ends; returns its exit code, 128 and the signal's number for a signal."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def end(self, grace: float) -> None:
        """SIGTERM now, SIGKILL after `grace` real seconds."""
        # Kubernetes signals the container's first process only; what it leaves behind ends with the group.
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await asyncio.sleep(grace)
        self.kill()

    def kill(self) -> None:
        """End the group at once."""
        groups.kill(self.pid)

    async def close(self) -> None:
        """End what is left of it, and wait, a second at most, for the rest of its output."""
        self.kill()
        await asyncio.to_thread(groups.kill_marked, self._marker)
        self._reaper.remove(self.pid)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pump, _DRAIN_S)


async def _pump(output: int, log: logs.Log) -> None:
    reader, splitter = asyncio.StreamReader(), logs.Splitter()
    loop = asyncio.get_running_loop()
    file = os.fdopen(output, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        while data := await reader.read(logs.LINE_BYTES):
            log.write(splitter.feed(data))
    finally:
        log.write(splitter.end())
        transport.close()
