"""The process around the engine: probes, what is answered while loading, failures, draining."""

from __future__ import annotations

import asyncio
import html
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference import boot, loader, metrics, process, status, web

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@asynccontextmanager
async def shell(listen: Any) -> AsyncIterator[tuple[process.Process, httpx.AsyncClient]]:
    """A process that loads nothing by itself, on a socket."""
    running = process.Process(status.Status(release="r1"))
    async with listen(running.shell) as (url, _), httpx.AsyncClient(base_url=url) as http:
        yield running, http


async def hand_over(running: process.Process, engine: Any, limits: Any) -> None:
    running._limits = limits
    await running._hand_over(loader.Loaded(engine, None), web, limits=limits, measure=metrics.Metrics())


async def test_while_loading(listen: Any) -> None:
    """Alive, not ready and saying why; the API and the page answer 503 with a time to come back."""
    async with shell(listen) as (running, http):
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
    async with shell(listen) as (running, http):
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


async def test_metrics_are_complete(listen: Any) -> None:
    """Every series an alert or a dashboard may rest on is there from the first moment on."""
    wanted = """ready requests_in_flight requests_queued requests rejected time_to_first_token_seconds request_seconds
        answer_tokens_per_second prompt_tokens generated_tokens kv_pages kv_pages_used engine_restarts adapter_reloads
        load_seconds"""
    async with shell(listen) as (_, http):
        told = (await http.get("/metrics")).text
    described = {line.split()[2].removesuffix("_total") for line in told.splitlines() if line.startswith("# TYPE")}
    assert {f"inference_{name}" for name in wanted.split()} <= described


async def test_a_lost_engine_fails_liveness(listen: Any, scripted: Any, settings_of: Any) -> None:
    """Neither live nor ready, with the engine's reason."""
    async with shell(listen) as (running, http):
        engine = scripted()
        running.state.engine_problem = engine.problem
        await hand_over(running, engine, settings_of())
        engine.trouble = "EngineDown: restarted 3 times"
        for path in ("/livez", "/readyz"):
            probe = await http.get(path)
            assert (probe.status_code // 100, probe.json()["reason"]) == (5, engine.trouble)


async def test_draining_finishes_what_runs(listen: Any, scripted: Any, settings_of: Any, until: Any) -> None:
    """Not ready at once, no new answers, the open one whole."""
    async with shell(listen) as (running, http):
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
    async with shell(listen) as (running, http):
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
        (
            {"BASE_MODEL_DIR": "/nowhere/phi", "BASE_ONLY": "1"},
            "ModelNotFound: BASE_MODEL_DIR /nowhere/phi is not a folder",
        ),
        (
            {"BASE_MODEL_DIR": "/models/phi", "BASE_ONLY": "1", "MAX_QUEUE": "-1"},
            "SettingsInvalid: MAX_QUEUE must be at least 0",
        ),
    ],
)
async def test_a_failed_start_says_why(free_port: int, start: Any, env: dict[str, str], reason: str) -> None:
    """The reason is at /readyz, / and /v1 and the last line of the log, /livez fails, and the exit status is 1."""
    child = start(free_port, **env)
    try:
        failed = await answer(free_port, "/readyz", lambda got: got.json()["stage"] == "failed", within=20)
        assert failed.json()["reason"].startswith(reason)
        assert (await answer(free_port, "/livez", lambda got: True, within=5)).status_code == 500
        api = await answer(free_port, "/v1/models", lambda got: True, within=5)
        assert (api.status_code, api.json()["error"]["code"]) == (503, "load_failed")
        page = await answer(free_port, "/", lambda got: True, within=5)
        assert page.status_code == 503
        assert reason in api.json()["error"]["message"]
        assert html.escape(reason) in page.text
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


def test_a_port_in_use_ends_the_process(start: Any) -> None:
    """As without one: status 2, and the reason."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        child = start(taken.getsockname()[1])
        output, _ = child.communicate(timeout=20)
    assert (child.returncode, "Address already in use" in json.loads(output.splitlines()[-1])["reason"]) == (2, True)


def spent(pid: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_the_port_answers_at_once(free_port: int, start: Any) -> None:
    """Within half a second of processor time, whatever else keeps the machine busy; loading comes after that."""
    began = time.monotonic()
    child = start(free_port, BASE_MODEL_DIR="/nowhere/phi", BASE_ONLY="1")
    await answer(free_port, "/livez", lambda got: True, within=30)
    used = spent(child.pid)
    print(f"answered after {time.monotonic() - began:.2f} s, {used:.2f} s of them on a processor")
    assert used <= 0.5


class Endless:
    """An app with streams that never end, and requests that are never answered."""

    def __init__(self) -> None:
        self.open = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/admin/adapter":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        self.open += 1
        await asyncio.Event().wait()


async def test_what_is_open_at_the_end(listen: Any, until: Any) -> None:
    """A page's stream ends well, one of the API breaks off, and who got no answer yet is told why."""
    async with shell(listen) as (running, http):
        running.shell.app = app = Endless()
        asking = [asyncio.create_task(http.get(path)) for path in ("/page", "/v1/completions", "/admin/adapter")]
        await until(lambda: app.open == 3)
        await running.shell.end(within=0)
        page, api, admin = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(page, httpx.Response)
    assert isinstance(admin, httpx.Response)
    assert (page.text, type(api)) == ("so far", httpx.RemoteProtocolError)
    assert (admin.status_code, admin.json()["error"]["code"]) == (503, "shutting_down")


async def test_a_failed_start_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the platform starts it anew: the model may have arrived by then."""
    monkeypatch.setenv("BASE_MODEL_DIR", "/nowhere/phi")
    monkeypatch.setenv("BASE_ONLY", "1")
    async with asyncio.timeout(20):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            assert await boot.serve(listener, linger=0.0) == 1
