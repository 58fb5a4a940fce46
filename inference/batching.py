"""The engine: transformers' continuous batching, driven directly, kept alive.

Its worker thread dies, for everybody, of requests it can't digest: an empty prompt, a token id past the vocabulary,
more tokens than the cache holds, temperature 0. So nothing reaches it unchecked, a dead worker is restarted a
few times, and the waiting never trust it to answer. The hooks marked private are why the version is pinned.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor

from inference import engine, logs, metrics, settings, status

_LOG = logging.getLogger("inference.engine")
_POLL = 1.0
_RESTART_WINDOW = 600.0


class GreedyProcessor(ContinuousBatchingLogitsProcessor):
    """Leaves a greedy request's best token only. `top_k=1` would not do: exact ties survive it, and bf16 has many."""

    supported_kwargs: dict[str, type] = {"greedy": int}  # noqa: RUF012 (the base class declares it so)
    ignored_kwargs: tuple[str, ...] = ()

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.fill_(0)

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        flags = [request.state.logit_processor_kwargs.get("greedy", 0) for request in requests_with_new_token]
        return torch.tensor(flags, dtype=torch.int32, device="cpu")

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        greedy = tensor_arg[: scores.size(0)].bool().unsqueeze(-1)
        best = scores.argmax(dim=-1, keepdim=True)
        alone = torch.full_like(scores, float("-inf")).scatter(-1, best, 0.0)
        return torch.where(greedy, alone, scores)


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
        self._vocabulary = model.get_input_embeddings().num_embeddings
        self._special = re.compile("|".join(map(re.escape, sorted(tokenizer.all_special_tokens + _added(tokenizer)))))
        self._ends = _end_tokens(model, tokenizer)
        self._manager = _manager(model, plan, ends=sorted(self._ends), pad=tokenizer.pad_token_id)
        self._limits = limits
        self._measure = measure
        self._numbers = itertools.count()
        self._restarting = asyncio.Lock()
        self._restarts: list[float] = []
        self._down: str | None = None
        self._open = 0
        self._progress = time.monotonic()

    def encode(self, messages: Sequence[engine.Message]) -> list[int]:
        cleaned = [{"role": message["role"], "content": self._clean(message["content"])} for message in messages]
        try:
            ids = self._tokenizer.apply_chat_template(cleaned, add_generation_prompt=True, return_dict=False)
        except Exception as error:
            # Templates refuse by any exception, e.g. when roles don't alternate.
            raise engine.BadPrompt(f"the model's chat template refused the messages: {error}") from error
        return list(ids)

    def _clean(self, text: str) -> str:
        """`text` without special tokens' strings, which would be encoded as those tokens."""
        while (shorter := self._special.sub("", text)) != text:
            text = shorter
        return text

    async def generate(self, prompt: Sequence[int], sampling: engine.Sampling) -> AsyncGenerator[engine.Delta, None]:
        self._check(prompt, sampling)
        await self._ensure_running()
        results: asyncio.Queue[Any] = asyncio.Queue()
        name = f"r{next(self._numbers)}"
        self._submit(name, list(prompt), sampling, results)
        if not self._open:
            self._progress = time.monotonic()
        self._open += 1
        finished = False
        try:
            decoder = DecodeStream([], skip_special_tokens=True)
            seen = 0
            while not finished:
                output = await self._next(results)
                if output is None:
                    await self._ensure_running()
                    yield engine.Delta()
                    continue
                self._progress = time.monotonic()
                if output.error is not None:
                    finished = True
                    await self._ensure_running()
                    raise engine.EngineError(f"generation failed: {output.error}")
                fresh = output.generated_tokens[seen:]
                seen += len(fresh)
                finished = output.is_finished()
                yield self._delta(fresh, decoder, finished=finished)
        finally:
            self._open -= 1
            if not finished:
                self._manager.cancel_request(name)
            self._forget(name)

    def problem(self) -> str | None:
        if self._down:
            return self._down
        silent = time.monotonic() - self._progress
        if self._open and silent > self._limits.wedged_after:
            return f"EngineWedged: {self._open} answers open and no token for {silent:.0f} s"
        return None

    def start(self) -> None:
        self._manager.start()

    def stop(self, *, timeout: float) -> None:
        self._down = self._down or "EngineStopped: this replica is shutting down"
        self._manager.stop(block=True, timeout=timeout, hard_stop=True)

    def _check(self, prompt: Sequence[int], sampling: engine.Sampling) -> None:
        if not prompt:
            raise engine.BadPrompt("the prompt is empty")
        if not 0 <= min(prompt) <= max(prompt) < self._vocabulary:
            raise engine.BadPrompt(f"the prompt has token ids outside 0 to {self._vocabulary - 1}")
        if sampling.max_new_tokens < 1 or len(prompt) + sampling.max_new_tokens > self.served.context:
            raise engine.BadPrompt(f"prompt and answer don't fit into {self.served.context} tokens")

    def _submit(self, name: str, prompt: list[int], sampling: engine.Sampling, results: asyncio.Queue[Any]) -> None:
        self._manager.register_result_handler(name, results.put_nowait)
        greedy = sampling.temperature == 0
        accepted = self._manager.add_request(
            prompt,
            request_id=name,
            max_new_tokens=sampling.max_new_tokens,
            streaming=True,
            greedy=int(greedy),
            temperature=1.0 if greedy else float(sampling.temperature),
            top_p=float(sampling.top_p),
        )
        if accepted is None:
            self._forget(name)
            raise engine.EngineError("the engine is restarting")

    async def _next(self, results: asyncio.Queue[Any]) -> Any:
        """The newest output, which holds all tokens so far; None when none came for a while."""
        try:
            async with asyncio.timeout(_POLL):
                output = await results.get()
        except TimeoutError:
            return None
        while not output.is_finished() and not results.empty():
            output = results.get_nowait()
        return output

    def _delta(self, fresh: list[int], decoder: DecodeStream, *, finished: bool) -> engine.Delta:
        backend = self._tokenizer.backend_tokenizer
        text = "".join(piece for token in fresh if (piece := decoder.step(backend, token)) is not None)
        ended = "stop" if fresh and fresh[-1] in self._ends else "length"
        return engine.Delta(text, len(fresh), ended if finished else None)

    def _forget(self, name: str) -> None:
        # Private: a cancelled request's handler is never removed by the manager itself.
        with self._manager.output_router._lock:
            self._manager.output_router.result_handlers.pop(name, None)

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


def _manager(model: Any, plan: engine.CachePlan, *, ends: list[int], pad: int | None) -> Any:
    """A manager whose requests may each bring greedy, temperature and top_p.

    It has per-request values only for processors that its own config calls for: hence a temperature and a top_p
    that are not neutral, though every request brings its own.
    """
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=True, temperature=0.7, top_p=0.9, top_k=0, eos_token_id=ends, pad_token_id=pad
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=plan.page,
            num_blocks=plan.blocks,
            max_batch_tokens=plan.batch,
            per_request_processors=True,
            auto_switch_to_flash=False,
        ),
    )
    processors = manager.logit_processor
    # Private: the list has no way to add a processor. It must happen before the worker starts.
    processors.logits_processor.insert(0, GreedyProcessor())
    processors.tensors_required += 1
    processors._retrieve_processors_kwargs()
    processors.do_processing = True
    missing = {"greedy", "temperature", "top_p"} - processors.supported_keys.keys()
    if missing:
        raise RuntimeError(f"this version of transformers has no per-request {', '.join(sorted(missing))}")
    return manager
