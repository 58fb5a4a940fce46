"""A bare, shallow copy of one remote repository in the cache, worked on by one process at a time.

It repairs itself: what killed processes left is removed, and a copy that is broken is made anew. It must not know which
ref is followed, who may sign, or what a commit is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from controller.sources import checkout, git, remote

log = structlog.get_logger()

T = TypeVar("T")

DEPTH = 32
"""Commits of history: enough to see whether the commit seen last is still part of it."""

MOST_PACKS = 16
"""Each fetch leaves a pack; with more than these they are made one, without what no ref leads to."""

_LOOK_SECONDS = 0.05
_INDEX = "acaops-index"


@dataclass(frozen=True)
class Submodule:
    """Where a tree has a submodule, of which commit, and the address in `.gitmodules`; "" where it has none."""

    path: str
    sha: str
    url: str


class Mirror:
    """One remote's mirror and trees. All methods but `working` are called from within the work that it is given."""

    def __init__(self, where: remote.Remote, *, cache: Path, limits: git.Limits) -> None:
        self.where = where
        words = re.sub(r"[^A-Za-z0-9]+", "-", f"{where.host}{where.path}".removesuffix(".git")).strip("-")[-40:]
        self.home = cache / "git" / f"{words}-{hashlib.sha256(where.url.encode()).hexdigest()[:16]}"
        self.trees = checkout.Trees(self.home / "trees")
        self._git = self.home / "mirror.git"
        self._limits = limits
        self._lock: int | None = None

    async def working(self, work: Callable[[], Awaitable[T]]) -> T:
        """`work`, while no other process works here. Where it finds the mirror broken, the mirror is made anew and
        `work` begins again, once. Raises FetchError."""
        with git.told():
            async with self._locked():
                try:
                    async with asyncio.timeout(self._limits.total):
                        return await self._twice(work)
                except TimeoutError:
                    late = f"not done after {self._limits.total:g} s"
                    raise git.FetchError(git.Reason.TIMEOUT, late) from None

    async def run(
        self,
        *arguments: str,
        access: git.Access = git.NO_ACCESS,
        answers: Collection[int] = (0,),
        otherwise: str = git.Reason.CORRUPT,
        tree: Path | None = None,
        keep: Collection[int] = (),
    ) -> git.Done:
        """git in the mirror; with `tree`, and an index of its own, in that folder. See `git.run`."""
        environ = {"GIT_DIR": str(self._git)}
        if tree is not None:
            environ |= {"GIT_WORK_TREE": str(tree), "GIT_INDEX_FILE": str(self._git / _INDEX)}
        # whoever outlives us keeps the lock, until it has ended too
        held = (*keep, *(() if self._lock is None else (self._lock,)))
        return await git.run(
            *arguments, access=access, environ=environ, answers=answers, otherwise=otherwise, keep=held
        )

    async def listed(self, refs: Collection[str], *, access: git.Access) -> dict[str, str]:
        """What the remote has of `refs`, each a full name, by name; a tag also as `…^{}`, the commit. Longer
        names that end in one of `refs` may be among them."""
        found = await self.run(
            *("ls-remote", "--quiet", "--", self.where.url, *refs, *(f"{ref}^{{}}" for ref in refs)),
            access=access,
            otherwise=git.Reason.GIT_FAILED,
        )
        pairs = (line.split("\t", 1) for line in found.output.splitlines())
        return {name: sha for sha, name in pairs}

    async def fetch(self, source: str, name: str, *, access: git.Access, depth: int) -> None:
        """Let `name` be what `source`, a ref or a commit, is at the remote, with `depth` commits of its history."""
        await self.run(
            *("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
            *("--no-auto-maintenance", f"--depth={depth}"),
            *("--", self.where.url, f"+{source}:{_ref(name)}"),
            access=access,
            otherwise=git.Reason.GIT_FAILED,
        )

    async def tip(self, name: str) -> str | None:
        """The commit that was fetched as `name`; None where none was, or it is no commit."""
        return await self.commit(_ref(name))

    async def commit(self, rev: str) -> str | None:
        """The sha of a commit that the mirror has; None where it hasn't."""
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")
        found = await self.run(*arguments, answers=(0, 1, 128))
        return found.output.strip() or None if found.status == 0 else None

    async def left_out(self, old: str, new: str) -> bool:
        """Whether `old` isn't part of `new`'s history, as far as the mirror's few commits can tell: both came from
        one, or all of `new`'s history is here."""
        if (await self.run("merge-base", "--is-ancestor", old, new, answers=(0, 1))).status == 0:
            return False
        if (await self.run("merge-base", old, new, answers=(0, 1))).status == 0:
            return True
        ours = set((await self.run("rev-list", new)).output.split())
        cut = self._git / "shallow"
        return not (cut.exists() and ours & set(cut.read_text().split()))

    async def extract(self, sha: str, tree: Path, *, keep: int) -> None:
        """Write all files of a commit into the empty folder `tree`, as git does in a clone, filters excepted."""
        (self._git / _INDEX).unlink(missing_ok=True)
        await self.run("read-tree", sha, tree=tree, keep=(keep,))
        await self.run("checkout-index", "--all", "--force", "--quiet", tree=tree, keep=(keep,))
        (self._git / _INDEX).unlink()

    async def submodules(self, sha: str) -> list[Submodule]:
        """Those of one commit, not theirs in turn."""
        listing = (await self.run("ls-tree", "-r", "-z", sha)).output.split("\0")
        links = [line.split("\t", 1) for line in listing if line.startswith("160000 ")]
        if not links:
            return []
        read = ("config", "--blob", f"{sha}:.gitmodules", "--no-includes", "-z", "--get-regexp")
        found = await self.run(*read, r"^submodule\..*\.(path|url)$", answers=(0, 1, 128))
        values = dict(entry.split("\n", 1) for entry in found.output.split("\0") if "\n" in entry)
        urls = {
            path: values.get(f"{key.removesuffix('.path')}.url", "")
            for key, path in values.items()
            if key.endswith(".path")
        }
        return [Submodule(path, words.split()[2], urls.get(path, "")) for words, path in links]

    async def collect_garbage(self) -> None:
        """Once there are many packs, make them one and drop what no ref leads to."""
        if len(list((self._git / "objects" / "pack").glob("*.pack"))) > MOST_PACKS:
            await self.run("repack", "-a", "-d", "--quiet")
            await self.run("prune", "--expire=now")

    async def _twice(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            await self._ready()
            return await work()
        except git.FetchError as error:
            if error.reason == git.Reason.DISK_FULL:
                self._sweep()
            # words that mean nothing to us may be about the mirror too, and losing it costs little
            if error.reason not in (git.Reason.CORRUPT, git.Reason.GIT_FAILED):
                raise
            log.warning("the repository's mirror is broken and made anew", mirror=str(self._git), problem=str(error))
        await git.blocking(shutil.rmtree, self._git)
        await self._ready()
        return await work()

    async def _ready(self) -> None:
        if not (self._git / "config").exists():
            await git.run(
                *("init", "--quiet", "--bare", "--template=", "--initial-branch=none", "--", str(self._git)),
                otherwise=git.Reason.CACHE_UNUSABLE,
            )

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await self._taken(descriptor)
            self._lock = descriptor
            if stale := [name for name in self._sweep() if name.endswith(".lock")]:
                log.warning("lock files that a killed git left are removed", mirror=str(self._git), files=stale)
            await git.blocking(self.trees.sweep)
            yield
        finally:
            self._lock = None
            os.close(descriptor)

    async def _taken(self, descriptor: int) -> None:
        """flock itself would wait in a thread that nothing can call back."""
        until = time.monotonic() + self._limits.lock
        while not _try(descriptor):
            if time.monotonic() >= until:
                busy = f"another process has been working in {self.home} for {self._limits.lock:g} s"
                raise git.FetchError(git.Reason.LOCKED, busy)
            await asyncio.sleep(_LOOK_SECONDS)

    def _sweep(self) -> list[str]:
        """Remove git's own locks and half-written files: with the mirror ours, nobody is at work on them."""
        left = [path for path in self._git.rglob("*") if path.name.endswith(".lock") or path.name.startswith("tmp_")]
        for path in left:
            if path.is_dir():
                checkout.remove(path)
            else:
                path.unlink(missing_ok=True)
        return sorted(str(path.relative_to(self._git)) for path in left)


def _try(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _ref(name: str) -> str:
    """A ref of our own; `name` may be anything."""
    return f"refs/acaops/{hashlib.sha256(name.encode()).hexdigest()[:16]}"
