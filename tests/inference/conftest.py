"""A scripted engine in place of a model, the app on a real socket, and the trained model for those that need it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn

from inference import answers, engine, metrics, settings, status, web
from infra import finetuning

T = TypeVar("T")


class ScriptedEngine:
    """Says its words one by one, a token each. `hold` makes every answer wait after its first word."""

    def __init__(self, text: str = "one two three", *, context: int = 100, capacity: int = 1000) -> None:
        self.served = status.Served("tiny", "pirate", "sha256:aa", "sha256:bb", context)
        self.vocabulary = 1000
        self.capacity = capacity
        self.page = 1
        self.text = text
        self.failure: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.calls: list[engine.Sampling] = []
        self.prompts: list[list[dict[str, str]]] = []
        self.open = 0
        self.cancelled = 0
        self.trouble: str | None = None

    def encode(self, messages: Sequence[Any]) -> list[int]:
        self.prompts.append([dict(message) for message in messages])
        return [1] * sum(len(message["content"].split()) for message in messages)

    def encode_text(self, text: str) -> list[int]:
        self.prompts.append([{"role": "text", "content": text}])
        return [1] * len(text.split())

    async def exclusive(self, work: Callable[[], T]) -> T:
        return work()

    async def generate(self, prompt: Sequence[int], sampling: engine.Sampling) -> AsyncGenerator[engine.Delta, None]:
        self.calls.append(sampling)
        self.open += 1
        done = False
        try:
            words = self.text.split(" ")
            for at, word in enumerate(words):
                last = at + 1 == len(words) or at + 1 == sampling.max_new_tokens
                finish = "stop" if at + 1 == len(words) else "length"
                done = last
                yield engine.Delta(word if at == 0 else f" {word}", 1, finish if last else None)
                if last:
                    return
                while not self.hold.is_set():
                    await asyncio.sleep(0.01)
                    yield engine.Delta()
                if self.failure is not None:
                    done = True
                    raise self.failure
        finally:
            self.open -= 1
            self.cancelled += not done

    def problem(self) -> str | None:
        return self.trouble

    def start(self) -> None:
        pass

    def stop(self, *, timeout: float) -> None:
        self.trouble = "stopped"


@dataclass
class App:
    """A served app: where it is, and what is behind it."""

    url: str
    engine: ScriptedEngine
    answers: answers.Answers
    metrics: metrics.Metrics
    server: uvicorn.Server = field(repr=False)


def limits(**env: str) -> settings.Settings:
    return settings.read({"BASE_MODEL_DIR": "/models/tiny", "BASE_ONLY": "1", "UI_ENABLED": "0", **env})


@contextlib.asynccontextmanager
async def running(
    scripted: ScriptedEngine, *, measure: metrics.Metrics | None = None, **env: str
) -> AsyncIterator[App]:
    measure = measure or metrics.Metrics()
    config = limits(**env)
    opened = answers.over(scripted, limits=config, measure=measure)
    app = web.application(opened, state=status.Status(release="r1"), limits=config)
    async with web.lifespan(app), listening(app) as (url, server):
        yield App(url, scripted, opened, measure, server)


@contextlib.asynccontextmanager
async def listening(app: Any) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    """`app` on a loopback port of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", proxy_headers=False, timeout_graceful_shutdown=1
        )
    )
    task = asyncio.create_task(server._serve([listener]))
    try:
        await eventually(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", server
    finally:
        server.should_exit = True
        await task


async def eventually(condition: Callable[[], bool], *, within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 (what is waited for is a fact of another task, not an event)
            await asyncio.sleep(0.01)


@pytest.fixture
def scripted() -> type[ScriptedEngine]:
    return ScriptedEngine


@pytest.fixture
def serve() -> Callable[..., contextlib.AbstractAsyncContextManager[App]]:
    """`async with serve(engine, API_KEYS="k") as app`."""
    return running


@pytest.fixture
def listen() -> Callable[..., contextlib.AbstractAsyncContextManager[tuple[str, uvicorn.Server]]]:
    return listening


@pytest.fixture
def until() -> Callable[..., Any]:
    return eventually


@pytest.fixture
def settings_of() -> Callable[..., settings.Settings]:
    return limits


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start(port, NAME="value")` runs the real process; it is gone when the test ends."""
    children: list[subprocess.Popen[str]] = []

    def launch(port: int, **env: str) -> subprocess.Popen[str]:
        plain = {
            name: value
            for name, value in os.environ.items()
            if name not in ("BASE_MODEL_DIR", "ADAPTER_DIR", "BASE_ONLY")
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "inference"],
            cwd=Path(__file__).parents[2],
            env={**plain, "PORT": str(port), "OMP_NUM_THREADS": "1", "DRAIN_DELAY_S": "0", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        children.append(child)
        return child

    yield launch
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture(scope="session")
def engine_of(trained: Path) -> Callable[..., Any]:
    """`engine_of(page=4, NAME="value")` is the real engine over the trained base, not started."""

    def build(
        *, measure: metrics.Metrics | None = None, dtype: str = "float32", page: int = 32, blocks: int = 257, **env: str
    ) -> Any:
        import torch
        import transformers

        from inference import batching

        folder = str(trained / finetuning.BASE)
        plan = engine.CachePlan(page=page, blocks=blocks, batch=512, context=min(512, (blocks - 1) * page))
        return batching.BatchingEngine(
            transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)),
            transformers.AutoTokenizer.from_pretrained(folder),
            served=status.Served("tiny", None, "sha256:aa", None, plan.context),
            plan=plan,
            limits=limits(**env),
            measure=measure or metrics.Metrics(),
        )

    return build


@pytest.fixture
def adapter_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the adapter, to be damaged."""
    return Path(shutil.copytree(trained / finetuning.ADAPTER, tmp_path / "pirate"))
