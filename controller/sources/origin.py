"""Where the desired state comes from: a folder on this machine, or a remote git repository at its latest commit.

An origin gives the whole state of one moment, or says why it can't. It must not decide what that means for what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from controller import settings
from controller.sources import manifest, repository


class Origin(Protocol):
    """One place that the desired state is read from, again and again."""

    @property
    def label(self) -> str:
        """What people call it."""

    @property
    def folder(self) -> Path | None:
        """The folder to watch; None where changes are not seen as file events."""

    @property
    def notice(self) -> str:
        """What people should know of the last load though it isn't wrong; "" for nothing."""

    async def load(self) -> manifest.Source:
        """The state now. Raises manifest.LoadError for one that isn't valid, git.FetchError where it can't be
        had."""

    async def tidy(self, in_use: Collection[manifest.Source]) -> None:
        """Forget everything older that isn't in use."""

    async def close(self) -> None:
        """Leave nothing running."""


class Folder:
    """A state folder on this machine."""

    notice = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.label = str(folder)

    async def load(self) -> manifest.Source:
        return await asyncio.to_thread(manifest.load, self.folder)

    async def tidy(self, in_use: Collection[manifest.Source]) -> None:
        """The files are the user's."""

    async def close(self) -> None:
        """Nothing runs."""


class Remote:
    """A folder of a remote repository. Each load fetches; a commit is read from a tree that nobody changes."""

    folder = None

    def __init__(self, git: settings.Git, *, cache: Path) -> None:
        self.git = git
        self.label = f"{git.url} ({git.ref}, {git.path})"
        self.notice = ""
        self._repository = repository.Repository(git, cache=cache)

    async def load(self) -> manifest.Source:
        fetched = await self._repository.fetch()
        root = await self._repository.materialise(fetched.commit)
        secrets = self.git.secrets.absolute() if self.git.secrets else None
        tree = manifest.Tree(root, fetched.commit, secrets)
        self.notice = f"history was rewritten: {fetched.rewritten}" if fetched.rewritten else ""
        return await asyncio.to_thread(manifest.load, root / self.git.path, tree=tree)

    async def tidy(self, in_use: Collection[manifest.Source]) -> None:
        await self._repository.tidy({one.tree.root for one in in_use if one.tree})

    async def close(self) -> None:
        await self._repository.close()
