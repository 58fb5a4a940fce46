"""Commits as folders: whole or not there, read-only, kept while in use, removed after."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from controller.model.commit import Commit
from controller.sources import mirror, repository
from tests.git import processes, servers
from tests.git.conftest import Follow


async def made(one: repository.Repository) -> Path:
    return await one.materialise((await one.fetch()).commit)


async def test_a_tree_is_whole_and_read_only(upstream: servers.Upstream, follow: Follow) -> None:
    """Files, programs, links and folders, without what anybody could write; the same folder each time."""
    (upstream.tree / "link").symlink_to("run.sh")
    (upstream.tree / "run.sh").chmod(0o755)
    upstream.commit({"deep/er/file": b"\0\xff"})
    one = follow()
    tree = await made(one)
    assert (tree / "deep/er/file").read_bytes() == b"\0\xff"
    assert os.readlink(tree / "link") == "run.sh"
    modes = {path: path.lstat().st_mode for path in [tree, *tree.rglob("*")]}
    assert not [path for path, mode in modes.items() if mode & 0o222 and not stat.S_ISLNK(mode)]
    assert (modes[tree / "run.sh"] & 0o100, modes[tree / "deep/er/file"] & 0o100) == (0o100, 0)
    assert await made(one) == tree
    assert tree.name == upstream.sha


async def test_a_tree_holds_every_file_as_it_was_committed(upstream: servers.Upstream, follow: Follow) -> None:
    """What archives leave out or fill in stays as it is."""
    files = {
        ".gitattributes": "secret.txt export-ignore\nversion.txt export-subst\n",
        "secret.txt": "kept",
        "version.txt": "$Format:%H$",
    }
    upstream.commit(files)
    tree = await made(follow())
    assert {name: (tree / name).read_text() for name in files} == files


async def test_half_a_tree_is_removed(upstream: servers.Upstream, follow: Follow, cache: Path) -> None:
    """What a killed process left, read-only folders and all, goes at the next start."""
    await follow().fetch()
    half = processes.home(cache) / "trees" / ".new-killed"
    (half / "folder").mkdir(parents=True)
    (half / "folder" / "file").write_text("half")
    (half / "folder").chmod(0o500)
    await follow().fetch()
    assert not half.exists()


async def test_two_at_once_make_one_tree(upstream: servers.Upstream, follow: Follow, cache: Path) -> None:
    upstream.commit({f"file-{number}": str(number) for number in range(200)})
    both = follow(), follow()
    trees = await asyncio.gather(*map(made, both))
    assert trees[0] == trees[1]
    assert len(list(trees[0].iterdir())) == 202
    assert list((processes.home(cache) / "trees").iterdir()) == [trees[0]]


async def test_trees_not_in_use_are_removed(upstream: servers.Upstream, follow: Follow) -> None:
    """All but the newest two, those in use, and those that another process reads."""
    one, other = follow(), follow()
    trees = []
    for number in range(6):
        upstream.commit({"run.sh": f"echo {number}\n"})
        trees.append(await made(one))
    commit = (await other.fetch()).commit
    old = Commit(trees[1].name, commit.author, commit.subject, commit.time)
    assert await other.materialise(old) == trees[1]
    for tree in trees[2:]:
        os.utime(tree)
    await one.tidy({trees[0]})
    assert [tree.exists() for tree in trees] == [True, True, False, False, True, True]
    assert (trees[0] / "run.sh").read_text() == "echo 0\n"
    await other.close()
    await one.tidy(())
    assert [tree.exists() for tree in trees] == [False, False, False, False, True, True]


async def test_an_older_commit_comes_back(upstream: servers.Upstream, follow: Follow, cache: Path) -> None:
    """One whose tree and objects are gone is fetched again, by its sha."""
    first = (await follow().fetch()).commit
    upstream.commit({"run.sh": "echo 2\n"})
    shutil.rmtree(processes.home(cache))
    assert ((await follow().materialise(first)) / "run.sh").read_text() == "echo\n"


def test_a_user_without_privileges_removes_trees(tmp_path: Path) -> None:
    """Folders that can't be written are in nobody's way."""
    folder = tmp_path / "trees"
    folder.mkdir()
    user = os.geteuid() or 65534
    os.chown(folder, user, -1)
    for parent in folder.parents:
        if parent.is_relative_to(tempfile.gettempdir()) and parent != Path(tempfile.gettempdir()):
            parent.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; from controller.sources import checkout\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "trees = checkout.Trees(Path(sys.argv[1])); fresh, held = trees.begin()\n"
        "(fresh / 'a' / 'b').mkdir(parents=True); (fresh / 'a' / 'b' / 'c').write_text('')\n"
        "tree = trees.finish(fresh, 'one'); assert trees.find('one') == tree; trees.abandon(fresh, held)\n"
        "assert not os.access(tree / 'a', os.W_OK)\n"
        "checkout.NEWEST = 0; trees.tidy([]); assert not list(trees.folder.iterdir())\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


async def test_a_cache_stays_small(
    upstream: servers.Upstream, follow: Follow, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits that come and go one by one leave few files: packs become one, what no ref leads to goes, as do trees."""
    monkeypatch.setattr(mirror, "MOST_PACKS", 3)
    one = follow()
    upstream.commit({"run.sh": "echo 1\n"})
    left_out = (await one.fetch()).commit.sha
    for number in range(8):
        upstream.rewrite({"run.sh": f"echo {number}\n"})
        await one.tidy({await made(one)})
        home = processes.home(cache)
        assert len(list(home.glob("mirror.git/objects/pack/*.pack"))) <= 3
        assert len(list(home.glob("trees/*"))) <= 2
    assert left_out not in servers.git("cat-file", "--batch-all-objects", "--batch-check", cwd=home / "mirror.git")
