"""The desired state is deleted, emptied, broken, or taken back by a force-push; a crash left a lock in the clone. With
pruning on, nothing is deleted all the same, and people see how old the commit is that was applied last."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from datetime import timedelta

import pytest
from rich.console import Console

from controller import loop, pruning, settings, tables
from tests.reconcile.stack import GROUP, Stack, environment
from tests.reconcile.test_remote_source import Followed, followed

__all__ = ["followed"]

YAML = "desired_state/state.yaml"
ALLOW = (f"00000000-0000-0000-0000-000000000000/{GROUP}",)


def deleted(one: Followed) -> None:
    one.upstream.commit({YAML: None}, "away with it")


def emptied(one: Followed) -> None:
    one.upstream.commit({YAML: ""}, "nothing in it")


def broken(one: Followed) -> None:
    one.upstream.commit({YAML: "kind: [Environment"}, "half a line")


def taken_back(one: Followed) -> None:
    """History that never had the app."""
    one.stack.write(environment())
    text = (one.stack.folder / "state.yaml").read_text()
    one.upstream.rewrite({YAML: text})


def branch_gone(one: Followed) -> None:
    one.upstream.create_branch("other")
    one.upstream.delete_branch("main")


def pruner(stack: Stack, one: loop.Loop) -> pruning.Pruner:
    chosen = settings.Settings(stack.folder, inventory="one", allow=ALLOW, prune=True, allow_mass_delete=True)
    return pruning.made(one, stack.cloud, chosen, soon=0.0)


def shown(one: Followed, *, days: int) -> str:
    """The line about the source, as people see it so many days after the commit."""
    commit = one.source.commit
    assert commit is not None
    out = io.StringIO()
    line = tables.source_line(one.source.as_json(), now=commit.time + timedelta(days=days))
    Console(file=out, width=400).print(line)
    return out.getvalue()


@pytest.mark.parametrize("trouble", [deleted, emptied, broken, taken_back, branch_gone])
async def test_nothing_is_deleted(followed: Followed, trouble: Callable[[Followed], None]) -> None:
    """Not by the load, not by a round of pruning after it; the last commit that was applied is shown with its age."""
    followed.upstream.commit({"README.md": "Models."}, "second")
    async with followed.turning() as one:
        trouble(followed)
        await one.load(frozenset())
        round_ = pruner(followed.stack, one)
        for _ in range(3):
            await round_.round()
        assert [path for method, path in followed.stack.writes() if method == "DELETE"] == []
        assert await followed.stack.live_app()
        assert ", 3d old" in shown(followed, days=3)


async def test_the_same_round_deletes_what_is_removed_in_earnest(followed: Followed) -> None:
    """So that the test above can fail: a commit that takes the app out, and nothing else."""
    async with followed.turning() as one:
        followed.stack.write(environment())
        followed.upstream.commit({YAML: (followed.stack.folder / "state.yaml").read_text()}, "without the app")
        await one.load(frozenset())
        round_ = pruner(followed.stack, one)
        await round_.round()
        assert 'acaops_pruning{state="Deleting"} 1.0' in followed.stack.reconciler.metrics.exposition().decode()
        for _ in range(2):
            await round_.round()
        assert 'acaops_pruning{state="Deleting"} 0.0' in followed.stack.reconciler.metrics.exposition().decode()
        deletions = [path.rpartition("/")[2] for method, path in followed.stack.writes() if method == "DELETE"]
        assert deletions == ["chat"]


async def test_a_lock_that_a_crash_left(followed: Followed) -> None:
    """It holds nobody up: the next commit is fetched and applied."""
    async with followed.turning():
        pass
    (mirror,) = (path.parent for path in followed.cache.glob("git/*/**/HEAD") if "trees" not in path.parts)
    for name in ("index.lock", "shallow.lock", "packed-refs.lock"):
        (mirror / name).touch()
    shutil.copystat(mirror / "HEAD", mirror / "index.lock")
    followed.stack.restart()
    sha = followed.write(replicas=5, message="after the crash")
    async with followed.turning():
        assert followed.source.commit is not None
        assert followed.source.commit.sha == sha
    assert (await followed.stack.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 5
