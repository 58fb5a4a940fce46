"""The demo: a local Azure, the controller on a state folder, a model trained on the spot, and its first answer.

Like `cli` it shows and decides nothing; the controller in it is the one `acaops run` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from controller import assembly, follow, loop, observe, settings, signals, views
from controller.cloud import network
from controller.model import desired, outcome
from controller.model.kinds import Kind
from controller.sources import manifest
from controller.telemetry import http
from controller.telemetry import log as logs
from infra import finetuning
from infra.local_azure import lifecycle

QUESTION = "Count down from 12."
SETTLE_SECONDS = 600.0
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "acaops"


class DemoError(Exception):
    """The demo can't go on; the message is for people."""


_FAILURES = (DemoError, outcome.OutcomeError, lifecycle.LifecycleError, http.ServeError, aiohttp.ClientError, OSError)


@dataclass(frozen=True)
class Demo:
    """One run. `stay` keeps it up until Ctrl-C once the model answered."""

    chosen: settings.Settings
    source: manifest.Source
    time_scale: float
    azure_port: int
    stay: bool

    async def run(self) -> int:
        """The exit status: 0 once the model answered."""
        if importlib.util.find_spec("torch") is None:
            missing = "the demo serves a model, and torch isn't installed: pip install 'acaops[local,inference]'"
            views.problems(views.console(sys.stderr), [missing])
            return 1
        stop = asyncio.Event()
        began = time.monotonic()
        # On a laptop's cores one thread is faster: two were seen to take ten times as long for a model this small.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        with tempfile.TemporaryDirectory(prefix="acaops-demo-") as folder, signals.handled(stop.set):
            try:
                return await self._in(Path(folder), stop=stop, began=began)
            except _FAILURES as error:
                views.problems(views.console(sys.stderr), [str(error)])
                return 1

    async def _in(self, folder: Path, *, stop: asyncio.Event, began: float) -> int:
        with (folder / "controller.log").open("w") as log:
            logs.configure(level="info", form="json", stream=log, environ=os.environ)
            async with lifecycle.serve_child(
                folder / "azure", port=self.azure_port, time_scale=self.time_scale
            ) as server:
                os.environ.update(lifecycle.environment(server))
                chosen = replace(self.chosen, cloud=server.url)
                async with assembly.controller(chosen) as one, assembly.serving(one, chosen) as port:
                    return await self._show(one, chosen, stop=stop, began=began, port=port)

    async def _show(
        self, one: assembly.Controller, chosen: settings.Settings, *, stop: asyncio.Event, began: float, port: int
    ) -> int:
        with views.Progress(views.console(sys.stdout)) as progress:
            one.statuses.subscribe(lambda status: progress.update(status.as_json()))
            progress.note(f"local Azure at {chosen.cloud}, status at http://{chosen.host}:{port}/status")
            main = asyncio.create_task(self._converge(one, progress))
            if not await _unless(stop, main):
                return 130
            answer = await self._answer(one)
        self._print(one, answer, seconds=time.monotonic() - began, port=port)
        if self.stay:
            async with follow.following(one.loop, one.asks, chosen):
                await _follow(one, stop)
        return 0

    async def _converge(self, one: assembly.Controller, progress: views.Progress) -> None:
        """The environment and the training side by side; the apps once the model is on the share."""
        environments = {("Environment", loaded.name) for loaded in self.source.environments}
        one.loop.only = lambda key: key in environments
        await one.loop.load()
        model = await _model(progress)
        for loaded in self.source.environments:
            await _fine_tuned(one, loaded.object, model)
        progress.note("the fine-tuned model is on the share")
        one.loop.only = lambda _: True
        await one.loop.load()
        settled = await assembly.until_settled(one, seconds=SETTLE_SECONDS, stop=asyncio.Event())
        stalled = [status for status in one.statuses.snapshot().objects if not loop.settled(status)]
        if not settled or stalled:
            raise DemoError("; ".join(f"{status.kind}/{status.name}: {status.last_error}" for status in stalled))

    async def _answer(self, one: assembly.Controller) -> str:
        """Ask the first app one question, as any client would."""
        endpoint = _plain(_endpoint(one))
        connector = aiohttp.TCPConnector(resolver=network.Resolver())
        async with aiohttp.ClientSession(endpoint, connector=connector, headers=_headers()) as session:
            models = await _told(session, "GET", "/v1/models")
            question = {
                "model": models["data"][0]["id"],
                "messages": [{"role": "user", "content": QUESTION}],
                "max_tokens": 64,
                "temperature": 0,
            }
            told = await _told(session, "POST", "/v1/chat/completions", body=question)
            return str(told["choices"][0]["message"]["content"])

    def _print(self, one: assembly.Controller, answer: str, *, seconds: float, port: int) -> None:
        endpoint = _plain(_endpoint(one))
        lines = [
            "",
            f"> {QUESTION}",
            f"< {answer}",
            "",
            f"{endpoint}   ready after {seconds:.1f} s",
        ]
        if self.stay:
            lines += [
                f"  chat page   {endpoint}/",
                f"  status      http://127.0.0.1:{port}/status  (or: acaops status)",
                "  Edit a file under inference/ or a line of desired_state/ and watch a new revision take over.",
                "  Ctrl-C ends it all.",
            ]
        print("\n".join(lines), flush=True)


async def _told(session: aiohttp.ClientSession, method: str, path: str, *, body: Any = None) -> dict[str, Any]:
    async with session.request(method, path, json=body) as answer:
        told: dict[str, Any] = await answer.json()
        if answer.status != 200:
            raise DemoError(f"{answer.url} answered {answer.status}: {json.dumps(told)}")
        return told


def _headers() -> dict[str, str]:
    """The first API key, where the state folder's app takes keys from API_KEYS."""
    keys = os.environ.get("API_KEYS")
    return {"Authorization": f"Bearer {keys.split(',')[0]}"} if keys else {}


def _endpoint(one: assembly.Controller) -> str:
    found = (status.endpoint for status in one.statuses.snapshot().objects if status.endpoint)
    endpoint = next(found, None)
    if endpoint is None:
        raise DemoError("no app has an address")
    return endpoint


def _plain(endpoint: str) -> str:
    """The address for browsers, which don't know the local Azure's CA: it answers plain HTTP as well."""
    return endpoint.replace("https://", "http://", 1)


async def _model(progress: views.Progress) -> Path:
    """The demo's model, from the cache or trained now, in a process of its own."""
    folder = CACHE / finetuning.cache_key()
    if (folder / finetuning.ADAPTER).is_dir():
        progress.note(f"the fine-tuned model comes from {folder}")
        return folder
    progress.note("training the demo's model, a minute at most the first time")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.finetuning", "--json", "--out", str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on, once
    )
    async with _ended(child):
        assert child.stdout is not None
        assert child.stderr is not None
        errors = asyncio.create_task(child.stderr.read())
        last = ("", -1)
        async for line in child.stdout:
            step = json.loads(line)
            share = 10 * step["step"] // max(1, step["steps"])
            if (step["stage"], share) != last:
                last = (step["stage"], share)
                progress.note(f"training: {step['stage']} {step['step']}/{step['steps']}")
        if await child.wait() != 0:
            raise DemoError(f"training failed: {(await errors).decode()[-2000:].strip()}")
        await errors
    return folder


@contextlib.asynccontextmanager
async def _ended(child: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGINT)
            await child.wait()


async def _fine_tuned(one: assembly.Controller, environment: desired.Environment, model: Path) -> None:
    """Put the model on the share as a fine-tuning run would have left it there."""
    ids, _ = await observe.ids(one.cloud, environment)
    key = ("Environment", environment.metadata.name)
    while not _share_is_there(one, key):
        if loop.settled(one.statuses.get(key)) is False:
            raise DemoError(str(getattr(one.statuses.get(key), "last_error", None)))
        await asyncio.sleep(0.1)
    account = await one.cloud.read(Kind.ACCOUNT, ids.account)
    assert account is not None
    async with one.cloud.share(account, ids.names.share) as share:
        for file in _files(model):
            await share.upload(file.relative_to(model).as_posix(), file)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _share_is_there(one: assembly.Controller, key: tuple[str, str]) -> bool:
    status = one.statuses.get(key)
    steps = status.resources if status else ()
    return any(step.name == Kind.SHARE.label and isinstance(step.outcome, outcome.Done) for step in steps)


async def _unless(stop: asyncio.Event, main: asyncio.Task[None]) -> bool:
    """Run `main` to its end; False when `stop` was set before."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({main, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not main.done():
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)
        return False
    await main
    return True


async def _follow(one: assembly.Controller, stop: asyncio.Event) -> None:
    """Show what changes, a line each, until `stop`."""
    console = views.console(sys.stdout)
    with views.Progress(console) as progress:
        for status in one.statuses.snapshot().objects:
            progress.update(status.as_json())
        one.statuses.subscribe(lambda status: progress.update(status.as_json()))
        await stop.wait()
