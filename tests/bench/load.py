"""`python -m tests.bench.load URL`: so many requests a second, whatever becomes of them, and what became of each.

It keeps to its timetable even where answers are late or missing (open loop): a service that stands still is asked on.
It prints a line once the first request was answered, goes on until its input ends, waits for what is under way, and
prints one line of JSON: for each request the fields of an `Answer`. `asking` runs it as a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import aiohttp

from controller.cloud import network
from tests.e2e import running

RATE = 200
TIMEOUT = 10.0


@dataclass(frozen=True)
class Answer:
    """One request: when it was due, on the machine's monotonic clock, and the seconds from then to its end. `status` is
    HTTP's or, in words, why there is none; `version` the content that answered."""

    due: float
    seconds: float
    status: int | str
    version: str | None

    @property
    def failed(self) -> bool:
        return self.status != 200


@dataclass
class Asked:
    """`answers` are there once the asking has ended."""

    answers: list[Answer] = field(default_factory=list)


@contextlib.asynccontextmanager
async def asking(url: str, *, env: Mapping[str, str], rate: float = RATE) -> AsyncIterator[Asked]:
    """A process that asks `url` from now, when its first request was answered, to the end of the block."""
    asked = Asked()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.load", url, "--rate", str(rate)),
        env=env,
        cwd=running.ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**28,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert await child.stdout.readline() == b"begun\n"
        yield asked
        child.stdin.close()
        asked.answers += (Answer(*row) for row in json.loads(await child.stdout.read()))
        await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


class Load:
    """Asks `url`, over connections that are kept."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.answers: list[Answer] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._url = url
        self._http = http

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Until `stop`, and until the last answer."""
        await self._ask(time.monotonic())
        print("begun", flush=True)
        due = time.monotonic()
        while not stop.is_set():
            self._send(due)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*self._under_way)

    def _send(self, due: float) -> None:
        task = asyncio.create_task(self._ask(due))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask(self, due: float) -> None:
        status, told = await self._answer()
        self.answers.append(Answer(due, time.monotonic() - due, status, told.get("version")))

    async def _answer(self) -> tuple[int | str, dict[str, Any]]:
        try:
            async with self._http.get(self._url) as answer:
                data = await answer.read()
                return answer.status, json.loads(data) if answer.status == 200 else {}
        except TimeoutError:
            return "timeout", {}
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__, {}


async def load(url: str, rate: float) -> list[Answer]:
    """The answers to `rate` requests a second until the end of standard input. TLS is always verified."""
    connector = aiohttp.TCPConnector(ssl=network.trust(), resolver=network.Resolver(), limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as http:
        one, stop = Load(url, http), asyncio.Event()
        reading = asyncio.create_task(_at_end_of_input(stop))
        await one.run(rate, stop)
        await reading
        return one.answers


async def _at_end_of_input(stop: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()
    transport.close()
    stop.set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=RATE)
    options = parser.parse_args()
    print(json.dumps([astuple(one) for one in asyncio.run(load(options.url, options.rate))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
