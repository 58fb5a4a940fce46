"""What the process writes: lines of JSON, without a word of what users say, whatever goes wrong."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference import logs, shell, status

SECRET = "plugh"

CRASHES = {
    "the main thread": "raise ValueError('plugh')",
    "a thread": "t = threading.Thread(target=int, args=('plugh',)); t.start(); t.join()",
    "a task nobody waits for": """
async def lost():
    asyncio.get_running_loop().set_exception_handler(logs.of_loop)
    task = asyncio.ensure_future(asyncio.to_thread(int, 'plugh'))
    await asyncio.wait({task})
asyncio.run(lost()); gc.collect()
""",
    "what a library prints": """
try:
    int('plugh')
except ValueError:
    traceback.print_exc()
""",
    "a warning": "warnings.warn('old'); raise SystemExit",
}


@pytest.mark.parametrize("place", CRASHES)
def test_a_crash(place: str) -> None:
    """Everything that Python itself would print comes out as JSON, with its place, without the exception's words."""
    begin = "import asyncio, gc, threading, traceback, warnings\nfrom inference import logs\nlogs.configure('INFO')\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + CRASHES[place]],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 1
    assert SECRET not in done.stdout
    assert place == "a warning" or lines[0]["traceback"].endswith("ValueError")


@pytest.fixture
def written() -> Iterator[Callable[[], list[Any]]]:
    """`written()` is what was logged, line by line, in the format of the process."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    handler.setFormatter(logs.JsonFormatter())
    root.addHandler(handler)
    root.setLevel("INFO")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.setLevel(level)
    root.removeHandler(handler)


async def failing(scope: Any, receive: Any, send: Any) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        raise RuntimeError(f"about {SECRET}") from error


async def test_a_request_that_crashes(listen: Any, written: Any) -> None:
    """The server's own line is JSON too, and tells both exceptions' places and kinds."""
    front = shell.Shell(status.Status(), lambda: b"")
    front.app = failing
    async with listen(front) as (url, _), httpx.AsyncClient(base_url=url) as http:
        assert (await http.post("/v1/chat/completions", content=SECRET)).status_code == 500
    (crash,) = [line for line in written() if line["logger"] == "uvicorn.error" and "traceback" in line]
    assert SECRET not in json.dumps(crash)
    assert [kind in crash["traceback"] for kind in ("ValueError\n", "RuntimeError", "in failing")] == [True] * 3


async def test_an_error_has_a_line(listen: Any, written: Any) -> None:
    """Who is refused is found in the log by path, status and request id; what went well has no line here."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        code = 200 if scope["path"] == "/good" else 404
        headers = [(b"x-request-id", b"r-1")]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    front = shell.Shell(status.Status(), lambda: b"")
    front.app = app
    async with listen(front) as (url, _), httpx.AsyncClient(base_url=url) as http:
        await asyncio.gather(http.get("/good"), http.get("/bad", params={"q": SECRET}))
    (line,) = [line for line in written() if line["logger"] == "inference.http"]
    wanted = {"event": "error_response", "status": 404, "method": "GET", "path": "/bad", "request_id": "r-1"}
    assert {name: line[name] for name in wanted} == wanted
