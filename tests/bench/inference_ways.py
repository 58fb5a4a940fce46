"""Two ways to serve one model in this process: the app's engine, and a thread with `generate` for each request.

The second is what AI Toolkit's template does. Both get the same folder, precision and number of torch's threads.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

from inference import engine, loader, metrics, settings, status
from tests.bench import inference_load, inference_rows

MOST_STREAMS = 64


def environment(folder: Path) -> dict[str, str]:
    """What the app is told to serve `folder` as the benches want it."""
    return {
        "BASE_MODEL_DIR": str(folder),
        "BASE_ONLY": "1",
        "DTYPE": "float32",
        "DEVICE": "cpu",
        "UI_ENABLED": "0",
        "MAX_INFLIGHT": str(MOST_STREAMS),
        "MAX_QUEUE": str(MOST_STREAMS),
        "QUEUE_TIMEOUT_S": "120",
        "MAX_CONTEXT": "128",
    }


class Engine:
    """The app's engine, at its own interface."""

    def __init__(self, folder: Path) -> None:
        self.limits = settings.read(environment(folder))
        self.measure = metrics.Metrics()
        self.state = status.Status()
        loaded = loader.load(self.limits, adapter=None, state=self.state, measure=self.measure)
        self.serving = loaded.serving
        self.serving.start()

    async def run(self, load: inference_load.Load) -> inference_rows.Run:
        async def stream(requests: tuple[inference_load.Request, ...]) -> list[inference_load.Answer]:
            return [await self._answer(request) for request in requests]

        return await timed(lambda: asyncio.gather(*(stream(requests) for requests in load.streams)))

    async def _answer(self, request: inference_load.Request) -> inference_load.Answer:
        began = time.perf_counter()
        ids = self.serving.encode(request.messages)
        text, tokens, first = "", 0, 0.0
        async for delta in self.serving.generate(ids, engine.Sampling(request.tokens, 0.0, 1.0)):
            if delta.tokens and not tokens:
                first = time.perf_counter() - began
            text += delta.text
            tokens += delta.tokens
        return inference_load.Answer(text, tokens, first, time.perf_counter() - began)

    async def stop(self) -> None:
        await asyncio.to_thread(lambda: self.serving.stop(timeout=10))


class Threads:
    """One thread and one `model.generate` for each request, which streams its text to another."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True
        )

    async def run(self, load: inference_load.Load) -> inference_rows.Run:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(len(load.streams)) as pool:
            return await timed(
                lambda: asyncio.gather(*(loop.run_in_executor(pool, self._stream, one) for one in load.streams))
            )

    def _stream(self, requests: tuple[inference_load.Request, ...]) -> list[inference_load.Answer]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: inference_load.Request) -> inference_load.Answer:
        began = time.perf_counter()
        inputs = self._tokenizer.apply_chat_template(
            list(request.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=600)
        made: list[int] = []

        def generate() -> None:
            out = self._model.generate(**inputs, streamer=streamer, max_new_tokens=request.tokens, do_sample=False)
            made.append(out.shape[1] - inputs["input_ids"].shape[1])

        thread = threading.Thread(target=generate)
        thread.start()
        pieces, first = [], 0.0
        for piece in streamer:
            # The streamer holds text back until a word is complete, but says at each token that there was one.
            first = first or time.perf_counter() - began
            pieces.append(piece)
        seconds = time.perf_counter() - began
        thread.join()
        return inference_load.Answer("".join(pieces), made[0], first, seconds)


async def timed(work: Callable[[], Awaitable[list[list[inference_load.Answer]]]]) -> inference_rows.Run:
    """`work`, which returns the answers of each stream, with the time and this process's CPU time it took."""
    began, spent = time.perf_counter(), time.process_time()
    streams = await work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    return inference_rows.Run(tuple(answer for stream in streams for answer in stream), seconds, cpu)
