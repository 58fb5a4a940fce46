"""`adopting`: a controller over state that was imported, beside a local Azure on which the stack stands already."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from controller.migration import toolkit, written
from tests.migration.provisioned import Provisioned
from tests.reconcile.stack import Stack, running

FIXTURES = Path(__file__).parent / "fixtures"

Adopting = Callable[[str, Provisioned, Mapping[str, Any], Mapping[str, Any]], AbstractAsyncContextManager[Stack]]


def project(root: Path, name: str, *, parameters: Mapping[str, Any], config: Mapping[str, Any]) -> Path:
    """A copy of the fixture project with some of inference's parameters and configuration set."""
    made = root / "repo"
    shutil.copytree(FIXTURES / name, made)
    _change(made / "infra/provision/inference.parameters.json", lambda data: _set(data["parameters"], parameters))
    _change(made / "infra/inference.config.json", lambda data: data.update(config))
    return made


def _set(parameters: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        parameters[name] = {"value": value}


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data, indent=2))


@pytest.fixture
def adopting(tmp_path: Path) -> Adopting:
    @contextlib.asynccontextmanager
    async def make(
        name: str, there: Provisioned, parameters: Mapping[str, Any], config: Mapping[str, Any]
    ) -> AsyncIterator[Stack]:
        folder = project(tmp_path, name, parameters=parameters, config=config)
        written.write(toolkit.read(folder / "infra"), folder / "desired_state", force=False)
        async with running(tmp_path) as stack:
            await there.make(stack.local)
            yield stack

    return make
