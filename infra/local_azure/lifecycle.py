"""The local Azure as a process: started, found, asked for its environment, stopped, wiped.

It works from outside, by the state folder alone; what the server does is in `server`. A lock that the server
holds says whether it runs, so a stale file or a reused process id fools nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local_azure import settings

READY_SECONDS = 30.0
STOP_SECONDS = 30.0
FORCE_SECONDS = 5.0
LOOK_SECONDS = 0.05
# How long a server waits for the lock: somebody may just be looking whether it is held.
LOCK_SECONDS = 1.0
TAIL = 2000
SERVER = "server.json"
LOCK = "lock"
LOG = "server.log"


class LifecycleError(Exception):
    """The server can't be started or stopped; the message says why, for people."""


@dataclass(frozen=True)
class Running:
    """A server that listens. `subscription` is its first one."""

    state: Path
    pid: int
    url: str
    port: int
    ca: Path
    tenant: str
    subscription: str
    client_id: str


def up(state: Path, *, port: int, time_scale: float, more: Sequence[str] = ()) -> Running:
    """Start a server that outlives this process and wait until it listens; the running one, if there is one.

    `more` are further arguments of `serve`. Raises LifecycleError, e.g. for a port in use, or when one runs on another
    port than `port` or can't be given `more` any more.
    """
    state = _folder(state)
    found = running(state)
    if found is not None:
        if port not in (0, found.port):
            raise LifecycleError(f"a local Azure already runs on port {found.port} with the state in {state}")
        if more:
            raise LifecycleError(f"a local Azure already runs with the state in {state}; stop it before {more[0]}")
        return found
    with (state / LOG).open("w") as log:
        process = subprocess.Popen(
            [*_command(state, port=port, time_scale=time_scale, processes=True), *more],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_child_environment(),
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_SECONDS
    while (found := _ready(state, process.pid)) is None:
        if process.poll() is not None:
            raise LifecycleError(f"the local Azure didn't start: {_tail(state)}")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise LifecycleError(f"the local Azure wasn't ready within {READY_SECONDS:.0f} s: {_tail(state)}")
        time.sleep(LOOK_SECONDS)
    # It is left running on purpose; without this, Popen warns of a child nobody waited for.
    process.returncode = 0
    return found


def down(state: Path) -> bool:
    """Stop the server and wait for its end; False when none ran."""
    found = running(state)
    if found is None:
        return False
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGTERM, FORCE_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not _held(state) and not _alive(found.pid):
                return True
            time.sleep(LOOK_SECONDS)
    raise LifecycleError(f"process {found.pid} doesn't end")


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # one that this process started would stay as a zombie
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def reset(state: Path) -> None:
    """Stop the server and remove all it keeps. Refuses a folder that isn't a local Azure's."""
    down(state)
    if not state.exists():
        return
    if any(state.iterdir()) and not (state / settings.IDENTITY).exists():
        raise LifecycleError(f"{state} doesn't look like the state of a local Azure; not removed")
    shutil.rmtree(state)


def running(state: Path) -> Running | None:
    """The server of this state folder, if one listens."""
    if not _held(state):
        return None
    try:
        facts = json.loads((state / SERVER).read_text())
    except FileNotFoundError:
        return None
    return Running(state=state, **{**facts, "ca": Path(facts["ca"])})


def environment(server: Running) -> dict[str, str]:
    """The variables with which the SDKs, az and acaops use `server`, secret included."""
    return {
        "ACAOPS_CLOUD": server.url,
        "ARM_CLOUD_METADATA_URL": f"{server.url}/metadata/endpoints?api-version=2019-05-01",
        "AZURE_AUTHORITY_HOST": server.url,
        "AZURE_CLIENT_ID": server.client_id,
        "AZURE_CLIENT_SECRET": settings.identity(server.state).client_secret,
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{server.port}",
        "AZURE_SUBSCRIPTION_ID": server.subscription,
        "AZURE_TENANT_ID": server.tenant,
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        "NO_PROXY": "127.0.0.1,localhost,.localhost",
        "REQUESTS_CA_BUNDLE": str(server.ca),
        "SSL_CERT_FILE": str(server.ca),
    }


@contextlib.asynccontextmanager
async def serve_child(
    state: Path, *, port: int, time_scale: float, processes: bool = True, more: Sequence[str] = ()
) -> AsyncIterator[Running]:
    """A server that lives as long as the `async with` block, and no longer than this process.

    `more` are further arguments of `serve`. Raises LifecycleError when it doesn't start.
    """
    state = _folder(state)
    command = [*_command(state, port=port, time_scale=time_scale, processes=processes), "--exit-with-parent", *more]
    with (state / LOG).open("w") as log:
        # Its own session: a Ctrl-C at the terminal is ours to pass on, in our order.
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_child_environment(),
            start_new_session=True,
        )
    try:
        yield await _listening(state, child)
    finally:
        await _ended(child)


@contextlib.contextmanager
def holding(state: Path) -> Iterator[None]:
    """For the server itself: hold the state folder alone. Raises LifecycleError when another server does."""
    with (_folder(state) / LOCK).open("w") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locked(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise LifecycleError(f"another local Azure uses the state in {state}")
            time.sleep(LOOK_SECONDS)
        (state / SERVER).unlink(missing_ok=True)
        try:
            yield
        finally:
            (state / SERVER).unlink(missing_ok=True)


def announce(server: Running) -> None:
    """For the server itself: say that it listens, and where. No secret is in this file."""
    facts = {name: value for name, value in vars(server).items() if name != "state"}
    settings.write_private(server.state / SERVER, json.dumps({**facts, "ca": str(server.ca)}, indent=1))


async def _listening(state: Path, child: asyncio.subprocess.Process) -> Running:
    try:
        async with asyncio.timeout(READY_SECONDS):
            while (found := _ready(state, child.pid)) is None:
                if child.returncode is not None:
                    raise LifecycleError(f"the local Azure didn't start: {_tail(state)}")
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        message = f"the local Azure wasn't ready within {READY_SECONDS:.0f} s: {_tail(state)}"
        raise LifecycleError(message) from None
    return found


async def _ended(child: asyncio.subprocess.Process) -> None:
    for end, seconds in ((child.terminate, STOP_SECONDS), (child.terminate, FORCE_SECONDS), (child.kill, None)):
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), seconds)
            return


def _folder(state: Path) -> Path:
    """The state folder by its full path, there from now on."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return state.absolute()


def _ready(state: Path, pid: int) -> Running | None:
    found = running(state)
    return found if found is not None and found.pid == pid else None


def _held(state: Path) -> bool:
    """Whether a server holds the state folder."""
    try:
        with (state / LOCK).open() as file:
            return not _locked(file.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _command(state: Path, *, port: int, time_scale: float, processes: bool) -> list[str]:
    command = [sys.executable, "-m", "infra.local_azure", "serve", "--state", str(state)]
    command += ["--port", str(port), "--time-scale", str(time_scale)]
    return command if processes else [*command, "--no-processes"]


def _child_environment() -> dict[str, str]:
    """Ours, with this package importable wherever the command was given."""
    root = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{before}" if before else root}


def _tail(state: Path) -> str:
    return (state / LOG).read_text(errors="replace")[-TAIL:].strip() or "it wrote nothing"
