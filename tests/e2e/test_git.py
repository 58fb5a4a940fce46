"""`acaops run --repo` against real git servers: from a push to what answers, and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local_azure import lifecycle
from tests.e2e import azure, pushes, running
from tests.e2e.folder import Folder
from tests.git import servers

WITHIN = 40.0
SECRET = "a secret of this run"


@dataclass
class Repository:
    """A repository that is served, its files as `folder`, and the flags and variables by which one gets at it. `told`:
    the daemon is told of pushes, and looks by itself only every ten minutes."""

    upstream: servers.Upstream
    folder: Folder
    flags: tuple[str | Path, ...] = ()
    trusted: str = ""
    told: bool = False

    def push(self, message: str) -> str:
        """Commit what the folder holds now."""
        return self.upstream.commit({}, message)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    upstream = servers.Upstream(tmp_path / "repositories" / "state.git")
    made = Repository(upstream, Folder(upstream.tree), ("--repo", upstream.url))
    made.push("first")
    return made


@pytest.fixture(params=["https", "https told", "ssh", "ssh told"])
def served(request: pytest.FixtureRequest, repository: Repository, tmp_path: Path) -> Iterator[Repository]:
    """The same over the network, behind a token or a deploy key."""
    with contextlib.ExitStack() as stack:
        repository.told = "told" in request.param
        if "https" in request.param:
            certificate = servers.make_certificate(tmp_path / "certificate")
            there = stack.enter_context(
                servers.https_server(
                    repository.upstream.bare.parent, certificate=certificate, username="bot", password="hunter2"
                )
            )
            (tmp_path / "token").write_text("hunter2\n")
            repository.flags = ("--repo", f"{there.url}/state.git", "--git-username", "bot")
            repository.flags += ("--git-token-file", tmp_path / "token")
            repository.trusted = certificate.ca.read_text()
        else:
            if servers.SSHD is None:
                pytest.skip("no sshd is installed")
            ssh = stack.enter_context(servers.ssh_server(tmp_path / "ssh"))
            repository.flags = ("--repo", f"{ssh.url}{repository.upstream.bare}", "--git-ssh-key", ssh.key)
            repository.flags += ("--git-known-hosts", ssh.known_hosts)
        yield repository


@contextlib.asynccontextmanager
async def following(
    repository: Repository, server: lifecycle.Running, tmp_path: Path, *more: str
) -> AsyncIterator[running.Daemon]:
    """The daemon on the repository."""
    env = running.environ(server) | {"ACAOPS_CACHE": str(tmp_path / "cache")}
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(server.ca.read_text() + repository.trusted)
    env["SSL_CERT_FILE"] = str(trusted)
    interval = "10m" if repository.told else "1s"
    arguments = (*repository.flags, "--path", "state", "--fetch-interval", interval, *more)
    async with running.daemon(*arguments, env=env, log=tmp_path / "run.log") as daemon:
        yield daemon


async def model(endpoint: str) -> str:
    """The model that answers."""
    return str((await running.get(f"{endpoint}/v1/models"))["data"][0]["id"])


async def answering(endpoint: str, release: str) -> bool | None:
    return (await running.get(f"{endpoint}/readyz"))["release"] == release or None


async def at(daemon: running.Daemon, sha: str) -> dict[str, object]:
    """The app's status once it is Ready at the commit."""

    async def look() -> dict[str, object] | None:
        told = await daemon.status()
        found = [one for one in told["objects"] if (one["lastApplied"] or {}).get("sha") == sha]
        apps = [one for one in found if one["kind"] == "InferenceApp" and one["lastAttempted"]["sha"] == sha]
        return apps[0] if apps and len(found) == len(told["objects"]) else None

    return await running.until(look, f"everything Ready at {sha}; {daemon.tail()}", within=WITHIN)


async def test_a_commit_is_served_and_a_revert_too(
    served: Repository, server: lifecycle.Running, tmp_path: Path
) -> None:
    """From a push to what answers, whether the daemon is told of it or finds it; a revert brings the earlier release
    back, by its name."""
    (tmp_path / "hook").write_text(f"{SECRET}\n")
    async with following(served, server, tmp_path, "--hook-secret-file", str(tmp_path / "hook")) as daemon:
        first = await at(daemon, served.upstream.sha)
        endpoint = str(first["endpoint"])
        assert await model(endpoint) == "one"

        served.folder.publish("two")
        began = time.monotonic()
        sha = served.push("Serve two")
        if served.told:
            await pushes.tell(daemon, sha, secret=SECRET)
        second = await at(daemon, sha)
        forward = time.monotonic() - began
        assert await model(endpoint) == "two"
        assert second["release"] != first["release"]
        assert second["lastApplied"]["author"] == "Ann Author"  # type: ignore[index]
        assert second["lastApplied"]["subject"] == "Serve two"  # type: ignore[index]

        began = time.monotonic()
        sha = served.upstream.revert()
        if served.told:
            await pushes.tell(daemon, sha, secret=SECRET)
        third = await at(daemon, sha)
        back = time.monotonic() - began
        assert await model(endpoint) == "one"
        assert third["release"] == first["release"]
        assert await answering(endpoint, str(first["release"]))
        print(f"seconds from push to Ready: {forward:.1f} forward, {back:.1f} back")
        assert "hunter2" not in daemon.log.read_text() + json.dumps(await daemon.status())


async def test_two_commits_at_once_end_at_the_second(
    repository: Repository, server: lifecycle.Running, tmp_path: Path
) -> None:
    """The second reverts the first a tenth of a second later: what served before serves."""
    async with following(repository, server, tmp_path) as daemon:
        first = await at(daemon, repository.upstream.sha)
        repository.folder.publish("two")
        repository.push("two")
        await asyncio.sleep(0.1)
        last = await at(daemon, repository.upstream.revert())
        assert last["release"] == first["release"]
        assert await answering(str(first["endpoint"]), str(first["release"]))


async def test_a_pass_sees_one_commit(repository: Repository, server: lifecycle.Running, tmp_path: Path) -> None:
    """Each commit names itself in the YAML and in the code. However pushes race with passes, no revision that was
    ever made has the one of another commit than the other."""
    async with following(repository, server, tmp_path) as daemon, azure.container_apps(server) as apps:
        await at(daemon, repository.upstream.sha)
        for number in range(2, 14):
            text = repository.folder.app_yaml.read_text().split("  env:")[0]
            repository.folder.app_yaml.write_text(f"{text}  env: [{{name: COMMIT, value: commit-{number}}}]\n")
            repository.folder.publish(f"commit-{number}")
            repository.push(f"commit {number}")
            await asyncio.sleep(0.05 * (number % 5))
        await at(daemon, repository.upstream.sha)
        seen = await azure.codes(apps, server)
    assert len(seen) > 1
    assert [pair for pair in seen if pair[0] != pair[1]] == []
    assert seen[-1][0] == "commit-13"


async def test_trouble_with_the_repository_is_not_the_apps(
    repository: Repository, server: lifecycle.Running, tmp_path: Path
) -> None:
    """A commit with broken YAML, a deleted branch, a repository that is away: what runs goes on, and the status says
    what is wrong, what was last applied, and what was last attempted."""
    async with following(repository, server, tmp_path) as daemon:
        good = repository.upstream.sha
        app = await at(daemon, good)
        endpoint = str(app["endpoint"])

        bad = repository.upstream.commit({"state/app.yaml": "{"}, "Broken")

        async def refused() -> dict[str, object] | None:
            source: dict[str, object] = (await daemon.status())["source"]
            return source if source["problems"] else None

        source = await running.until(refused, "the problem in /status")
        assert source["problems"] == [
            "state/app.yaml:2:1: while parsing a flow node, did not find expected node content"
        ] or str(source["problems"]).startswith("['state/app.yaml:")
        assert (source["commit"]["sha"], source["attempted"]["sha"]) == (good, bad)  # type: ignore[index]
        (object_status,) = [one for one in (await daemon.status())["objects"] if one["kind"] == "InferenceApp"]
        assert (object_status["lastApplied"]["sha"], object_status["lastAttempted"]["sha"]) == (good, bad)
        assert await model(endpoint) == "one"

        mended = repository.upstream.revert()
        await at(daemon, mended)
        repository.upstream.create_branch("other")
        repository.upstream.delete_branch("main")

        async def unfetched() -> dict[str, object] | None:
            source: dict[str, object] = (await daemon.status())["source"]
            return source if source["fetchError"] else None

        source = await running.until(unfetched, "the failed fetch in /status")
        assert "there is no 'main'" in str(source["fetchError"])
        assert (source["commit"]["sha"], source["problems"]) == (mended, [])  # type: ignore[index]
        statuses = {one["name"]: one["conditions"][0]["status"] for one in (await daemon.status())["objects"]}
        assert set(statuses.values()) == {"True"}
        assert await model(endpoint) == "one"

        repository.folder.publish("two")
        await at(daemon, repository.push("main is back"))
        assert (await daemon.status())["source"]["fetchError"] is None
        assert await model(endpoint) == "two"
