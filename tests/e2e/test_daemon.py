"""`acaops run` as a process: it converges, follows the folder, survives bad YAML and stops when told."""

from __future__ import annotations

import asyncio
import collections
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from infra.local_azure import lifecycle
from tests.e2e import azure, running
from tests.e2e.folder import APP, GROUP, Folder, write

PER_SECOND = 20


@asynccontextmanager
async def client(endpoint: str) -> AsyncIterator[collections.Counter[int]]:
    """Asks for /v1/models 20 times a second while inside, and counts the statuses answered."""
    seen: collections.Counter[int] = collections.Counter()

    async def ask() -> None:
        async with running.session() as http:
            begun, asked = time.monotonic(), 0
            while True:
                async with http.get(f"{running.plain(endpoint)}/v1/models") as answer:
                    await answer.read()
                    seen[answer.status] += 1
                asked += 1
                await asyncio.sleep(max(0.0, begun + asked / PER_SECOND - time.monotonic()))

    task = asyncio.create_task(ask())
    try:
        yield seen
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), repr(ended)


async def model(endpoint: str) -> str:
    """The model that answers."""
    return str((await running.get(f"{endpoint}/v1/models"))["data"][0]["id"])


async def plan(folder: Folder, *, env: Mapping[str, str]) -> list[str]:
    """What `acaops plan` would change, but for what follows from the new release's name."""
    status, out, _ = await running.acaops("plan", str(folder.state), "-o", "json", env=env, cwd=folder.state)
    changes = [change for steps in json.loads(out).values() for step in steps for change in step["changes"]]
    assert status == (2 if changes else 0)
    told = [f"{change['path']}: {change['before']} -> {change['after']}" for change in changes]
    return [text for text in told if "ACAOPS_RELEASE" not in text]


async def test_it_follows_the_folder_without_a_failed_request(
    folder: Folder, server: lifecycle.Running, tmp_path: Path
) -> None:
    """Content and YAML edits roll out behind one address, as `plan` says; bad YAML is told by place and changes
    nothing."""
    env = running.environ(server)
    async with (
        running.daemon(folder.state, env=env, log=tmp_path / "run.log") as daemon,
        azure.container_apps(server) as apps,
    ):
        first = await daemon.ready(within=40)
        endpoint = first["endpoint"]
        assert await model(endpoint) == "one"

        async with client(endpoint) as seen:
            folder.publish("two")
            second = await daemon.ready(release_other_than=first["release"])
            assert second["endpoint"] == endpoint
            assert await model(endpoint) == "two"
            assert (await running.get(f"{endpoint}/readyz"))["release"] == second["release"]

            before = await azure.revisions(apps)
            broken = folder.app_yaml.read_text().replace("maxReplicas: 1", "maxReplicas: 2")
            write(folder.app_yaml, broken + "  colour: red\n")

            async def refused() -> list[str]:
                problems: list[str] = (await daemon.status())["source"]["problems"]
                return problems

            (problem,) = await running.until(refused, "the problem in /status")
            line = broken.count("\n") + 1
            assert problem.startswith(f"{folder.app_yaml}:{line}:3: unknown field spec.colour")
            assert await model(endpoint) == "two"
            assert await azure.revisions(apps) == before

            planned = await plan(Folder(tmp_path / "twin", model="two", max_replicas=2), env=env)
            folder.describe(max_replicas=2)
            third = await daemon.ready(release_other_than=second["release"])
            sticky = "properties.configuration.ingress.stickySessions.affinity: None -> sticky"
            assert planned == [sticky, "properties.template.scale.maxReplicas: 1 -> 2"]
            assert len(await azure.revisions(apps) - before) == 1
            live = await apps.container_apps.get(GROUP, APP)
            assert live.template
            assert live.template.scale
            assert live.template.scale.max_replicas == 2
            assert (await daemon.status())["source"]["problems"] == []
            assert (await running.get(f"{endpoint}/readyz"))["release"] == third["release"]

        assert seen[200] > PER_SECOND
        assert set(seen) == {200}
        status, seconds = await daemon.stop()
        assert status == 0
        assert seconds < 5
