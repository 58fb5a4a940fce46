"""What goes wrong beneath: servers that hang or aren't there, broken mirrors, full disks, killed processes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from controller.sources import git, mirror, repository
from tests.git import processes, servers
from tests.git.conftest import Follow

ROOT = Path(__file__).parents[2]

FETCH = (
    "import asyncio, sys; from pathlib import Path; from controller import settings\n"
    "from controller.sources import repository\n"
    "one = repository.Repository(settings.Git(sys.argv[1]), cache=Path(sys.argv[2]))\n"
    "asyncio.run(one.fetch())"
)


async def refused(one: repository.Repository) -> repository.FetchError:
    with pytest.raises(repository.FetchError) as error:
        await one.fetch()
    return error.value


@pytest.mark.parametrize("scheme", ["https://", "ssh://git@"])
async def test_a_closed_port(follow: Follow, scheme: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"{scheme}127.0.0.1:{taken.getsockname()[1]}/app.git"
        error = await refused(follow(url))
    assert error.reason == repository.Reason.UNREACHABLE
    assert str(error).startswith(f"{url}: ")


async def test_a_folder_that_isnt_there(follow: Follow, tmp_path: Path) -> None:
    assert (await refused(follow(f"file://{tmp_path}/nope.git"))).reason == repository.Reason.REPOSITORY_NOT_FOUND


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_a_repository_of_somebody_elses(upstream: servers.Upstream, follow: Follow) -> None:
    """git would let its owner run programs as us."""
    os.chown(upstream.bare, 65534, 65534)
    error = await refused(follow())
    assert (error.reason, "run as the owner" in str(error)) == (repository.Reason.NOT_OWNED, True)
    assert "git config" not in str(error)


@pytest.mark.parametrize("limits", [git.Limits(silent=1), git.Limits(total=0.7)], ids=["silent", "total"])
async def test_a_server_that_hangs(https: servers.Https, follow: Follow, cache: Path, limits: git.Limits) -> None:
    """Whichever limit comes first, it is a timeout, and nothing is left running."""
    https.hold()
    error = await refused(follow(f"{https.url}/app.git", limits=limits))
    assert error.reason == repository.Reason.TIMEOUT
    assert processes.at_work(cache) == []


async def test_a_cancelled_fetch_leaves_nothing(https: servers.Https, follow: Follow, cache: Path) -> None:
    """No process, and no lock: the next fetch goes through."""
    one = follow(f"{https.url}/app.git")
    https.hold()
    task = asyncio.create_task(one.fetch())
    await asyncio.to_thread(https.waiting.wait, 10)
    assert processes.at_work(cache)
    task.cancel()
    _, pending = await asyncio.wait([task], timeout=5)
    assert (pending, task.cancelled()) == (set(), True)
    assert processes.at_work(cache) == []
    https.release()
    await one.fetch()


async def test_a_killed_controller(
    upstream: servers.Upstream, https: servers.Https, follow: Follow, cache: Path
) -> None:
    """kill -9 in the middle of a fetch: what it had started keeps the mirror until it ends; then the next one works."""
    url = f"{https.url}/app.git"
    https.hold()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FETCH, url, str(cache), cwd=ROOT)
    await asyncio.to_thread(https.waiting.wait, 20)
    process.kill()
    await process.wait()
    assert processes.at_work(cache)
    assert (await refused(follow(url, limits=git.Limits(lock=0.1, total=2)))).reason == repository.Reason.LOCKED
    https.release()
    assert (await follow(url).fetch()).commit.sha == upstream.sha


async def test_a_busy_mirror(follow: Follow, cache: Path) -> None:
    """Another process's work is waited for, so long; then it is said where."""
    one = follow(limits=git.Limits(lock=0.1))
    await one.fetch()
    with (processes.home(cache) / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        error = await refused(one)
    assert (error.reason, str(processes.home(cache)) in str(error)) == (repository.Reason.LOCKED, True)
    await one.fetch()


async def test_stale_locks_are_removed(upstream: servers.Upstream, follow: Follow, cache: Path) -> None:
    """What a killed git left doesn't stop the next one; it is said once."""
    one = follow()
    await one.fetch()
    git_dir = processes.home(cache) / "mirror.git"
    names = ["shallow.lock", "HEAD.lock", "packed-refs.lock", "config.lock"]
    for name in names:
        (git_dir / name).write_text("")
    ref = next(path for path in (git_dir / "refs" / "acaops").iterdir())
    ref.with_name(f"{ref.name}.lock").write_text("")
    (git_dir / "objects" / "pack" / "tmp_pack_x").write_text("half")
    sha = upstream.commit({"run.sh": "echo 2\n"})
    with structlog.testing.capture_logs() as logs:
        assert (await one.fetch()).commit.sha == sha
        await one.fetch()
    (told,) = [entry["files"] for entry in logs if "lock files" in entry["event"]]
    assert set(names) < set(told)
    assert not list(git_dir.rglob("*.lock")) + list(git_dir.rglob("tmp_*"))


def _truncate(pattern: str) -> Callable[[Path], None]:
    def damage(git_dir: Path) -> None:
        for path in git_dir.glob(pattern):
            path.chmod(0o600)
            os.truncate(path, path.stat().st_size // 2)

    return damage


def _remove(pattern: str) -> Callable[[Path], None]:
    def damage(git_dir: Path) -> None:
        for path in git_dir.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def _fill(pattern: str) -> Callable[[Path], None]:
    def damage(git_dir: Path) -> None:
        for path in git_dir.glob(pattern):
            path.write_bytes(b"\0" * 41)

    return damage


DAMAGES = {
    "truncated pack": _truncate("objects/pack/*.pack"),
    "truncated index": _truncate("objects/pack/*.idx"),
    "no pack": _remove("objects/pack/*.pack"),
    "no objects": _remove("objects"),
    "no HEAD": _remove("HEAD"),
    "no config": _remove("config"),
    "zeroed config": _fill("config"),
    "zeroed ref": _fill("refs/acaops/*"),
    "zeroed shallow": _fill("shallow"),
    "no refs": _remove("refs"),
}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_broken_mirror(
    upstream: servers.Upstream, follow: Follow, cache: Path, damage: str, *, moved: bool
) -> None:
    """It is made anew, whether or not there is something new to fetch."""
    if damage == "zeroed shallow":
        for _ in range(mirror.DEPTH):
            upstream.work("commit", "-q", "--allow-empty", "-m", "So that history is cut")
        upstream.push()
    one = follow()
    await one.fetch()
    DAMAGES[damage](processes.home(cache) / "mirror.git")
    sha = upstream.commit({"run.sh": "echo 2\n"}) if moved else upstream.sha
    fetched = await one.fetch()
    assert fetched.commit.sha == sha
    tree = await one.materialise(fetched.commit)
    assert (tree / "run.sh").read_text() == ("echo 2\n" if moved else "echo\n")


async def test_a_mirror_that_breaks_before_the_checkout(
    upstream: servers.Upstream, follow: Follow, cache: Path
) -> None:
    """The commit is fetched again by its sha; it is logged once."""
    one = follow()
    commit = (await one.fetch()).commit
    DAMAGES["truncated pack"](processes.home(cache) / "mirror.git")
    with structlog.testing.capture_logs() as logs:
        tree = await one.materialise(commit)
    assert (tree / "run.sh").read_text() == "echo\n"
    assert len([entry for entry in logs if "broken" in entry["event"]]) == 1


def _full(folder: Path, command: str) -> None:
    """A git that finds the disk full when it is to do `command`, having written half a file."""
    folder.mkdir()
    (folder / "git").write_text(
        "#!/bin/sh\n"
        f'case " $* " in *" {command} "*)\n'
        '  echo half > "${GIT_WORK_TREE:-$GIT_DIR/objects/pack}/tmp_pack_half"\n'
        '  echo "fatal: write error: No space left on device" >&2; exit 128;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    (folder / "git").chmod(0o755)


@pytest.mark.parametrize("command", ["fetch", "checkout-index"])
async def test_a_full_disk(
    upstream: servers.Upstream,
    follow: Follow,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
) -> None:
    """Nothing half-written stays, and with room again the next one works."""
    one = follow()
    _full(tmp_path / "bin", command)
    with monkeypatch.context() as path:
        path.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        with pytest.raises(repository.FetchError, match="make room") as error:
            await one.materialise((await one.fetch()).commit)
    assert error.value.reason == repository.Reason.DISK_FULL
    home = processes.home(cache)
    assert not list(home.rglob("tmp_*"))
    assert not list(home.glob("trees/*")) + list(home.glob("trees/.*"))
    tree = await one.materialise((await one.fetch()).commit)
    assert (tree / "run.sh").exists()


@contextlib.contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[None]:
    """A file system of so many megabytes; skips where one may not be mounted."""
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(call, capture_output=True, timeout=10).returncode != 0:
        pytest.skip("mounting a small file system isn't allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


@pytest.mark.parametrize(("megabytes", "where"), [(2, "fetch"), (5, "materialise")])
async def test_a_disk_that_is_really_full(
    upstream: servers.Upstream, follow: Follow, cache: Path, megabytes: int, where: str
) -> None:
    """3 MiB that don't compress: too much for the mirror on the one, for mirror and tree on the other."""
    upstream.commit({"weights.bin": os.urandom(3 << 20)})
    with small_disk(cache, megabytes=megabytes):
        one = follow()
        with pytest.raises(repository.FetchError) as error:
            await one.materialise((await one.fetch()).commit)
        assert error.value.reason == repository.Reason.DISK_FULL
        home = processes.home(cache)
        assert list(home.glob("mirror.git/objects/pack/*.pack")) == [] if where == "fetch" else True
        assert not list(home.rglob("tmp_*"))
        assert not list(home.glob("trees/*")) + list(home.glob("trees/.*"))
        upstream.rewrite({"weights.bin": "small"})
        fetched = await one.fetch()
        assert ((await one.materialise(fetched.commit)) / "weights.bin").read_text() == "small"
        await one.close()


@pytest.fixture
def unusable(cache: Path) -> None:
    cache.touch()


@pytest.mark.usefixtures("unusable")
async def test_a_cache_that_cant_be_written(follow: Follow) -> None:
    """A file stands where the folder should be."""
    assert (await refused(follow())).reason == repository.Reason.CACHE_UNUSABLE


async def test_no_git(follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git isn't installed" in str(await refused(follow()))
