"""A repository in trouble: what runs keeps running, and the status says what is wrong and what was applied last."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controller import loop, settings
from controller.sources import origin
from controller.status import store
from tests.git import servers
from tests.reconcile.clouds import Held
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

QUICK = settings.Backoff(first=0.02, most=0.05)


@dataclass
class Followed:
    """A stack whose state and content come from `upstream`."""

    stack: Stack
    upstream: servers.Upstream
    git: settings.Git
    cache: Path

    @contextlib.asynccontextmanager
    async def turning(self) -> AsyncIterator[loop.Loop]:
        """A loop that has loaded once, with everything Ready."""
        source = origin.Remote(self.git, cache=self.cache)
        one = loop.Loop(source, self.stack.reconciler, QUICK)
        try:
            await one.load()
            await self.stack.until(self.ready)
            yield one
        finally:
            await one.close()
            await source.close()

    @property
    def source(self) -> store.SourceStatus:
        return self.stack.reconciler.statuses.source

    def ready(self) -> bool:
        known = (self.stack.reconciler.statuses.get(key) for key in (ENVIRONMENT, APP))
        return all(status is not None and status.applied == self.source.commit and ready(status) for status in known)

    async def drift(self) -> None:
        """Somebody changes the app in Azure."""
        body = {"properties": {"template": {"scale": {"maxReplicas": 7}}}}
        await self.stack.arm("PATCH", self.stack.ids.app(APP[1]), body)

    def write(self, *, replicas: int, message: str, sign: Path | None = None) -> str:
        """Commit the same state with another number of replicas."""
        self.stack.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": replicas}))
        text = (self.stack.folder / "state.yaml").read_text()
        return self.upstream.commit({"desired_state/state.yaml": text}, message, sign=sign)


def ready(status: store.ObjectStatus) -> bool:
    return loop.settled(status) is True


@pytest.fixture
def followed(built: Stack, tmp_path: Path) -> Followed:
    """What is built already stands in the repository's first commit."""
    upstream = servers.Upstream(tmp_path / "git" / "state.git")
    for folder in (built.folder, built.code):
        shutil.copytree(folder, upstream.tree / folder.name)
    upstream.commit({}, "first")
    return Followed(built, upstream, settings.Git(upstream.url), tmp_path / "cache")


def branch_deleted(one: Followed, _: pytest.MonkeyPatch) -> None:
    one.upstream.create_branch("other")
    one.upstream.delete_branch("main")


def remote_away(one: Followed, _: pytest.MonkeyPatch) -> None:
    one.upstream.bare.rename(one.upstream.bare.with_name("away.git"))


def disk_full(one: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """git as on a full disk: what it may not write is a new commit's objects."""
    one.write(replicas=3, message="too much")
    folder = one.cache.parent / "bin"
    folder.mkdir()
    git = shutil.which("git")
    refusing = 'case "$*" in fetch*) echo "fatal: write error: No space left on device" >&2; exit 128;; esac'
    script = f'#!/bin/sh\n{refusing}\nexec {git} "$@"\n'
    (folder / "git").write_text(script)
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def unsigned(one: Followed, _: pytest.MonkeyPatch) -> None:
    one.write(replicas=3, message="by somebody")


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (branch_deleted, "there is no 'main'"),
        (remote_away, "does not appear to be a git repository"),
        (disk_full, "No space left on device; make room in the cache's file system"),
    ],
)
async def test_what_runs_keeps_running(
    followed: Followed,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[Followed, pytest.MonkeyPatch], None],
    told: str,
) -> None:
    """The work goes on at the last commit, and drift is still corrected; the status names the failure, that commit
    and when it was loaded. Nothing is deleted."""
    async with followed.turning() as one:
        first, loaded = followed.source.commit, followed.source.loaded_at
        trouble(followed, monkeypatch)
        await one.load(frozenset())
        assert told in str(followed.source.fetch_error)
        assert (followed.source.commit, followed.source.loaded_at) == (first, loaded)
        assert followed.source.problems == ()

        await followed.drift()
        passes = followed.stack.status().passes
        one.ask([APP])
        await followed.stack.until(lambda: followed.stack.status().passes > passes and followed.ready())
        live = (await followed.stack.live_app())["properties"]["template"]["scale"]["maxReplicas"]
        assert live == 1
        assert b'acaops_source_fetches_total{result="error"} 1.0' in followed.stack.reconciler.metrics.exposition()


async def test_an_unsigned_commit_is_not_applied(followed: Followed, tmp_path: Path) -> None:
    """Nor one that somebody else signed: the last good one stays applied, until there is another one."""
    ours, theirs = (servers.make_key(tmp_path / name) for name in ("ours", "theirs"))
    signers = tmp_path / "signers"
    signers.write_text(f"ann@example.com {servers.public(ours)}\n")
    followed.git = replace(followed.git, signers=signers)
    text = (followed.stack.folder / "state.yaml").read_text()
    good = followed.upstream.commit({"desired_state/state.yaml": text}, "good", sign=ours)
    async with followed.turning() as one:
        for number, key in enumerate((None, theirs)):
            followed.write(replicas=3 + number, message=f"bad {number}", sign=key)
            await one.load(frozenset())
            assert "isn't applied: " in str(followed.source.fetch_error)
            assert followed.source.commit is not None
            assert followed.source.commit.sha == good
            assert followed.ready()
        second = followed.write(replicas=2, message="good again", sign=ours)
        await one.load(frozenset())
        await followed.stack.until(followed.ready)
        assert followed.source.commit.sha == second
        assert followed.source.fetch_error is None


async def test_rewritten_history_is_followed_and_said(followed: Followed) -> None:
    """A force-push is how people take a commit back."""
    async with followed.turning() as one:
        taken_back = followed.write(replicas=2, message="a mistake")
        await one.load(frozenset())
        await followed.stack.until(followed.ready)
        text = (followed.stack.folder / "state.yaml").read_text().replace("maxReplicas: 2", "maxReplicas: 3")
        forced = followed.upstream.rewrite({"desired_state/state.yaml": text})
        await one.load(frozenset())
        await followed.stack.until(followed.ready)
        assert followed.source.commit is not None
        assert followed.source.commit.sha == forced
        assert (
            followed.source.notice
            == f"history was rewritten: {taken_back[:12]}, seen before, isn't part of main any more"
        )


async def test_broken_yaml_writes_nothing(followed: Followed) -> None:
    """The status has the commit that was applied beside the one that was attempted; the apps stay as they are."""
    async with followed.turning() as one:
        good, written = followed.source.commit, followed.stack.writes()
        bad = followed.upstream.commit({"desired_state/state.yaml": "{"}, "broken")
        await one.load(frozenset())
        assert followed.source.attempted is not None
        assert (followed.source.commit, followed.source.attempted.sha) == (good, bad)
        status = followed.stack.status()
        assert status.attempted is not None
        assert (status.applied, status.attempted.sha, status.source_revision) == (good, bad, f"git:{bad[:12]}")
        assert followed.stack.told()[:2] == ("Stalled", "InvalidDesiredState")
        assert followed.stack.told()[2].startswith("desired_state/state.yaml:2:1: ")
        assert written == followed.stack.writes()


async def test_a_restart_waits_for_the_remote(followed: Followed) -> None:
    """What the cache holds may be older than what another controller applied: nothing is written for it."""
    async with followed.turning():
        pass
    followed.stack.restart()
    followed.upstream.bare.rename(followed.upstream.bare.with_name("away.git"))
    source = origin.Remote(followed.git, cache=followed.cache)
    one = loop.Loop(source, followed.stack.reconciler, QUICK)
    written = followed.stack.writes()
    await one.load(frozenset())
    assert one.source is None
    (reason,) = followed.stack.reconciler.statuses.unready(())
    assert "does not appear to be a git repository" in reason
    assert written == followed.stack.writes()
    await one.close()
    await source.close()


async def test_a_pass_keeps_its_commit(followed: Followed) -> None:
    """However many commits come meanwhile, its files stay until it has ended."""
    held = Held(followed.stack.cloud)
    async with followed.turning() as one:
        followed.stack.reconciler.cloud = held
        first = followed.write(replicas=2, message="held")
        await one.load(frozenset())
        await held.begun.wait()
        for replicas in range(3, 7):
            followed.write(replicas=replicas, message=f"commit {replicas}")
            await one.load(frozenset())
        assert first in trees(followed.cache)
        held.release.set()
        await followed.stack.until(followed.ready)
        await one.load(frozenset())
        assert first not in trees(followed.cache)
    assert (await followed.stack.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 6


def trees(cache: Path) -> set[str]:
    """The commits that lie in the cache as folders."""
    return {path.name for path in cache.glob("git/*/trees/*")}
