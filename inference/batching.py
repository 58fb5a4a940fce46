"""The engine: transformers' continuous batching, checked at its door and kept alive.

Its worker thread dies, for everybody, of requests it can't digest: an empty prompt, a token id past the vocabulary,
more tokens than the cache holds, a temperature that isn't a plain number. So nothing reaches it unchecked, a dead
worker is restarted a few times, and those who wait never trust it to answer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any, TypeVar

from inference import continuous, decoding, engine, logs, metrics, settings, status

T = TypeVar("T")
_LOG = logging.getLogger("inference.engine")
_SIGN_OF_LIFE = 1.0
_RESTART_WINDOW = 600.0
_TEMPERATURES = (0.01, 100.0)
"""Colder overflows, hotter is noise: with either, softmax may give no probabilities at all."""


class BatchingEngine:
    """One model, one worker thread, one event loop."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        served: status.Served,
        plan: engine.CachePlan,
        limits: settings.Settings,
        measure: metrics.Metrics,
    ) -> None:
        self.served = served
        self.capacity = plan.capacity
        self.page = plan.page
        self._tokenizer = tokenizer
        self.vocabulary = model.get_input_embeddings().num_embeddings
        special = {token for token in (*tokenizer.all_special_tokens, *_added(tokenizer)) if token.strip()}
        self._special = re.compile("|".join(map(re.escape, sorted(special))) or "(?!)")
        self._ends = _end_tokens(model, tokenizer)
        self._most_k = _logits(model, default=self.vocabulary)
        self._manager = continuous.manager(
            model, plan, ends=sorted(self._ends), pad=tokenizer.pad_token_id, most_k=self._most_k
        )
        self._limits = limits
        self._measure = measure
        self._numbers = itertools.count()
        self._restarting = asyncio.Lock()
        self._restarts: list[float] = []
        self._life = 0
        self._down: str | None = None
        self._open = 0
        self._steps = 0
        self._progress = time.monotonic()
        measure.kv_pages.set(plan.blocks)
        measure.kv_pages_used.set_function(lambda: continuous.pages_used(self._manager))

    def encode(self, messages: Sequence[engine.Message]) -> list[int]:
        cleaned = [{"role": message["role"], "content": self._clean(message["content"])} for message in messages]
        try:
            ids = self._tokenizer.apply_chat_template(cleaned, add_generation_prompt=True, return_dict=False)
        except Exception as error:
            # Templates refuse by any exception, e.g. when roles don't alternate.
            raise engine.BadPrompt(f"the model's chat template refused the messages: {error}") from error
        return list(ids)

    def encode_text(self, text: str) -> list[int]:
        ids = self._tokenizer(self._clean(text))["input_ids"]
        if not ids:
            raise engine.BadPrompt("the prompt is empty")
        return list(ids)

    def _clean(self, text: str) -> str:
        """`text` without special tokens' strings, which would be encoded as those tokens. In linear time: a blank in
        place of one that a removal formed keeps its neighbours from forming the next."""
        text = self._special.sub("", text)
        while self._special.search(text):
            text = self._special.sub(" ", text)
        return text

    async def generate(self, prompt: Sequence[int], sampling: engine.Sampling) -> AsyncGenerator[engine.Delta, None]:
        self._check(prompt, sampling)
        await self._ensure_running()
        name, life = f"r{next(self._numbers)}", self._life
        results = self._submit(name, list(prompt), sampling)
        if not self._open:
            self._progress = time.monotonic()
        self._open += 1
        text = decoding.TextStream(self._tokenizer)
        finished = False
        try:
            while not finished:
                output = await self._next(results)
                if output is None:
                    await self._still_in(life)
                    yield engine.Delta()
                    continue
                finished = output.is_finished()
                if output.error is not None:
                    await self._ensure_running()
                    raise engine.EngineError(f"generation failed: {output.error}")
                for delta in self._deltas(output, text):
                    yield delta
        finally:
            self._open -= 1
            self._manager.output_router.forget(name)
            if not finished:
                self._manager.cancel_request(name)

    async def exclusive(self, work: Callable[[], T]) -> T:
        if self._open:
            raise engine.EngineError(f"{self._open} answers are still open")
        await self._ensure_running()
        running = asyncio.ensure_future(asyncio.to_thread(continuous.while_paused, self._manager, work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            raise

    def problem(self) -> str | None:
        if self._down:
            return self._down
        now, done = time.monotonic(), continuous.steps(self._manager)
        if not self._open or done != self._steps:
            self._steps, self._progress = done, now
        silent = now - self._progress
        if silent > self._limits.wedged_after:
            return f"EngineWedged: {self._open} answers open and no step for {silent:.0f} s"
        return None

    def start(self) -> None:
        self._manager.start()

    def stop(self, *, timeout: float) -> None:
        self._down = self._down or "EngineStopped: this replica is shutting down"
        self._manager.stop(block=True, timeout=timeout, hard_stop=True)

    def _check(self, prompt: Sequence[int], sampling: engine.Sampling) -> None:
        if not prompt:
            raise engine.BadPrompt("the prompt is empty")
        if not 0 <= min(prompt) <= max(prompt) < self.vocabulary:
            raise engine.BadPrompt(f"the prompt has token ids outside 0 to {self.vocabulary - 1}")
        if sampling.max_new_tokens < 1 or len(prompt) + sampling.max_new_tokens > self.served.context:
            raise engine.BadPrompt(f"prompt and answer don't fit into {self.served.context} tokens")
        coldest, hottest = _TEMPERATURES
        if sampling.temperature != 0 and not coldest <= sampling.temperature <= hottest:
            raise engine.BadPrompt(f"the temperature must be 0 or from {coldest:g} to {hottest:g}")
        if not 0 < sampling.top_p <= 1:
            raise engine.BadPrompt("top_p must be more than 0 and at most 1")
        if sampling.top_k is not None and sampling.top_k < 1:
            raise engine.BadPrompt("top_k must be at least 1")

    def _submit(self, name: str, prompt: list[int], sampling: engine.Sampling) -> asyncio.Queue[Any]:
        results: asyncio.Queue[Any] = asyncio.Queue()
        self._manager.output_router.take(name, results.put_nowait)
        greedy = sampling.temperature == 0
        accepted = self._manager.add_request(
            prompt,
            request_id=name,
            max_new_tokens=sampling.max_new_tokens,
            streaming=True,
            greedy=int(greedy),
            temperature=1.0 if greedy else float(sampling.temperature),
            top_p=1.0 if greedy else float(sampling.top_p),
            top_k=self._most_k if greedy else min(sampling.top_k or self._most_k, self._most_k),
        )
        if accepted is None:
            self._manager.output_router.forget(name)
            raise engine.EngineError("the engine is restarting")
        return results

    async def _next(self, results: asyncio.Queue[Any]) -> Any:
        """The newest output, which holds all tokens so far; None when none came for a while."""
        try:
            async with asyncio.timeout(_SIGN_OF_LIFE):
                output = await results.get()
        except TimeoutError:
            return None
        while not results.empty():
            output = results.get_nowait()
        return output

    def _deltas(self, output: Any, text: decoding.TextStream) -> Iterator[engine.Delta]:
        """A piece per token, so that whoever cuts the text knows how many tokens it took."""
        tokens = output.generated_tokens
        for at in range(text.count, len(tokens) - 1):
            yield engine.Delta(text.feed(tokens[at]), 1, more=True)
        last = "".join(text.feed(token) for token in tokens[text.count :])
        if not output.is_finished():
            yield engine.Delta(last, 1)
            return
        yield engine.Delta(last + text.flush(), 1, "stop" if tokens[-1] in self._ends else "length")

    async def _still_in(self, life: int) -> None:
        """Raises EngineError if the worker was started anew since: it doesn't know older requests."""
        await self._ensure_running()
        if life != self._life:
            raise engine.EngineError("generation failed: the engine was restarted")

    async def _ensure_running(self) -> None:
        """Restart the worker if it died. Raises EngineDown past the budget, and after `stop`."""
        async with self._restarting:
            if self._down:
                raise engine.EngineDown(self._down)
            worker = self._manager.background_thread_status
            if self._manager.is_running() and worker.can_accept_new_requests() is None:
                return
            # A dying worker first fails what is open, then records why: only a dead one tells the cause.
            await asyncio.to_thread(self._manager.join, time.perf_counter(), 30.0)
            self._spend_restart(f"{type(worker.fatal_error).__name__}: {worker.fatal_error}")
            self._life += 1
            self._manager.start()

    def _spend_restart(self, cause: str) -> None:
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < _RESTART_WINDOW]
        if len(self._restarts) >= self._limits.engine_restarts:
            self._down = f"EngineDown: restarted {len(self._restarts)} times in ten minutes, last error {cause}"
            logs.event(_LOG, "engine_down", level=logging.ERROR, reason=self._down)
            raise engine.EngineDown(self._down)
        self._restarts.append(now)
        self._measure.restarts.inc()
        logs.event(_LOG, "engine_restart", level=logging.ERROR, cause=cause, restart=len(self._restarts))


def _added(tokenizer: Any) -> list[str]:
    """Special tokens that only the vocabulary knows as such, like Phi's role markers."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    listed = [ends] if isinstance(ends, int) else list(ends or [])
    return frozenset([*listed, *([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [])])


def _logits(model: Any, *, default: int) -> int:
    """How many tokens the model scores, which may be more or fewer than it embeds."""
    head = model.get_output_embeddings()
    return int(getattr(head, "out_features", default))
