"""A state folder, and a local Azure that lives as long as the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.local_azure import lifecycle
from tests.e2e.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "repo")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[lifecycle.Running]:
    """A local Azure with processes; its slow operations take a second or two."""
    async with lifecycle.serve_child(tmp_path / "azure", port=0, time_scale=100) as running:
        yield running
