"""The command in this process, on a state folder of its own, against a local Azure that remembers every request.

- `state`: a state folder that converges: `state.yaml` one file with an Environment and an app, beside its content.
- `acaops`: `acaops("plan", folder)` runs the command.
- `azure`: the server that the command then talks to; `.requests` is everything that it was asked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from typer.testing import CliRunner, Result

from controller import cli
from infra.local_azure import clock, lifecycle, server, settings

YAML = """\
apiVersion: acaops/v1
kind: Environment
metadata: {name: west}
spec:
  subscriptionId: 00000000-0000-0000-0000-000000000000
  resourceGroup: rg-cli
  location: westus3
---
apiVersion: acaops/v1
kind: InferenceApp
metadata: {name: chat}
spec:
  environmentRef: west
  image: docker.io/library/python:3.12
  workloadProfileName: Consumption
  resources: {cpu: 0.5, memory: 1Gi}
  commands: [python -m inference]
  content: [{path: ../inference, target: inference}]
  scale: {minReplicas: 1, maxReplicas: 1}
"""

T = TypeVar("T")


class State:
    """A state folder with one file, beside a content folder with one."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "desired_state"
        self.file = self.folder / "all.yaml"
        self.content = root / "inference"
        for folder in (self.folder, self.content):
            folder.mkdir()
        (self.content / "serve.py").write_text("print('hello')\n")
        self.write(YAML)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def change(self, before: str, after: str) -> None:
        """Replace the one `before` in the file."""
        text = self.file.read_text()
        assert text.count(before) == 1
        self.write(text.replace(before, after))


class Command:
    """Runs `acaops` with an environment in which nothing of this machine's is left."""

    def __init__(self) -> None:
        own = ("AZURE_", "ACAOPS_", "ARM_", "REQUESTS_", "SSL_")
        self.env: dict[str, str | None] = {name: None for name in os.environ if name.startswith(own)}
        # Without it the chain of credentials asks a link-local address.
        self.env["AZURE_TOKEN_CREDENTIALS"] = "EnvironmentCredential"

    def __call__(self, *arguments: str | Path) -> Result:
        words = [str(argument) for argument in arguments]
        return CliRunner(env=self.env).invoke(cli.app, words, prog_name="acaops", catch_exceptions=False)


class Served:
    """A local Azure in a thread of its own, for commands that run an event loop themselves."""

    def __init__(self, state: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server = self._run(self._start(state))

    @property
    def requests(self) -> list[str]:
        """Everything that was asked, as `METHOD path`."""
        return [f"{one.method} {one.path}" for one in self.server.requests]

    @property
    def writes(self) -> list[str]:
        """The requests to ARM that change something."""
        return [one for one in self.requests if "/subscriptions/" in one and one.startswith(("PUT", "PATCH", "DELETE"))]

    @property
    def environment(self) -> dict[str, str]:
        one = self.server
        subscription = one.settings.subscriptions[0]
        listening = lifecycle.Running(
            one.settings.state, os.getpid(), one.url, one.port, one.ca, one.identity.tenant, subscription,
            one.identity.client_id,
        )  # fmt: skip
        return lifecycle.environment(listening)

    def close(self) -> None:
        self._run(self.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self, state: Path) -> server.Server:
        made = server.Server(settings.Settings(state, port=0, processes=False), clock.ScaledClock(0))
        await made.start()
        return made

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.chdir(tmp_path)
    return State(tmp_path)


@pytest.fixture
def acaops() -> Iterator[Command]:
    root, azure = logging.getLogger(), logging.getLogger("azure")
    handlers, levels = root.handlers[:], (root.level, azure.level)
    yield Command()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    azure.setLevel(levels[1])


@pytest.fixture
def azure(acaops: Command, tmp_path: Path) -> Iterator[Served]:
    """`acaops` talks to it from now on."""
    served = Served(tmp_path / "azure")
    acaops.env |= served.environment
    yield served
    served.close()
