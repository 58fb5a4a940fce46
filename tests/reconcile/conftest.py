"""`stack`: a controller and a local Azure for it, nothing built yet. `built`: the same, converged."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.reconcile.stack import Stack, running


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path) as one:
        yield one


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a stopped local Azure in which everything is built, and the state folder it was built from."""
    root = tmp_path_factory.mktemp("built")

    async def build() -> None:
        async with running(root) as one:
            await one.converge()

    asyncio.run(build())
    return root


@pytest.fixture
async def built(built_once: Path, tmp_path: Path) -> AsyncIterator[Stack]:
    """A copy of it, started again and looked at."""
    shutil.copytree(built_once, tmp_path, dirs_exist_ok=True)
    async with running(tmp_path) as one:
        await one.converge()
        yield one
