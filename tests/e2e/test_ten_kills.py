"""SIGKILL at ten random moments of one convergence: it ends where an undisturbed one does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from infra.local_azure import lifecycle
from tests.e2e import azure, running
from tests.e2e.folder import GROUP, Folder

KILLS = 10
MOST_REQUESTS = 12
"""A run is killed after so many requests of its own at most: the whole convergence takes ten times as many."""


async def picture(server: lifecycle.Running) -> dict[str, Any]:
    """What doesn't differ from run to run: the app as the service has it, its revisions, the files on the share."""
    async with azure.container_apps(server) as apps:
        (app,) = [one async for one in apps.container_apps.list_by_resource_group(GROUP)]
        revisions = await azure.revisions(apps)
        body = app.as_dict()["properties"]
    keys = ("template", "workloadProfileName", "provisioningState")
    files = [path for path in azure.shared_files(server) if ".acaops-" not in path]
    return {
        "app": {key: body[key] for key in keys},
        "tags": {name: value for name, value in (app.tags or {}).items() if name != "acaops-healthy"},
        "revisions": len(revisions),
        "files": files,
    }


async def converged(folder: Folder, server: lifecycle.Running, cwd: Path) -> dict[str, Any]:
    env = running.environ(server)
    status, out, error = await running.acaops("once", str(folder.state), env=env, cwd=cwd)
    assert status == 0, out + error
    return await picture(server)


async def test_ten_kills_at_random_moments(folder: Folder, server: lifecycle.Running, tmp_path: Path) -> None:
    """The seed is printed; the same end as without any, nothing doubled, and then nothing left to write."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    env = running.environ(server)
    whole = azure.Journal(server.state)
    for number in range(KILLS):
        journal, wanted = azure.Journal(server.state), chance.randint(1, MOST_REQUESTS)

        async def asked(journal: azure.Journal = journal, wanted: int = wanted) -> bool:
            return len(journal.read()) >= wanted

        async with running.daemon(folder.state, env=env, log=tmp_path / f"run-{number}.log") as daemon:
            await running.until(asked, f"{wanted} requests", every=chance.uniform(0.001, 0.05))
            await daemon.kill()
    disturbed = await converged(folder, server, tmp_path)
    _, out, _ = await running.acaops("once", str(folder.state), env=env, cwd=tmp_path)
    assert "writes: 0 to ARM, 0 to the share" in out
    creations = [
        one["path"] for one in whole.read() if one["status"] == 201 and one["path"].startswith("/subscriptions")
    ]
    assert len(creations) == len(set(creations))

    async with lifecycle.serve_child(tmp_path / "other", port=0, time_scale=100) as other:
        assert await converged(folder, other, tmp_path) == disturbed
