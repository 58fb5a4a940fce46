"""transformers' continuous batching manager: how it is made, and every hook into what it keeps private.

It is why the version is pinned, and each hook has a test. Knows tokens and pages, no text, no request's rules.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import OutputRouter

from inference import engine

T = TypeVar("T")
_GAP = 0.02


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


class PerRequest(ContinuousBatchingLogitsProcessorList):
    """The manager's own processors, greedy before them. `neutral` maps each one's key to the value that does nothing.

    With `skip`, those that no request of a step needs don't run in it: top_k and top_p each sort the vocabulary. For
    the CPU, where a step runs right after it was prepared; a GPU's graphs and overlapping steps know no branch. When
    all are greedy none runs, and `greedy_only` tells the step to take the best token.
    """

    greedy_only = False

    def __init__(self, processors: Sequence[Any], *, neutral: Mapping[str, float], skip: bool) -> None:
        super().__init__(LogitsProcessorList([GreedyProcessor(), *processors]))
        if missing := neutral.keys() - self.supported_keys.keys():
            raise RuntimeError(f"this version of transformers has no per-request {', '.join(sorted(missing))}")
        self.tensors_required = len(self.logits_processor)
        self._rows = [(row, _key(processor), processor) for row, processor in enumerate(self.logits_processor)]
        self._neutral = neutral
        self._skip = skip
        self._running = self._rows

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: torch.Tensor) -> torch.Tensor:
        requests = [request for request in requests_in_batch if request.has_new_token]
        if self._skip:
            given = [request.state.logit_processor_kwargs for request in requests]
            self.greedy_only = all(values.get("greedy") for values in given)
            self._running = [
                (row, key, processor)
                for row, key, processor in self._rows
                if not self.greedy_only and any(values.get(key) != self._neutral[key] for values in given)
            ]
        for row, _, processor in self._running:
            values = processor.prepare_tensor_args(requests)
            arg_storage[row, : values.size(0)] = values.to(arg_storage.device)
        return arg_storage

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.Tensor, logits_processor_args: torch.Tensor
    ) -> torch.Tensor:
        for row, _, processor in self._running:
            scores = processor(scores, logits_processor_args[row])
        return scores


def _key(processor: ContinuousBatchingLogitsProcessor) -> str:
    (key,) = processor.supported_kwargs
    return key


class Outbox(OutputRouter):
    """Brings outputs to the event loop: a request's first and last token at once, the others every 20 ms together.

    Waking the loop for each step would cost a fast model a tenth of its speed. Outputs nobody waits for any more,
    such as a cancelled request's last ones, are dropped. `deliver*` are the worker thread's, the rest the loop's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[str, Callable[[Any], None]] = {}
        self._pending: dict[str, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed = False
        self._guard = threading.Lock()

    def take(self, name: str, taker: Callable[[Any], None]) -> None:
        """Call `taker` on the running loop with the newest output of `name`, which holds all its tokens so far."""
        loop = asyncio.get_running_loop()
        with self._guard:
            if loop is not self._loop:
                self._loop, self._timer, self._armed = loop, None, False
            self._takers[name] = taker

    def forget(self, name: str) -> None:
        with self._guard:
            self._takers.pop(name, None)
            self._pending.pop(name, None)

    def deliver(self, output: Any) -> None:
        self.deliver_batch([output])

    def deliver_batch(self, outputs: list[Any]) -> None:
        with self._guard:
            wanted = [output for output in outputs if output.request_id in self._takers]
            self._pending.update({output.request_id: output for output in wanted})
            urgent = any(output.is_finished() or len(output.generated_tokens) == 1 for output in wanted)
            if self._loop is None or self._loop.is_closed() or not wanted or (self._armed and not urgent):
                return
            self._armed = True
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._guard:
            pending, self._pending = self._pending, {}
            takers = [(self._takers[name], output) for name, output in pending.items()]
            if self._timer is not None:
                self._timer.cancel()
            self._armed = bool(pending)
            self._timer = asyncio.get_running_loop().call_later(_GAP, self._flush) if pending else None
        for taker, output in takers:
            taker(output)


def manager(model: Any, plan: engine.CachePlan, *, ends: list[int], pad: int | None, most_k: int) -> Any:
    """A manager, not started, whose requests each bring `greedy`, `temperature`, `top_p` and `top_k`.

    Neutral are 0, 1.0, 1.0 and `most_k`, the number of logits: then every token stays.
    """
    made = model.init_continuous_batching(
        generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
            # It has per-request values only for what its own config calls for: hence none of these is neutral.
            do_sample=True,
            temperature=0.7,
            top_p=0.9,
            top_k=2,
            eos_token_id=ends,
            pad_token_id=pad,
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=plan.page,
            num_blocks=plan.blocks,
            max_batch_tokens=plan.batch,
            per_request_processors=True,
            auto_switch_to_flash=False,
        ),
    )
    made.output_router = Outbox()
    made.logit_processor = PerRequest(
        made.logit_processor.logits_processor,
        neutral={"greedy": 0, "temperature": 1.0, "top_p": 1.0, "top_k": most_k},
        skip=model.device.type == "cpu",
    )
    # Private: the manager only forgoes autograd's records, not its bookkeeping, a tenth of a small step's time.
    made._generation_step = lambda: _step(made)
    return made


@torch.inference_mode()
def _step(of: Any) -> None:
    processor = of.batch_processor
    processor.model_runner.do_sample = not of.logit_processor.greedy_only
    processor._generation_step(of.model)


def pages_used(of: Any) -> int:
    """Pages that running requests hold; one that several share counts once, one kept only for its prefix not at all."""
    if of.batch_processor is None:
        return 0
    cache = of.batch_processor.cache
    free = cache.compute_free_capacity(relative=False)
    free += sum(len(part.ledger.cached_blocks) * part.bytes_per_block for part in cache.cache_allocators.values())
    total = cache.num_sectors * cache.bytes_per_sector
    used: int = round((total - free) * cache.num_blocks / total)
    return used


def steps(of: Any) -> int:
    """How many batches the worker has computed since it was started."""
    return int(getattr(of, "current_batch", 0))


def while_paused(of: Any, work: Callable[[], T]) -> T:
    """Blocks. `work` runs between two steps with no request open; no prefix from before it is used after it.

    Raises EngineError when the worker can't be paused or a request is open, else what `work` raises.
    """
    with ExitStack() as pause:
        try:
            # A pause begins before the last cancelled requests have let go of their pages, and ends with that done:
            # only in a second one can all be forgotten.
            with of.pause():
                pass
            pause.enter_context(of.pause())
        except RuntimeError as error:
            raise engine.EngineError(f"the engine could not be paused: {error}") from error
        if of.batch_processor.has_pending_requests():
            raise engine.EngineError("an answer is open")
        try:
            return work()
        finally:
            of.batch_processor.cache.evict_cached_blocks()
