"""What the service manager is told, and the unit by which it starts the controller."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from controller import cli, options
from controller.telemetry import supervisor

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "infra/systemd/acaops.service"


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str | bytes) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(10)

    def heard(self) -> str:
        """The next datagram."""
        return self._socket.recv(65536).decode()

    def nothing(self) -> bool:
        self._socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            self._socket.recv(1)
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    one = Manager(address)
    yield one
    one.close()


def test_the_life_of_a_service(manager: Manager, address: str) -> None:
    """Each thing in one datagram, the reload with its time."""
    one = supervisor.Supervisor({"NOTIFY_SOCKET": address}, monotonic=lambda: 123_456_789)
    one.ready()
    one.status("3 objects\nReady")
    one.reloading()
    one.stopping()

    heard = [manager.heard() for _ in range(4)]
    assert heard == ["READY=1", "STATUS=3 objects Ready", "RELOADING=1\nMONOTONIC_USEC=123456", "STOPPING=1"]


def test_the_abstract_space() -> None:
    """systemd may listen where no file is."""
    name = f"acaops-{os.getpid()}"
    manager = Manager(b"\0" + name.encode())
    try:
        supervisor.Supervisor({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert manager.heard() == "READY=1"
    finally:
        manager.close()


async def test_without_a_manager_nothing_happens(manager: Manager) -> None:
    """Not even a log line."""
    with structlog.testing.capture_logs() as lines:
        one = supervisor.Supervisor({"WATCHDOG_USEC": "2000000"})
        async with one.watched(lambda: pytest.fail("it was asked")):
            one.ready()
            await asyncio.sleep(0)

    assert lines == []
    assert manager.nothing()


def test_children_inherit_nothing(address: str) -> None:
    """They would speak in this process's name."""
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    supervisor.Supervisor(environ)

    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("where", ["{tmp}/nobody", "vsock:2:1", "/" + "x" * 200])
def test_a_socket_that_fails_is_logged_once(tmp_path: Path, where: str) -> None:
    """And never raised."""
    one = supervisor.Supervisor({"NOTIFY_SOCKET": where.format(tmp=tmp_path)})
    with structlog.testing.capture_logs() as lines:
        one.ready()
        one.stopping()

    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_manager_that_does_not_listen_is_not_waited_for(manager: Manager, address: str) -> None:
    """A full socket is a failure like another."""
    one = supervisor.Supervisor({"NOTIFY_SOCKET": address})
    with structlog.testing.capture_logs() as lines:
        for _ in range(5000):
            one.ready()

    assert len(lines) == 1


class Clock:
    """Lets each sleep end when the test says so."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.turns: asyncio.Queue[None] = asyncio.Queue()
        self.asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.asleep.set()
        await self.turns.get()

    async def turn(self) -> None:
        """One round of the watchdog."""
        self.asleep.clear()
        self.turns.put_nowait(None)
        await asyncio.wait_for(self.asleep.wait(), 10)


@pytest.mark.parametrize("pid", [None, str(os.getpid())], ids=["anybody", "this process"])
async def test_the_watchdog_is_told_while_the_loop_turns(manager: Manager, address: str, pid: str | None) -> None:
    """At half the time asked for; a stuck loop is logged once, and heard of again if it comes back."""
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", **({"WATCHDOG_PID": pid} if pid else {})}
    clock, alive = Clock(), True
    with structlog.testing.capture_logs() as lines:
        async with supervisor.Supervisor(environ).watched(lambda: alive, sleep=clock.sleep):
            await asyncio.wait_for(clock.asleep.wait(), 10)
            assert manager.heard() == "WATCHDOG=1"
            alive = False
            await clock.turn()
            await clock.turn()
            assert manager.nothing()
            alive = True
            await clock.turn()

    assert manager.heard() == "WATCHDOG=1"
    assert clock.slept == [15.0] * 4
    assert [line["log_level"] for line in lines] == ["error"]


@pytest.mark.parametrize("extra", [{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {}])
async def test_a_watchdog_that_is_not_asked_for(manager: Manager, address: str, extra: dict[str, str]) -> None:
    """Or asked of another process."""
    async with supervisor.Supervisor({"NOTIFY_SOCKET": address, **extra}).watched(lambda: True):
        await asyncio.sleep(0)

    assert manager.nothing()


def unit() -> list[tuple[str, str, str]]:
    """Section, name and value of each line, also of those that are there to be uncommented."""
    found, section = [], ""
    for line in UNIT.read_text().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif setting := re.fullmatch(r"#?([A-Z]\w+)=(.*)", line):
            found.append((section, setting[1], setting[2]))
    return found


def values(name: str) -> list[str]:
    return [value for _, known, value in unit() if known == name]


def test_the_unit_starts_a_command_that_exists() -> None:
    """One that pyproject installs, with a command the program has."""
    (start,) = values("ExecStart")
    path, command = start.split()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    assert Path(path).name in scripts
    assert command in {one.callback.__name__ for one in cli.app.registered_commands if one.callback}


def test_the_unit_sets_settings_that_exist() -> None:
    """Also those that it only mentions."""
    named = set(re.findall(r"ACAOPS_[A-Z_]+(?==)", UNIT.read_text()))

    assert {"ACAOPS_REPO", "ACAOPS_CACHE", "ACAOPS_HOOK_SECRET_FILE"} <= named
    assert named <= {option.variable for option in options.OPTIONS}


def test_the_unit_gives_what_the_supervisor_needs() -> None:
    """The service says when it is ready and that it lives; a reload is the signal it knows."""
    assert (values("Type"), values("ExecReload")) == (["notify"], ["/bin/kill -HUP $MAINPID"])
    assert float(values("WatchdogSec")[0]) >= 30


def test_each_secret_of_the_unit_is_a_credential_it_loads() -> None:
    """A file setting points at what LoadCredential put there; the cache at the folder that is made for it."""
    loaded = {value.partition(":")[0] for value in values("LoadCredential")}
    settings = dict(value.split("=", 1) for value in values("Environment"))
    named = {value.removeprefix("%d/") for value in settings.values() if value.startswith("%d/")}

    assert named == loaded
    assert settings["ACAOPS_CACHE"] == f"%C/{values('CacheDirectory')[0]}"
