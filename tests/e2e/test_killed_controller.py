"""A controller killed in the middle of its work: the next one goes on, without repeating or leaving anything."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from functools import partial
from pathlib import Path

from infra.local_azure import lifecycle
from tests.e2e import azure, running
from tests.e2e.folder import GROUP, Folder

BIG = 16 * 1024 * 1024
# The request after which the controller is killed: while the account is being made, while the environment is, while
# the bundle goes up, while the app is being made, and while its revision starts.
POINTS = (
    ("PUT", r"/storageAccounts/[^/]+$"),
    ("PUT", r"/managedEnvironments/[^/]+$"),
    ("PUT", r"/\.acaops/default/chat/releases/\.[^/]+$"),
    ("PUT", r"/containerApps/[^/]+$"),
    ("GET", r"/containerApps/[^/]+/revisions/?"),
)


async def _answered(journal: azure.Journal, method: str, path: str) -> bool:
    """Whether such a request was, and went well."""
    matching = (
        one for one in journal.read() if one["method"] == method and re.search(path, one["path"], re.IGNORECASE)
    )
    return any(one["status"] < 300 for one in matching)


async def test_killed_anywhere_it_converges(folder: Folder, server: lifecycle.Running, tmp_path: Path) -> None:
    """One app, one revision, whole files on the share, and nothing left to write."""
    (folder.state.parent / "server" / "weights.bin").write_bytes(secrets.token_bytes(BIG))
    env = running.environ(server)
    whole = azure.Journal(server.state)
    for number, (method, path) in enumerate(POINTS):
        asked = partial(_answered, azure.Journal(server.state), method, path)
        async with running.daemon(folder.state, env=env, log=tmp_path / f"run-{number}.log") as daemon:
            await running.until(asked, f"{method} {path}", every=0.01)
            await daemon.kill()
        if "releases" in path:
            (left,) = azure.shared_files(server)
            assert ".tar.gz.acaops-" in left, "killed in the middle of the upload"

    status, out, error = await running.acaops("once", str(folder.state), env=env, cwd=tmp_path)
    assert status == 0, error
    status, out, error = await running.acaops("once", str(folder.state), env=env, cwd=tmp_path)
    assert (status, "writes: 0 to ARM, 0 to the share" in out) == (0, True), out + error

    async with azure.container_apps(server) as apps:
        (app,) = [one async for one in apps.container_apps.list_by_resource_group(GROUP)]
        (revision,) = await azure.revisions(apps)
        assert app.latest_ready_revision_name == revision
    # What the killed one left under its temporary name stays until it is old enough to be nobody's.
    (bundle,) = set(azure.shared_files(server)) - {left}
    assert re.fullmatch(r"\.acaops/default/chat/releases/[0-9a-f]{64}\.tar\.gz", bundle)
    creations = [
        one["path"] for one in whole.read() if one["status"] == 201 and one["path"].startswith("/subscriptions")
    ]
    assert len(creations) == len(set(creations))


async def test_an_interrupted_once_says_how_to_go_on(folder: Folder, server: lifecycle.Running, tmp_path: Path) -> None:
    """Exit status 130; what it began in Azure goes on."""
    log, journal = tmp_path / "once.log", azure.Journal(server.state)
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            *(*running.ACAOPS, "once", str(folder.state)),
            env=running.environ(server),
            stdout=file,
            stderr=file,
        )

    try:
        await running.until(
            partial(_answered, journal, "PUT", "/managedEnvironments/"), "the environment is being made"
        )
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "error: interrupted; run it again to go on" in await asyncio.to_thread(log.read_text)
