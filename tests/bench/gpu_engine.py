"""The app's engine over a model that is already on its device, asked by streams that all start at once."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from inference import batching, engine, metrics, settings, status

PAGES = {"cuda": 256, "cpu": 32}
BATCHES = {"cuda": 2048, "cpu": 512}
"""Tokens of a page and of a step: as the app's loader has them."""


class Engine:
    """Answers of exactly `answer` tokens."""

    def __init__(self, serving: engine.Engine, *, answer: int) -> None:
        self._serving = serving
        self._sampling = engine.Sampling(answer, 0.0, 1.0)

    async def seconds(self, prompts: Sequence[Sequence[int]]) -> float:
        """From the first prompt to the last token. Raises RuntimeError where an answer is too short."""
        began = time.perf_counter()
        made = await asyncio.gather(*(self._answer(prompt) for prompt in prompts))
        if set(made) != {self._sampling.max_new_tokens}:
            raise RuntimeError(f"answers of {sorted(set(made))} tokens instead of {self._sampling.max_new_tokens}")
        return time.perf_counter() - began

    async def _answer(self, prompt: Sequence[int]) -> int:
        return sum([delta.tokens async for delta in self._serving.generate(prompt, self._sampling)])


@contextlib.asynccontextmanager
async def started(model: Any, *, streams: int, prompt: int, answer: int) -> AsyncIterator[Engine]:
    """With room for so many streams of so many tokens each, and no more."""
    context, device = prompt + answer, model.device.type
    page = PAGES[device]
    plan = engine.CachePlan(
        page=page, blocks=streams * math.ceil(context / page) + 1, batch=BATCHES[device], context=context
    )
    serving = batching.BatchingEngine(
        model,
        _tokenizer(model.config.vocab_size),
        served=status.Served("random", None, "", None, context),
        plan=plan,
        limits=settings.read({"BASE_MODEL_DIR": "random", "BASE_ONLY": "1"}),
        measure=metrics.Metrics(),
    )
    serving.start()
    try:
        yield Engine(serving, answer=answer)
    finally:
        await asyncio.to_thread(lambda: serving.stop(timeout=10))


def _tokenizer(vocabulary: int) -> Any:
    """A word for each id: the answers become text as they do for people."""
    words = Tokenizer(models.WordLevel({f"w{at}": at for at in range(vocabulary)}, unk_token="w1"))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words, eos_token="w0", pad_token="w0"
    )
