"""`python -m tests.bench.gpu`: tokens a second of Phi-3-mini's shape on a GPU, beside what its memory allows at most.

Random weights in bf16. Measured are the copy bandwidth, eager `generate` alone and by a thread per request, `generate`
with a static cache and compiled, and the engine at 1, 4, 16 and 64 streams. It needs torch, transformers and what the
engine imports; what can't be measured says why, and misses its goal. It exits with 1 where a goal is missed and with 3
without a GPU. `--tiny` runs the same on the CPU, with a small shape and without goals.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench import gpu_floor, inference_models

STREAMS = (1, 4, 16, 64)
ROUNDS = 3
COPIES = 20


@dataclass(frozen=True)
class Size:
    """`shape` differs from Phi3Config's defaults; prompts and answers are in tokens; `copied` is in bytes."""

    shape: dict[str, Any]
    prompt: int
    answer: int
    threads_answer: int
    copied: int


FULL = Size({}, prompt=128, answer=256, threads_answer=64, copied=2**30)
TINY = Size(
    {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    prompt=8,
    answer=8,
    threads_answer=4,
    copied=2**24,
)


class Bench:
    """One model on one device. What it prints it keeps in `rows`."""

    def __init__(self, size: Size, *, device: str) -> None:
        import torch
        from transformers import Phi3Config

        self.rows: list[gpu_floor.Row] = []
        self._size = size
        self._torch = torch
        self._device = device
        self._pick = random.Random(0)
        self._config = Phi3Config(**size.shape, bos_token_id=0, eos_token_id=0, pad_token_id=0)
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        words = list(range(1, self._config.vocab_size))
        self._model = inference_models.endless(self._config, words=words, device=device, dtype=dtype)
        self._memory = gpu_floor.Memory(self._bandwidth(), weights=self._weights(), token=self._per_token())

    def run(self) -> None:
        self._tell()
        print(gpu_floor.HEAD, flush=True)
        ways: dict[str, Callable[[], None]] = {
            gpu_floor.EAGER: self._eager,
            gpu_floor.THREADS: self._threads,
            gpu_floor.STATIC: self._static,
            gpu_floor.ENGINE: lambda: asyncio.run(self._engine()),
        }
        for way, work in ways.items():
            try:
                work()
            except Exception as error:
                # One way that this machine's packages can't go must not hide what the others do.
                reason = " ".join(str(error).split())[:300]
                print(f"{way:8} not measured: {type(error).__name__}: {reason}", flush=True)

    def _tell(self) -> None:
        import transformers

        name = self._torch.cuda.get_device_name() if self._device == "cuda" else "the CPU"
        count = sum(weights.numel() for weights in self._model.parameters())
        memory = self._memory
        print(f"device: {name}; torch {self._torch.__version__}, transformers {transformers.__version__}")
        print(
            f"model: {count:,} parameters, {memory.weights / 1e9:.2f} GB read a step; copies move "
            f"{memory.bandwidth / 1e12:.2f} TB/s: {memory.step(1, context=0) * 1e3:.2f} ms a step at least"
        )

    def _bandwidth(self) -> float:
        source = self._torch.zeros(self._size.copied, dtype=self._torch.uint8, device=self._device)
        target = source.clone()

        def copy() -> None:
            for _ in range(COPIES):
                target.copy_(source)

        return 2 * COPIES * self._size.copied / min(self._timed(copy) for _ in range(ROUNDS))

    def _weights(self) -> int:
        """Bytes, without the embeddings' table, of which a step reads a few rows."""
        table = self._model.get_input_embeddings().weight
        several = [one for one in self._model.parameters() if one is not table]
        return sum(int(one.numel() * one.element_size()) for one in several)

    def _per_token(self) -> int:
        width = self._config.hidden_size // self._config.num_attention_heads
        heads = self._config.num_key_value_heads or self._config.num_attention_heads
        layers, size = self._config.num_hidden_layers, self._model.dtype.itemsize
        return gpu_floor.per_token(layers=layers, heads=heads, width=width, size=size)

    def _timed(self, work: Callable[[], object]) -> float:
        self._synchronize()
        began = time.perf_counter()
        work()
        self._synchronize()
        return time.perf_counter() - began

    def _synchronize(self) -> None:
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def _prompt(self) -> list[int]:
        return [self._pick.randrange(1, self._config.vocab_size) for _ in range(self._size.prompt)]

    def _add(self, way: str, streams: int, seconds: float, *, answer: int) -> None:
        # Over an answer the context grows from the prompt alone to all of it.
        floor = self._memory.speed(streams, context=self._size.prompt + answer / 2)
        row = gpu_floor.Row(way, streams, streams * answer, seconds, floor)
        self.rows.append(row)
        print(row.shown(), flush=True)

    def _generate(self, answer: int, **options: Any) -> None:
        """Raises RuntimeError where it ends early."""
        ids = self._torch.tensor([self._prompt()], device=self._device)
        mask = self._torch.ones_like(ids)
        out = self._model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=answer, do_sample=False, **options
        )
        made = out.shape[1] - ids.shape[1]
        if made != answer:
            raise RuntimeError(f"{made} tokens instead of {answer}")

    def _eager(self) -> None:
        answer = self._size.answer
        self._generate(answer)
        seconds = statistics.median(self._timed(lambda: self._generate(answer)) for _ in range(ROUNDS))
        self._add(gpu_floor.EAGER, 1, seconds, answer=answer)

    def _threads(self) -> None:
        """One thread for each request, as AI Toolkit's template does. It is slow: shorter answers, and once."""
        answer, streams = self._size.threads_answer, 16

        def work() -> None:
            threads = [threading.Thread(target=self._generate, args=(answer,)) for _ in range(streams)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        self._add(gpu_floor.THREADS, streams, self._timed(work), answer=answer)

    def _static(self) -> None:
        """`generate` compiles its steps by itself where the cache is static, on a GPU."""
        answer = self._size.answer

        def work() -> None:
            self._generate(answer, cache_implementation="static", max_cache_len=self._size.prompt + answer)

        first = self._timed(work) + self._timed(work)
        seconds = statistics.median(self._timed(work) for _ in range(ROUNDS))
        self._add(gpu_floor.STATIC, 1, seconds, answer=answer)
        print(f"{'':8} compiled in {max(0.0, first - 2 * seconds):.1f} s, not counted", flush=True)

    async def _engine(self) -> None:
        gpu_engine = importlib.import_module("tests.bench.gpu_engine")
        prompt, answer = self._size.prompt, self._size.answer
        async with gpu_engine.started(self._model, streams=max(STREAMS), prompt=prompt, answer=answer) as one:
            for streams in STREAMS:
                # The first is for what is set up once per number of streams.
                _, *rounds = [await one.seconds([self._prompt() for _ in range(streams)]) for _ in range(1 + ROUNDS)]
                self._add(gpu_floor.ENGINE, streams, statistics.median(rounds), answer=answer)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    tiny = parser.parse_args().tiny
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | (
        {"OMP_NUM_THREADS": "1"} if tiny else {}
    )
    try:
        import torch
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        print(f"{error.name} is missing: torch and transformers are needed")
        return 3
    if not tiny and not torch.cuda.is_available():
        print("no GPU: torch finds no CUDA device; --tiny runs the same on the CPU")
        return 3
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    bench = Bench(TINY if tiny else FULL, device="cpu" if tiny else "cuda")
    bench.run()
    if tiny:
        return int(len(bench.rows) != 3 + len(STREAMS))
    judged = gpu_floor.judged(bench.rows)
    print(*judged, sep="\n")
    return int(not all(judged.values()))


if __name__ == "__main__":
    sys.exit(main())
