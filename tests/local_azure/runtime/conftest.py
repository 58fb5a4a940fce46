"""A runtime on a fast clock, and the scripted apps it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.local_azure import clock
from infra.local_azure.runtime import processes
from tests.local_azure.runtime.scripted_apps import Apps, Told


@pytest.fixture
def apps(tmp_path: Path) -> Apps:
    folder = tmp_path / "scripts"
    folder.mkdir()
    return Apps(folder)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[processes.Processes]:
    """A runtime whose clock runs 100 times as fast as Azure's."""
    made = processes.Processes(tmp_path / "runtime", clock.ScaledClock(100))
    yield made
    await made.close()


@pytest.fixture
def told(runtime: processes.Processes) -> Told:
    return Told(runtime)
