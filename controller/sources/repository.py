"""A remote git repository: what its ref is at now, whether that commit may be used, and its files as a folder.

Submodules are repositories too, at the commit that their parent names. It must not know what the files mean.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import structlog

from controller import settings
from controller.model.commit import Commit
from controller.sources import git, mirror, remote, signature, worktree

log = structlog.get_logger()

T = TypeVar("T")

FetchError = git.FetchError
Reason = git.Reason

MOST_NESTED = 5
"""Submodules of submodules, at most."""

_MOST_WORDS = 200


@dataclass(frozen=True)
class Fetched:
    """`rewritten` says what was left out where the commit seen before isn't part of the history any more; it stays
    as long as the ref doesn't move."""

    commit: Commit
    rewritten: str | None


class Repository:
    """One repository at one ref. Public methods raise FetchError and nothing else."""

    def __init__(self, chosen: settings.Git, *, cache: Path, limits: git.Limits | None = None) -> None:
        self._chosen = chosen
        self._cache = cache.expanduser().resolve()
        self._limits = limits or git.Limits()
        self._mirrors: dict[str, mirror.Mirror] = {}
        self._rewritten: str | None = None

    async def fetch(self) -> Fetched:
        """What the ref is at, at the remote, now; the commit is in the cache and its signature is good."""
        where = remote.parse(self._chosen.url)
        ours = self._mirror(where)
        return await self._at(ours, lambda: self._fetch(ours))

    async def materialise(self, commit: Commit) -> Path:
        """The folder with the commit's files: whole, read-only, the same each time until `tidy`."""
        ours = self._mirror(remote.parse(self._chosen.url))
        name = f"{commit.sha}-with-submodules" if self._chosen.submodules else commit.sha
        with git.told():
            if (found := ours.trees.find(name)) is not None:
                return found
            return await self._made(ours, commit.sha, name)

    async def tidy(self, in_use: Collection[Path]) -> None:
        """Remove the trees not in use, all but the newest two, and what the mirrors don't need. Trouble is logged:
        it is no reason to stop."""
        for one in list(self._mirrors.values()):
            try:
                await self._at(one, lambda one=one: self._tidy(one, in_use))  # type: ignore[misc]
            except FetchError as error:
                log.warning("the cache can't be tidied", reason=error.reason, problem=str(error))

    async def close(self) -> None:
        """Let go of the trees."""
        for one in self._mirrors.values():
            one.trees.close()

    def _mirror(self, where: remote.Remote) -> mirror.Mirror:
        fresh = mirror.Mirror(where, cache=self._cache, limits=self._limits)
        return self._mirrors.setdefault(where.url, fresh)

    async def _at(self, one: mirror.Mirror, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await one.working(work)
        except FetchError as error:
            raise remote.explained(error, one.where, self._chosen) from None

    async def _access(self, one: mirror.Mirror) -> git.Access:
        return await git.blocking(_access, self._chosen, one.where, self._limits)

    async def _fetch(self, ours: mirror.Mirror) -> Fetched:
        ref = self._chosen.ref
        before = await ours.tip(ref)
        if not remote.is_sha(ref):
            await self._fetch_ref(ours, ref, before)
        elif before != ref:
            await _pin(ours, ref, ref, access=await self._access(ours))
        sha = await ours.tip(ref)
        if sha is None:
            raise FetchError(Reason.REF_NOT_FOUND, f"{ref} isn't a commit")
        if before is not None and before != sha:
            left_out = await ours.left_out(before, sha)
            self._rewritten = f"{before[:12]}, seen before, isn't part of {ref} any more" if left_out else None
        commit = await _described(ours, sha)
        if self._chosen.signers is not None:
            await signature.verify(ours, commit, signers=self._chosen.signers)
        return Fetched(commit, self._rewritten)

    async def _fetch_ref(self, ours: mirror.Mirror, ref: str, before: str | None) -> None:
        """One small request where nothing moved."""
        access = await self._access(ours)
        wanted = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        there = await ours.listed(wanted, access=access)
        found = [name for name in wanted if name in there]
        if not found:
            raise FetchError(Reason.REF_NOT_FOUND, f"there is no {ref!r}: not as {' nor as '.join(wanted)}")
        if len(found) > 1:
            raise FetchError(Reason.REF_AMBIGUOUS, f"{ref!r} is both {' and '.join(found)}: use the full name")
        if before is None or there.get(f"{found[0]}^{{}}", there[found[0]]) != before:
            await ours.fetch(found[0], ref, access=access, depth=mirror.DEPTH)

    async def _made(self, ours: mirror.Mirror, sha: str, name: str) -> Path:
        fresh, keep = await self._at(ours, lambda: _begun(ours))
        try:
            await self._fill(ours, sha, fresh, keep=keep, nested=0, pin="the one that is checked out")
            return await self._at(ours, lambda: _finished(ours, fresh, name))
        finally:
            await git.blocking(ours.trees.abandon, fresh, keep)

    async def _fill(self, one: mirror.Mirror, sha: str, folder: Path, *, keep: int, nested: int, pin: str) -> None:
        """`pin` names the commit for the mirror where it has to be fetched first."""

        async def extract() -> list[mirror.Submodule]:
            if await one.commit(sha) is None:
                await _pin(one, sha, pin, access=await self._access(one))
            await one.extract(sha, folder, keep=keep)
            return await one.submodules(sha) if self._chosen.submodules else []

        for found in await self._at(one, extract):
            if nested == MOST_NESTED:
                raise FetchError(Reason.INVALID_SUBMODULE, f"submodule {found.path}: nested too deeply")
            inner, into = self._mirror(_address(one, found)), _inside(folder, found)
            pinned = f"{one.where.url} {found.path}"
            await self._fill(inner, found.sha, into, keep=keep, nested=nested + 1, pin=pinned)

    async def _tidy(self, one: mirror.Mirror, in_use: Collection[Path]) -> None:
        await git.blocking(one.trees.tidy, in_use)
        await one.collect_garbage()


async def commit_of(top: Path, rev: str) -> str:
    """The full sha of a local work tree's revision: `HEAD~1`, a branch, a tag, a short sha. Raises FetchError."""
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")
    with git.told():
        found = await git.run(*arguments, environ={"GIT_DIR": str(top / ".git")}, answers=(0, 1, 128))
    if found.status != 0:
        raise FetchError(Reason.REF_NOT_FOUND, f"there is no commit {rev!r} in {top}")
    return found.output.strip()


async def _pin(one: mirror.Mirror, sha: str, name: str, *, access: git.Access) -> None:
    """Fetch one commit by its sha."""
    try:
        await one.fetch(sha, name, access=access, depth=1)
    except FetchError as error:
        if error.reason != Reason.REF_NOT_FOUND:
            raise
        refused = f"commit {sha[:12]} isn't there, or the server gives only branches and tags: {error}"
        raise FetchError(error.reason, refused) from None


async def _described(one: mirror.Mirror, sha: str) -> Commit:
    found = await one.run("log", "-1", "--no-show-signature", f"--format={worktree.FORMAT}", sha, "--")
    try:
        commit = worktree.parsed(found.output)
    except ValueError:
        commit = None
    if commit is None:
        raise FetchError(Reason.INVALID_OBJECTS, f"commit {sha[:12]} has no valid date")
    return replace(commit, author=_plain(commit.author), subject=_plain(commit.subject))


def _plain(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(character for character in text if character.isprintable())[:_MOST_WORDS]


async def _begun(ours: mirror.Mirror) -> tuple[Path, int]:
    return ours.trees.begin()


async def _finished(ours: mirror.Mirror, fresh: Path, name: str) -> Path:
    await git.blocking(ours.trees.finish, fresh, name)
    found = ours.trees.find(name)
    assert found is not None, "nobody else clears up while the mirror is ours"
    return found


def _address(parent: mirror.Mirror, found: mirror.Submodule) -> remote.Remote:
    if not found.url:
        raise FetchError(Reason.INVALID_SUBMODULE, f"submodule {found.path} has no address in .gitmodules")
    try:
        return remote.submodule(parent.where, found.url)
    except FetchError as error:
        raise FetchError(error.reason, f"{parent.where.url}: {found.path}: {error}") from None


def _inside(folder: Path, found: mirror.Submodule) -> Path:
    """Where the submodule's files go: never through a link."""
    into = folder / found.path
    if into.resolve() != folder.resolve() / found.path or not into.is_dir():
        raise FetchError(Reason.INVALID_SUBMODULE, f"submodule {found.path}: its place isn't a folder")
    return into


def _access(chosen: settings.Git, where: remote.Remote, limits: git.Limits) -> git.Access:
    return remote.access(chosen, where, limits=limits)
