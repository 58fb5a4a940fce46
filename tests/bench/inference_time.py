"""Where the time goes: the threads of a serving process are looked at every other millisecond.

The app answers in this process, over HTTP, to a client in another. A look says where a thread is, be it computing or
waiting for the interpreter's lock; the kernel says how much of the time each thread had the CPU.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from types import FrameType

import uvicorn

from inference import answers, web
from tests.bench import inference_http, inference_load, inference_ways

EVERY = 0.002
SWITCH = 0.0001
"""Seconds a look waits for the interpreter's lock at most. Torch gives it up in each of its operations, so that a look
which waited long would mostly see those."""

IDLE = "waiting for work"
WORKER, LOOP = "the engine's thread", "the event loop's thread"

MODEL, CHOICE = "model forward", "choosing tokens: greedy, temperature, top_p, top_k"

# Elsewhere by the innermost frame that says it; the first match counts.
_AREAS = (
    ("transformers/generation/continuous_batching/", "continuous batching: scheduling, tensors, outputs"),
    ("inference/batching.py", "our engine: queues, decoding to text"),
    ("inference/continuous.py", "our engine: queues, decoding to text"),
    ("inference/decoding.py", "our engine: queues, decoding to text"),
    ("inference/answers.py", "our answers: stops, counts, metrics, log"),
    ("inference/stops.py", "our answers: stops, counts, metrics, log"),
    ("inference/metrics.py", "our answers: stops, counts, metrics, log"),
    ("inference/logs.py", "our answers: stops, counts, metrics, log"),
    ("/inference/", "our API: requests, events as JSON"),
    ("starlette/", "HTTP: starlette, uvicorn"),
    ("fastapi/", "HTTP: starlette, uvicorn"),
    ("uvicorn/", "HTTP: starlette, uvicorn"),
    ("h11/", "HTTP: starlette, uvicorn"),
)


class Looks(threading.Thread):
    """From `start` to `end`, the seconds that each of the two threads was in each area, and had the CPU."""

    def __init__(self, loop_thread: int) -> None:
        super().__init__(daemon=True)
        self.seconds: dict[str, collections.Counter[str]] = {WORKER: collections.Counter(), LOOP: collections.Counter()}
        self.cpu: dict[str, float] = {}
        self._threads = {loop_thread: LOOP}
        self._began: dict[str, float] = {}
        self._over = threading.Event()

    def run(self) -> None:
        last = time.perf_counter()
        while not self._over.wait(EVERY):
            frames = sys._current_frames()
            now = time.perf_counter()
            for ident, frame in frames.items():
                if (thread := self._thread(ident, frame)) is not None:
                    self.seconds[thread][area(frame)] += now - last  # type: ignore[assignment]
            last = now

    def end(self) -> None:
        self._over.set()
        self.join()
        self.cpu = {name: _cpu(ident) - self._began[name] for ident, name in self._threads.items()}

    def _thread(self, ident: int, frame: FrameType) -> str | None:
        if any(one.f_code.co_name == "_run_generation_loop" for one in _stack(frame)):
            self._threads[ident] = WORKER
        name = self._threads.get(ident)
        if name is not None and name not in self._began:
            self._began[name] = _cpu(ident)
        return name


def area(frame: FrameType) -> str:
    """What a thread does whose innermost frame this is."""
    if frame.f_code.co_name in ("select", "wait") and frame.f_code.co_filename.endswith(
        ("selectors.py", "threading.py")
    ):
        return IDLE
    stack = _stack(frame)
    # The model calls back into the batching's attention, and choosing a token our own processors.
    if any("transformers/models/" in one.f_code.co_filename for one in stack):
        return MODEL
    if any(one.f_code.co_name == "_forward_process_and_sample" for one in stack):
        return CHOICE
    for one in stack:
        for part, name in _AREAS:
            if part in one.f_code.co_filename:
                return name
    return "event loop"


def _stack(frame: FrameType | None) -> list[FrameType]:
    """Innermost first."""
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _cpu(ident: int) -> float:
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


async def where(way: inference_ways.Engine, load: inference_load.Load) -> list[str]:
    """The table, one line each."""
    usual = sys.getswitchinterval()
    async with _listening(way) as url:
        await inference_http.asked(url, inference_load.Load(load.streams[:2]))
        looks = Looks(threading.get_ident())
        sys.setswitchinterval(SWITCH)
        looks.start()
        got, seconds = await inference_http.asked(url, load)
        looks.end()
        sys.setswitchinterval(usual)
    tokens = sum(answer.tokens for answer in got)
    head = f"{len(load.streams)} streams over HTTP: {tokens} tokens in {seconds:.1f} s, {tokens / seconds:.0f} a second"
    lines = [head]
    for name, spent in looks.seconds.items():
        lines += [f"  {name}", *_lines(spent, cpu=looks.cpu[name], seconds=seconds, tokens=tokens)]
    return lines


def _lines(spent: collections.Counter[str], *, cpu: float, seconds: float, tokens: int) -> list[str]:
    busy = {name: one for name, one in spent.most_common() if name != IDLE}
    # The client takes a while to start: the threads wait then, and that isn't counted.
    rows = {**busy, IDLE: max(0.0, seconds - sum(busy.values())), "(had the CPU)": cpu}
    return [f"    {name:50} {one / seconds:6.1%} {one * 1e6 / tokens:8.0f} µs a token" for name, one in rows.items()]


@contextlib.asynccontextmanager
async def _listening(way: inference_ways.Engine) -> AsyncIterator[str]:
    """The app over `way`'s engine, on a loopback port."""
    opened = answers.over(way.serving, limits=way.limits, measure=way.measure)
    app = web.application(opened, state=way.state, limits=way.limits)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    task = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
