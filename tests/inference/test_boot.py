"""The process around the engine: probes, what is answered while loading, failures, draining."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from inference import boot, metrics, status, web

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@asynccontextmanager
async def process(listen: Any) -> AsyncIterator[tuple[boot.Process, httpx.AsyncClient]]:
    """A process that loads nothing by itself, on a socket."""
    running = boot.Process(status.Status(release="r1"))
    async with listen(running.shell) as (url, _), httpx.AsyncClient(base_url=url) as http:
        yield running, http


async def hand_over(running: boot.Process, engine: Any, limits: Any) -> None:
    running._limits = limits
    await running._hand_over(engine, web, limits=limits, measure=metrics.Metrics())


async def test_while_loading(listen: Any) -> None:
    """Alive, not ready and saying why; the API and the page answer 503 with a time to come back."""
    async with process(listen) as (running, http):
        running.state.enter(status.MERGING)
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["stage"], ready.json()["release"]) == (503, "merging", "r1")
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/healthz")).status_code == 200
        assert "inference_ready 0.0" in (await http.get("/metrics")).text
        api = await http.post("/v1/chat/completions", json=HELLO)
        assert (api.status_code, api.json()["error"]["code"]) == (503, "not_ready")
        page = await http.get("/")
        assert (page.status_code, "retry-after" in page.headers) == (503, True)
        assert 'http-equiv="refresh"' in page.text


async def test_ready_says_what_is_served(listen: Any, scripted: Any, settings_of: Any) -> None:
    """Release, model, adapter and their digests; the API answers."""
    async with process(listen) as (running, http):
        await hand_over(running, scripted(), settings_of())
        ready = await http.get("/readyz")
        assert ready.status_code == 200
        assert ready.json() == {
            "ready": True,
            "release": "r1",
            "model": "tiny",
            "adapter": "pirate",
            "model_digest": "sha256:aa",
            "adapter_digest": "sha256:bb",
        }
        assert (await http.post("/v1/chat/completions", json=HELLO)).status_code == 200
        assert "inference_ready 1.0" in (await http.get("/metrics")).text


async def test_a_lost_engine_fails_liveness(listen: Any, scripted: Any, settings_of: Any) -> None:
    """Neither live nor ready, with the engine's reason."""
    async with process(listen) as (running, http):
        engine = scripted()
        running.state.engine_problem = engine.problem
        await hand_over(running, engine, settings_of())
        engine.trouble = "EngineDown: restarted 3 times"
        for path in ("/livez", "/readyz"):
            probe = await http.get(path)
            assert (probe.status_code // 100, probe.json()["reason"]) == (5, engine.trouble)


async def test_draining_finishes_what_runs(listen: Any, scripted: Any, settings_of: Any, until: Any) -> None:
    """Not ready at once, no new answers, the open one whole."""
    async with process(listen) as (running, http):
        engine = scripted()
        engine.hold.clear()
        await hand_over(running, engine, settings_of(DRAIN_DELAY_S="0"))
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=HELLO))
        await until(lambda: engine.open == 1)
        draining = asyncio.create_task(running.drain())
        await until(lambda: running.state.draining)
        await asyncio.sleep(0)
        assert (await http.get("/readyz")).json()["stage"] == "draining"
        refused = await http.post("/v1/chat/completions", json=HELLO)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert not draining.done()
        engine.hold.set()
        await draining
        assert (await asking).json()["choices"][0]["message"]["content"] == "one two three"


async def test_grace_ends_with_an_error_event(listen: Any, scripted: Any, settings_of: Any, until: Any) -> None:
    """A stream still open at the end of the grace period is told so."""
    async with process(listen) as (running, http):
        engine = scripted()
        engine.hold.clear()
        await hand_over(running, engine, settings_of(DRAIN_DELAY_S="0", GRACE_S="1"))
        asking = asyncio.create_task(http.post("/v1/chat/completions", json={**HELLO, "stream": True}))
        await until(lambda: engine.open == 1)
        await running.drain()
        last = (await asking).text.strip().splitlines()[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"


async def answer(port: int, path: str, wanted: Callable[[httpx.Response], bool], *, within: float) -> httpx.Response:
    """The first answer of `path` that is as wanted."""
    async with asyncio.timeout(within), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        while True:
            try:
                if wanted(response := await http.get(path)):
                    return response
            except httpx.TransportError:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"BASE_MODEL_DIR": "/nowhere/phi"}, "ModelNotFound: BASE_MODEL_DIR /nowhere/phi is not a folder"),
        ({"BASE_MODEL_DIR": "/models/phi", "MAX_QUEUE": "-1"}, "SettingsInvalid: MAX_QUEUE must be at least 0"),
    ],
)
async def test_a_failed_start_says_why(free_port: int, start: Any, env: dict[str, str], reason: str) -> None:
    """The reason is at /readyz, /livez fails, and it is the last line of the log; the exit status is 1."""
    child = start(free_port, **env)
    try:
        failed = await answer(free_port, "/readyz", lambda got: got.json()["stage"] == "failed", within=20)
        assert failed.json()["reason"].startswith(reason)
        assert (await answer(free_port, "/livez", lambda got: True, within=5)).status_code == 500
    finally:
        child.send_signal(signal.SIGTERM)
        output, _ = child.communicate(timeout=20)
    last = json.loads(output.strip().splitlines()[-1])
    assert (child.returncode, last["event"]) == (1, "load_failed")
    assert last["reason"].startswith(reason)


def test_a_bad_port_ends_the_process(start: Any) -> None:
    """Without a port there is nothing to answer on: status 2, the reason on the last line."""
    child = start(0)
    output, _ = child.communicate(timeout=20)
    assert child.returncode == 2
    assert "PORT must be a port number" in json.loads(output.splitlines()[-1])["reason"]


async def test_a_failed_start_ends_by_itself(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the platform starts it anew: the model may have arrived by then."""
    monkeypatch.setenv("BASE_MODEL_DIR", "/nowhere/phi")
    async with asyncio.timeout(20):
        assert await boot.serve(free_port, linger=0.0) == 1
