"""The hard cases of replicas, played on real processes."""

from __future__ import annotations

import dataclasses

from infra.local_azure import replicas
from infra.local_azure.runtime import processes
from infra.local_azure.scenario import Rule
from tests.local_azure.runtime.scripted_apps import Apps, Told, lines, linux, probe, server

KEY = "app--one"
HUNGRY = """
import time
kept = bytearray()
print("eating", flush=True)
while len(kept) < 400 * 1024**2:
    kept += bytes(b"x" * 1024**2)
    time.sleep(0.002)
time.sleep(60)
"""
STARTUP = probe("Startup", period=1.0, failure_threshold=1)


def status(runtime: processes.Processes, key: str = KEY) -> replicas.ContainerStatus:
    return runtime.replicas(key)[0].containers[0]


def is_ready(runtime: processes.Processes, key: str = KEY) -> bool:
    return any(replica.ready for replica in runtime.replicas(key))


def on_gpu(revision: replicas.Revision) -> replicas.Revision:
    return dataclasses.replace(revision, demand=replicas.Demand("pool", "GPU", 24.0, 220.0))


async def test_an_image_that_cannot_be_pulled_is_never_started(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """Until it can be: then the command runs."""
    runtime.scenario.play(Rule("pull-fails", app="app"))
    runtime.start(apps.revision(server(), target_port=8080))
    await told.until(lambda: "ImagePullBackOff" in status(runtime).details)
    assert await lines(runtime, KEY) == []
    runtime.scenario.play()
    await told.until(lambda: is_ready(runtime))


async def test_a_replica_waits_for_a_gpu_and_starts_when_one_is_free(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """The next one starts when the process of the one before has ended."""
    runtime.pools = lambda name: replicas.Pool(1, 24.0, 220.0, 1, "Dedicated", "region", 16)
    for key in (KEY, "app--two"):
        runtime.start(on_gpu(apps.revision(server(), key=key, target_port=8080)))
    await told.until(lambda: is_ready(runtime))
    assert [runtime.replicas(key)[0].placed for key in (KEY, "app--two")] == [True, False]
    assert runtime.hint("app--two") == "0/1 replicas ready. Unschedulable: insufficient nvidia.com/gpu."
    assert "Insufficient nvidia.com/gpu" in status(runtime, "app--two").details
    runtime.stop(KEY)
    await told.until(lambda: is_ready(runtime, "app--two"))
    assert runtime.replicas(KEY) == ()


async def test_a_replica_that_waits_for_a_gpu_can_be_stopped(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """It leaves the queue without a run."""
    runtime.pools = lambda name: replicas.Pool(0, 24.0, 220.0, 1, "Dedicated", "region", 16)
    runtime.start(on_gpu(apps.revision(server(), target_port=8080)))
    await told.until(lambda: "Unschedulable" in status(runtime).details)
    runtime.stop(KEY)
    await told.until(lambda: runtime.replicas(KEY) == ())


async def test_a_crash_before_ready_has_the_exit_code_of_the_scenario(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """And counts as any other: restarts, back-off, crashing."""
    seen: set[str] = set()

    def crashing() -> bool:
        seen.update(replica.containers[0].details for replica in runtime.replicas(KEY))
        return bool(runtime.crashing(KEY)) and any("CrashLoopBackOff" in words for words in seen)

    runtime.scenario.play(Rule("crash", exit_code=7))
    runtime.start(apps.revision(server(), target_port=8080))
    await told.until(crashing)
    assert "Container was terminated with reason: Error, exit code: 7." in seen
    assert "local Azure: ended: Error, exit code 7" in await lines(runtime, KEY)


async def test_a_crash_comes_so_long_after_it_was_ready(apps: Apps, runtime: processes.Processes, told: Told) -> None:
    """It serves before, and again after the restart."""
    runtime.scenario.play(Rule("crash", after=20.0))
    runtime.start(apps.revision(server(), target_port=8080))
    await told.until(lambda: is_ready(runtime))
    await told.until(lambda: "exit code: 1." in status(runtime).details)
    await told.until(lambda: is_ready(runtime))
    assert status(runtime).restarts >= 1


@linux
async def test_a_container_over_the_scenarios_memory_is_killed(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """Its log says how much it took."""
    runtime.scenario.play(Rule("out-of-memory", memory=50 * 1024**2))
    runtime.start(apps.revision(HUNGRY))
    wanted = "Container was terminated with reason: OOMKilled, exit code: 137."
    await told.until(lambda: status(runtime).details == wanted)
    assert any("MiB of memory, more than its 50 MiB" in line for line in await lines(runtime, KEY))


@linux
async def test_a_container_over_its_own_memory_is_killed(apps: Apps, runtime: processes.Processes, told: Told) -> None:
    """Also what its children take, and without any scenario."""
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {HUNGRY!r}])"
    revision = apps.revision(child)
    limited = dataclasses.replace(revision.containers[0], memory=60 * 1024**2)
    runtime.start(dataclasses.replace(revision, containers=(limited,)))
    wanted = "Container was terminated with reason: OOMKilled, exit code: 137."
    await told.until(lambda: status(runtime).details == wanted)


async def test_a_hanging_one_is_restarted_by_its_startup_probe(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """However well it answers."""
    runtime.scenario.play(Rule("hang"))
    runtime.start(apps.revision(server(), target_port=8080, probes=(STARTUP,)))
    await told.until(lambda: status(runtime).restarts >= 1)
    found = await lines(runtime, KEY)
    assert "local Azure: Startup probe failed: not ready by the scenario; the container is restarted" in found


async def test_a_hanging_one_without_probes_is_never_ready(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """It runs, and is started, and that is all."""
    runtime.scenario.play(Rule("hang"))
    runtime.start(apps.revision("import time; time.sleep(60)"))
    await told.until(lambda: status(runtime).started)
    assert (status(runtime).state, is_ready(runtime)) == ("Running", False)


async def test_a_slow_start_is_not_ready_before_its_time(apps: Apps, runtime: processes.Processes, told: Told) -> None:
    """The log tells when the scenario lets it."""
    runtime.scenario.play(Rule("slow-start", seconds=50.0))
    runtime.start(apps.revision(server(), target_port=8080))
    await told.until(lambda: is_ready(runtime))
    assert "local Azure: ready by the scenario" in await lines(runtime, KEY)
    assert status(runtime).restarts == 0


async def test_a_flapping_one_is_ready_and_not_in_turns(apps: Apps, runtime: processes.Processes, told: Told) -> None:
    """Without a restart."""
    runtime.scenario.play(Rule("flap", ready=20.0, unready=20.0))
    runtime.start(apps.revision(server(), target_port=8080))
    for _ in range(2):
        await told.until(lambda: is_ready(runtime))
        await told.until(lambda: not is_ready(runtime))
    assert status(runtime).restarts == 0


async def test_more_replicas_start_at_once_and_the_newest_end_first(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """Also from none, while one is still on its way out."""
    runtime.start(apps.revision(server(), target_port=8080))
    await told.until(lambda: is_ready(runtime))
    oldest = runtime.replicas(KEY)[0].name
    runtime.scale(KEY, 3)
    await told.until(lambda: sum(replica.ready for replica in runtime.replicas(KEY)) == 3)
    runtime.scale(KEY, 1)
    assert [replica.ready for replica in runtime.replicas(KEY)] == [True, False, False]
    await told.until(lambda: [replica.name for replica in runtime.replicas(KEY)] == [oldest])
    runtime.scale(KEY, 0)
    runtime.scale(KEY, 1)
    assert len(runtime.replicas(KEY)) == 2
    await told.until(lambda: is_ready(runtime) and len(runtime.replicas(KEY)) == 1)
    assert runtime.replicas(KEY)[0].name != oldest


async def test_a_new_replica_waits_for_a_mount_that_the_old_one_has(
    apps: Apps, runtime: processes.Processes, told: Told
) -> None:
    """And comes up once the share can be mounted."""
    found: list[str] = []
    revision = apps.revision(server(), target_port=8080)
    runtime.start(dataclasses.replace(revision, unmountable=lambda: next(iter(found), None)))
    await told.until(lambda: is_ready(runtime))
    found.append("MountVolume.SetUp failed")
    runtime.scale(KEY, 2)
    await told.until(lambda: "MountVolume" in runtime.replicas(KEY)[1].containers[0].details)
    found.clear()
    await told.until(lambda: sum(replica.ready for replica in runtime.replicas(KEY)) == 2)
