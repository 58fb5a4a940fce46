"""Revisions as processes: start, readiness, crashes, stop, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import processes
from tests.local_azure.runtime.scripted_apps import Apps, Told, alive, lines, linux, probe, server

REPO = Path(__file__).parents[3]


async def fetched(runtime: processes.Processes, key: str) -> str:
    address = runtime.replicas(key)[0].address
    assert address is not None
    async with aiohttp.ClientSession() as session, session.get(f"http://{address[0]}:{address[1]}/") as answer:
        return await answer.text()


def ready(runtime: processes.Processes, key: str = "app--one", *, count: int = 1) -> bool:
    return sum(replica.ready for replica in runtime.replicas(key)) == count


async def test_a_revision_runs_its_command_and_becomes_ready(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """The app answers at the replica's address once the default probes have passed."""
    runtime.start(apps.revision(server(), target_port=8080, env={"NAME": "v1"}))
    assert [replica.containers[0].details.split()[-1].rstrip(".") for replica in runtime.replicas("app--one")] == [
        "PodInitializing"
    ]
    await told.until(lambda: ready(runtime))
    assert await fetched(runtime, "app--one") == "v1"
    replica = runtime.replicas("app--one")[0]
    assert (replica.state, replica.containers[0].state, replica.containers[0].restarts) == ("Running", "Running", 0)
    assert replica.containers[0].details.startswith("Container started at: ")
    assert replica.name.startswith("app--one-")


async def test_the_log_says_what_stands_for_what_and_then_what_the_app_prints(
    apps: Apps, runtime: processes.Processes, tmp_path: Path, told: Told
) -> None:
    """Image, mount and port replacements come first."""
    mount = replicas.Mount("/mount", tmp_path, False)
    revision = apps.revision(
        "import os; print('at', os.environ['DATA'], flush=True)", env={"DATA": "/mount/x"}, mounts=(mount,)
    )
    runtime.start(revision)
    found = await lines(runtime, "app--one", until="at ")
    assert (
        found[0]
        == "local Azure: image docker.io/library/app:1 isn't pulled; the command runs in the server's environment"
    )
    assert f"local Azure: /mount stands for {tmp_path}" == found[1]
    assert f"at {tmp_path}/x" == found[-1]


async def test_a_container_without_a_command_waits_and_says_why(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """Images aren't pulled, so their entry point can't be known."""
    runtime.start(apps.with_container(apps.container(())))
    await told.until(lambda: "ImagePullBackOff" in runtime.replicas("app--one")[0].containers[0].details)
    status = runtime.replicas("app--one")[0].containers[0]
    assert (status.state, status.ready, status.container_id) == ("Waiting", False, None)
    assert "docker.io/library/app:1" in status.details


async def test_a_revision_with_a_problem_waits_with_that_reason(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """A mount that fails keeps the command from being run."""
    runtime.start(apps.revision("raise SystemExit('ran')", problem="MountVolume failed"))
    await told.until(lambda: "MountVolume failed" in runtime.replicas("app--one")[0].containers[0].details)
    assert await lines(runtime, "app--one") == []


async def test_a_container_that_ends_is_restarted_and_then_backs_off(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """Also with exit code 0: first Terminated, then CrashLoopBackOff, and the revision counts as crashing."""
    seen: set[str] = set()

    def backing_off() -> bool:
        seen.update(replica.containers[0].details for replica in runtime.replicas("app--one"))
        return bool(runtime.crashing("app--one"))

    runtime.start(apps.revision("print('done')"))
    await told.until(backing_off)
    assert runtime.crashing("app--one") == ("main",)
    assert "Container was terminated with reason: Completed, exit code: 0." in seen
    await told.until(lambda: runtime.replicas("app--one")[0].containers[0].restarts >= 2)


@pytest.mark.parametrize(("ending", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
async def test_an_exit_code_is_told(
    apps: Apps, runtime: processes.Processes, told: Told, ending: str, code: int
) -> None:
    """A failure ends with reason Error and its code, a signal with 128 and the signal's number."""
    runtime.start(apps.revision(ending))
    wanted = f"Container was terminated with reason: Error, exit code: {code}."
    await told.until(lambda: runtime.replicas("app--one")[0].containers[0].details == wanted)


async def test_a_command_that_does_not_exist_is_told(apps: Apps, runtime: processes.Processes, told: Told) -> None:
    """Nothing to run: StartError, and the log names the command."""
    runtime.start(apps.with_container(apps.container(("no-such-program",))))
    wanted = "Container was terminated with reason: StartError, exit code: 128."
    await told.until(lambda: runtime.replicas("app--one")[0].containers[0].details == wanted)
    assert "no-such-program" in (await lines(runtime, "app--one"))[-1]


async def test_a_failed_liveness_probe_restarts_the_container(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """An app that stops answering well is ended and started again."""
    broken = "def reply(path):\n    return (500 if path == '/livez' else 200), NAME"
    liveness = probe("Liveness", path="/livez", failure_threshold=2, period=1.0)
    runtime.start(apps.revision(server(broken), target_port=8080, probes=(liveness,)))
    await told.until(lambda: runtime.replicas("app--one")[0].containers[0].restarts >= 1)
    found = await lines(runtime, "app--one")
    assert "local Azure: Liveness probe failed: HTTP 500; the container is restarted" in found


async def test_readiness_follows_the_app(apps: Apps, runtime: processes.Processes, told: Told, tmp_path: Path) -> None:
    """A replica is ready while its probe passes, without a restart when it doesn't."""
    flag = tmp_path / "ready"
    extra = f"def reply(path):\n    return (200 if os.path.exists({str(flag)!r}) else 503), NAME"
    readiness = probe("Readiness", path="/readyz", failure_threshold=1, period=1.0)
    runtime.start(apps.revision(server(extra), target_port=8080, probes=(readiness,)))
    await told.until(lambda: runtime.replicas("app--one")[0].containers[0].started)
    assert not ready(runtime)
    flag.touch()
    await told.until(lambda: ready(runtime))
    flag.unlink()
    await told.until(lambda: ready(runtime, count=0))
    assert runtime.replicas("app--one")[0].containers[0].restarts == 0


async def test_stopping_ends_the_whole_group_after_the_leader(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """The leader gets SIGTERM and may finish; its children don't outlive it; then there are no replicas."""
    source = (
        "import signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "def end(*_):\n    print('finished', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('child', child.pid, flush=True)\ntime.sleep(600)\n"
    )
    runtime.start(apps.revision(source))
    child = int((await lines(runtime, "app--one", until="child"))[-1].split()[1])
    name = runtime.replicas("app--one")[0].name
    runtime.stop("app--one")
    assert [replica.ready for replica in runtime.replicas("app--one")] == [False]
    await told.until(lambda: runtime.replicas("app--one") == ())
    assert not alive(child)
    found = [line async for _, line in runtime.logs("app--one", name, "main", tail=1, follow=True)]
    assert found == ["finished"]


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """Grace periods are real seconds."""
    source = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)\n"
    )
    runtime.start(apps.revision(source, grace=0.3))
    pid = int((await lines(runtime, "app--one", until="pid"))[-1].split()[1])
    runtime.stop("app--one")
    await told.until(lambda: runtime.replicas("app--one") == ())
    assert not alive(pid)


DRAINING = """
import asyncio, os, signal
async def main():
    asked, told = asyncio.Event(), asyncio.Event()
    async def serve(reader, writer):
        head = await reader.read(4096)
        if head.startswith(b"GET / "):
            print("asked", flush=True)
            await told.wait()
            # Longer than it takes a probe to fail.
            await asyncio.sleep(0.6)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\ndone")
            await writer.drain()
            asked.set()
        writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    server.close()
    await asked.wait()
asyncio.run(main())
"""


async def test_a_stopped_app_may_finish_what_it_is_doing(apps: Apps, runtime: processes.Processes, told: Told) -> None:
    """Within the grace period an open request is answered, and no probe takes the draining app for a broken one."""
    liveness = probe("Liveness", path=None, failure_threshold=1, period=1.0)
    runtime.start(apps.revision(DRAINING, target_port=8080, probes=(liveness,), grace=10.0))
    await told.until(lambda: ready(runtime))
    name = runtime.replicas("app--one")[0].name
    asking = asyncio.create_task(fetched(runtime, "app--one"))
    await lines(runtime, "app--one", until="asked")
    runtime.stop("app--one")
    assert await asyncio.wait_for(asking, 10) == "done"
    await told.until(lambda: runtime.replicas("app--one") == ())
    log = [line async for _, line in runtime.logs("app--one", name, "main", tail=100, follow=True)]
    assert [line for line in log if "probe" in line] == []


async def test_restarting_replaces_every_replica(apps: Apps, runtime: processes.Processes, told: Told) -> None:
    """New names, the same number, and ready again."""
    runtime.start(apps.revision(server(), target_port=8080, count=2))
    await told.until(lambda: ready(runtime, count=2))
    before = {replica.name for replica in runtime.replicas("app--one")}
    runtime.restart("app--one")
    await told.until(lambda: ready(runtime, count=2))
    after = {replica.name for replica in runtime.replicas("app--one")}
    assert (2, set()) == (len(after), before & after)


async def test_starting_a_stopping_revision_begins_anew(apps: Apps, runtime: processes.Processes, told: Told) -> None:
    """An activate just after a deactivate doesn't wait for the old replica."""
    revision = apps.revision(server(), target_port=8080)
    runtime.start(revision)
    await told.until(lambda: ready(runtime))
    old = runtime.replicas("app--one")[0].name
    runtime.stop("app--one")
    runtime.start(revision)
    await told.until(lambda: ready(runtime) and len(runtime.replicas("app--one")) == 1)
    assert old != runtime.replicas("app--one")[0].name


@linux
async def test_an_app_on_its_target_port_is_found_there(
    apps: Apps, runtime: processes.Processes, told: Told, unused_tcp_port: int
) -> None:
    """An app that doesn't read PORT still works, as it would in Azure."""
    revision = apps.revision(server(port="FIXED"), target_port=unused_tcp_port, env={"FIXED": str(unused_tcp_port)})
    runtime.start(revision)
    await told.until(lambda: ready(runtime))
    assert ("127.0.0.1", unused_tcp_port) == runtime.replicas("app--one")[0].address


@linux
async def test_a_wrong_target_port_is_hinted_at(
    apps: Apps, runtime: processes.Processes, told: Told, unused_tcp_port: int
) -> None:
    """In the service's words, with the port the app really listens on."""
    revision = apps.revision(server(port="FIXED"), target_port=8080, env={"FIXED": str(unused_tcp_port)})
    runtime.start(revision)
    await told.until(lambda: runtime.hint("app--one"))
    expected = f"The TargetPort 8080 does not match the listening port {unused_tcp_port}."
    assert expected == runtime.hint("app--one")


@linux
async def test_an_app_on_the_loopback_address_is_warned_about(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """It works here and wouldn't in Azure, so the log says so."""
    runtime.start(apps.revision(server(), target_port=8080))
    await lines(runtime, "app--one", until="Azure couldn't reach it; use 0.0.0.0")


@linux
async def test_closing_leaves_no_process_even_one_that_left_the_group(apps: Apps, tmp_path: Path) -> None:
    """A daemon in a session of its own ends with its container, and scratch folders are gone."""
    runtime = processes.Processes(tmp_path / "own", clock.ScaledClock(100))
    source = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print('daemon', child.pid, flush=True)\ntime.sleep(600)\n"
    )
    runtime.start(apps.revision(source))
    daemon = int((await lines(runtime, "app--one", until="daemon"))[-1].split()[1])
    assert alive(daemon)
    await runtime.close()
    assert not alive(daemon)
    assert runtime.replicas("app--one") == ()
    assert list((tmp_path / "own" / "replicas").iterdir()) == []


async def test_closing_does_not_wait_for_long_grace_periods(
    apps: Apps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ignores SIGTERM holds the server's end up for 5 s at most, shorter here."""
    monkeypatch.setattr(processes, "CLOSE_GRACE_S", 0.1)
    runtime = processes.Processes(tmp_path / "own", clock.ScaledClock(100))
    source = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
    )
    runtime.start(apps.revision(source, grace=600.0))
    await lines(runtime, "app--one", until="up")
    await asyncio.wait_for(runtime.close(), 10)
    assert runtime.replicas("app--one") == ()


SERVER_PROCESS = """
import asyncio, sys
from pathlib import Path
from infra.local_azure import clock, replicas
from infra.local_azure.runtime import processes
async def main():
    runtime = processes.Processes(Path(sys.argv[1]), clock.ScaledClock(100))
    command = ("python", "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    container = replicas.Container("main", "app:1", command, (), {}, (), ())
    runtime.start(replicas.Revision("app--one", "app", (container,), 1, None, 5.0, {}, None))
    name = runtime.replicas("app--one")[0].name
    async for _, line in runtime.logs("app--one", name, "main", tail=10, follow=True):
        print(line, flush=True)
asyncio.run(main())
"""


async def killed_server(root: Path) -> int:
    """Runs a server in a process, kills it with SIGKILL, and returns its container's process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER_PROCESS, str(root), stdout=subprocess.PIPE, cwd=REPO
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while not (line := await process.stdout.readline()).strip().isdigit():
            assert line
    process.kill()
    await process.communicate()
    return int(line)


async def ended(pid: int) -> None:
    """Waits until the process, which is nobody's child here, has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, over.set)
    try:
        await asyncio.wait_for(over.wait(), 10)
    finally:
        loop.remove_reader(handle)
        os.close(handle)


@linux
async def test_containers_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    """The companion process ends them, without any new server."""
    await ended(await killed_server(tmp_path))


@linux
def test_a_new_server_ends_what_an_earlier_one_left(tmp_path: Path) -> None:
    """A stray with this root's marker is killed before anything new starts; another root's isn't."""
    strays = [
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            env={**os.environ, "LOCAL_AZURE_CONTAINER": f"{root.resolve()}|app--one-0-x/main;"},
        )
        for root in (tmp_path / "mine", tmp_path / "mine-too")
    ]
    try:
        processes.Processes(tmp_path / "mine", clock.ScaledClock(100))
        assert strays[0].wait(10) == -signal.SIGKILL
        assert strays[1].poll() is None
    finally:
        for stray in strays:
            stray.kill()
            stray.wait()


@pytest.mark.parametrize("key", ["unknown--key"])
async def test_unknown_revisions_are_empty_and_their_logs_an_error(runtime: processes.Processes, key: str) -> None:
    """Asking is harmless; stopping too."""
    runtime.stop(key)
    assert (runtime.replicas(key), runtime.crashing(key), runtime.hint(key)) == ((), (), "")
    with pytest.raises(KeyError):
        runtime.logs(key, "r", "main", tail=1, follow=False)
