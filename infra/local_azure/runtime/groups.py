"""Process groups on this machine: ending them, finding strays, free ports, and where a group listens.

Every container runs in a session of its own and carries a marker in its environment. What leaves the group
is found by that marker where there is a /proc; elsewhere only the group is ended.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local_azure.runtime import environment

# Below the range the kernel hands to outgoing connections (32768 and up on Linux, 49152 elsewhere), so that
# no connection takes a port between its choice and the container's bind.
PORTS = range(20000, 32000)

_PROC = Path("/proc")
_LISTEN = "0A"
_LOOKS, _UNSURE_LOOKS, _LOOK_S = 100, 5, 0.01


def kill(group: int) -> None:
    """SIGKILL to every process of the group; nothing happens when it is empty."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def kill_marked(marker: str) -> int:
    """SIGKILL to every process whose marker begins with `marker`, and wait for their end; returns how many.

    Blocks: mostly for one look at /proc, up to a second when a process doesn't go.
    """
    wanted = f"{environment.MARKER}={marker}".encode()
    killed: set[int] = set()
    for look in range(_LOOKS):
        marks = {pid: _marked(pid, wanted) for pid in _pids()}
        found = {pid for pid, marked in marks.items() if marked}
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
        if not found and (look >= _UNSURE_LOOKS or None not in marks.values()):
            break
        time.sleep(_LOOK_S)
    return len(killed)


def _pids() -> Iterator[int]:
    if not _PROC.is_dir():
        return
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def _marked(pid: int, wanted: bytes) -> bool | None:
    """Whether the process carries the marker; None while it is just being started and shows no environment."""
    if pid == os.getpid():
        return False
    process = _PROC / str(pid)
    try:
        variables = (process / "environ").read_bytes()
        if not variables:
            # Threads of the kernel and dead processes have no program; readlink fails for them.
            os.readlink(process / "exe")
            return None
    except OSError:  # it ended, or belongs to somebody else
        return False
    return any(variable.startswith(wanted) for variable in variables.split(b"\0"))


class Reaper:
    """The companion process that outlives the server by a moment; see `reaper`. Begun with the first group."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def add(self, group: int) -> None:
        if self._process is None:
            script = str(Path(__file__).with_name("reaper.py"))
            command = [sys.executable, "-I", "-S", script]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
            )
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Ends the companion, and with it every group that is still noted."""
        if self._process is not None:
            process, self._process = self._process, None
            process.communicate()

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line)
            self._process.stdin.flush()


class Ports:
    """Free loopback ports, none handed out twice at a time."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self) -> int:
        """A port on which nobody listens; raises OSError when there is none."""
        for port in random.sample(PORTS, len(PORTS)):
            if port not in self._taken and _free(port):
                self._taken.add(port)
                return port
        raise OSError("no free loopback port is left for another replica")

    def give_back(self, port: int) -> None:
        self._taken.discard(port)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":
            # As servers do: a port in TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def memory(sessions: Collection[int]) -> dict[int, int]:
    """Bytes that the processes of each of the `sessions` take, files' pages left out; empty where there is no /proc."""
    taken: dict[int, int] = {}
    for pid in _pids() if sessions else ():
        session = _session(pid)
        if session is not None and session in sessions:
            taken[session] = taken.get(session, 0) + _resident(pid)
    return taken


def _resident(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:  # it ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


@dataclass(frozen=True)
class Listener:
    """A listening socket. `local_only` when it is bound to the loopback address."""

    port: int
    local_only: bool


def listeners(session: int) -> tuple[Listener, ...]:
    """Where the processes of a container's `session` listen; empty where there is no /proc."""
    inodes = {inode for pid in _pids() if _session(pid) == session for inode in _sockets(pid)}
    if not inodes:
        return ()
    found = (_listener(line.split(), inodes) for name in ("tcp", "tcp6") for line in _table(name))
    return tuple(sorted({one for one in found if one}, key=lambda one: (one.port, one.local_only)))


def _session(pid: int) -> int | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The command's name stands in brackets and may hold anything; the session is the fourth field after it.
    return int(stat.rpartition(")")[2].split()[3])


def _sockets(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(entry)
                if target.startswith("socket:["):
                    yield target[8:-1]


def _table(name: str) -> list[str]:
    path = _PROC / "self" / "net" / name
    return path.read_text().splitlines()[1:] if path.exists() else []


def _listener(fields: list[str], inodes: set[str]) -> Listener | None:
    if fields[3] != _LISTEN or fields[9] not in inodes:
        return None
    address, _, port = fields[1].partition(":")
    # Words of 32 bits in the machine's order: 127.0.0.1 is 0100007F here and ::1 ends in 01000000.
    local = address[-2:] == "7F" if len(address) == 8 else address == "0" * 24 + "01000000"
    return Listener(int(port, 16), local)
