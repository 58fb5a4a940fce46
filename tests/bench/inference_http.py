"""The app as people run it, a process of its own, and a client in another: `python -m tests.bench.inference_http URL`.

The client reads a load as JSON from standard input, asks for each answer as a stream of events, and prints one line of
JSON: the answers of each stream and the seconds that all took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench import inference_load, inference_models, inference_rows

START = 60.0
"""Seconds within which the app must be ready."""


@dataclass(frozen=True)
class Served:
    """An app that answers at `url`, as process `pid`."""

    url: str
    pid: int

    async def run(self, load: inference_load.Load) -> inference_rows.Run:
        before = cpu(self.pid)
        answers, seconds = await asked(self.url, load)
        return inference_rows.Run(answers, seconds, cpu(self.pid) - before)


@contextlib.contextmanager
def serving(env: Mapping[str, str]) -> Iterator[Served]:
    """`python -m inference`, ready, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    child = subprocess.Popen(
        [sys.executable, "-m", "inference"],
        cwd=inference_models.ROOT,
        env={**os.environ, "PORT": str(port), "DRAIN_DELAY_S": "0", "LOG_LEVEL": "ERROR", **env},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(child, url)
        yield Served(url, child.pid)
    finally:
        child.terminate()
        child.wait(timeout=30)


def _wait(child: subprocess.Popen[bytes], url: str) -> None:
    """Until it is ready. Raises RuntimeError."""
    latest = time.monotonic() + START
    while time.monotonic() < latest and child.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"the app wasn't ready within {START:g} s; exit status {child.poll()}")


def cpu(pid: int) -> float:
    """The CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def asked(url: str, load: inference_load.Load) -> tuple[tuple[inference_load.Answer, ...], float]:
    """The answers that a client of its own process got, and the seconds they took together."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.inference_http", url),
        cwd=inference_models.ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await child.communicate(json.dumps(inference_load.to_json(load)).encode())
    if child.returncode:
        raise RuntimeError(f"the client ended with {child.returncode}")
    got = json.loads(told)
    return tuple(inference_load.Answer(*row) for stream in got["streams"] for row in stream), got["seconds"]


async def ask(url: str, load: inference_load.Load) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        began = time.perf_counter()
        streams = await asyncio.gather(*(_stream(http, url, requests) for requests in load.streams))
        seconds = time.perf_counter() - began
    return {"streams": streams, "seconds": seconds}


async def _stream(
    http: aiohttp.ClientSession, url: str, requests: tuple[inference_load.Request, ...]
) -> list[tuple[Any, ...]]:
    return [astuple(await _answer(http, url, request)) for request in requests]


async def _answer(http: aiohttp.ClientSession, url: str, request: inference_load.Request) -> inference_load.Answer:
    began = time.perf_counter()
    body = {
        "messages": request.messages,
        "max_tokens": request.tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    text, tokens, first = "", 0, 0.0
    async with http.post(f"{url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for event in _events(response):
            piece = "".join(choice["delta"].get("content", "") for choice in event["choices"])
            if piece and not text:
                first = time.perf_counter() - began
            text += piece
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    return inference_load.Answer(text, tokens, first, time.perf_counter() - began)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    """Raises RuntimeError for an event that tells of an error."""
    async for line in response.content:
        if line.startswith(b"data: ") and line != b"data: [DONE]\n":
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            yield event


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    url = parser.parse_args().url
    print(json.dumps(asyncio.run(ask(url, inference_load.from_json(json.load(sys.stdin))))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
