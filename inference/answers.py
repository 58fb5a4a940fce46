"""From a conversation to an answer: fits the prompt, asks for admission, drives the engine, counts.

The API and the chat page both come through here, so limits, metrics and logs are the same for both. It logs
counts and times, never text.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from inference import admission, engine, logs, metrics, settings, status, stops

_LOG = logging.getLogger("inference.request")
_COLDEST = 0.01
"""Below this temperature sampling is greedy anyway, and dividing by it overflows half precision."""


class PromptTooLong(engine.BadPrompt):
    """The prompt, or the prompt and the tokens asked for, don't fit into the context."""


class Interrupted(engine.EngineError):
    """The replica is going away before the answer was complete."""


@dataclass(frozen=True)
class Prompt:
    """A conversation or text that fits: ids and how to go on from them."""

    ids: tuple[int, ...]
    sampling: engine.Sampling
    stop: tuple[str, ...]


class Answers:
    """One per process."""

    def __init__(
        self,
        serving: engine.Engine,
        *,
        gate: admission.Admission,
        measure: metrics.Metrics,
        limits: settings.Settings,
    ) -> None:
        self._engine = serving
        self._gate = gate
        self._measure = measure
        self._limits = limits
        self._quiet = asyncio.Lock()
        self.interrupted = False
        """Set near the end of the grace period: open answers then end with Interrupted."""

    @property
    def served(self) -> status.Served:
        return self._engine.served

    @property
    def in_flight(self) -> int:
        return self._gate.in_flight

    async def idle(self) -> None:
        """Returns once nothing is being generated."""
        await self._gate.idle()

    def close(self) -> None:
        """Admit no new answers."""
        self._gate.close()

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Within, nothing is in flight: new requests wait in the queue, their usual time. One at a time."""
        async with self._quiet:
            self._gate.hold()
            try:
                await self._gate.idle()
                yield
            finally:
                self._gate.resume()

    def prompt(
        self,
        messages: Sequence[engine.Message],
        *,
        max_tokens: int | None,
        temperature: float,
        top_p: float,
        top_k: int | None = None,
        stop: tuple[str, ...] = (),
    ) -> Prompt:
        """A conversation's. `top_k` None: no limit. Raises BadPrompt, of which PromptTooLong is a kind."""
        ids = self._engine.encode(messages)
        room = self._room(ids, max_tokens, named="the messages are")
        return Prompt(tuple(ids), _sampling(room, temperature, top_p, top_k), stop)

    def completion(
        self,
        text: str | Sequence[int],
        *,
        max_tokens: int | None,
        temperature: float,
        top_p: float,
        top_k: int | None = None,
        stop: tuple[str, ...] = (),
    ) -> Prompt:
        """A text or token ids, gone on from as they are. `top_k` None: no limit. Raises BadPrompt, PromptTooLong."""
        ids = self._engine.encode_text(text) if isinstance(text, str) else list(text)
        if not ids or not 0 <= min(ids) <= max(ids) < self._engine.vocabulary:
            raise engine.BadPrompt(f"a prompt needs token ids, each from 0 to {self._engine.vocabulary - 1}")
        room = self._room(ids, max_tokens, named="the prompt is")
        return Prompt(tuple(ids), _sampling(room, temperature, top_p, top_k), stop)

    def _room(self, ids: Sequence[int], max_tokens: int | None, *, named: str) -> int:
        """How many new tokens there may be. Raises PromptTooLong."""
        context = self._engine.served.context
        longest = self._limits.max_new_tokens
        wanted = longest if max_tokens is None else min(max_tokens, longest)
        room = context - len(ids)
        if room < 1 or (max_tokens is not None and room < wanted):
            asked = f" plus {wanted} asked for" if max_tokens is not None else ""
            raise PromptTooLong(
                f"This model's maximum context length is {context} tokens, but {named} {len(ids)} tokens{asked}."
            )
        return min(wanted, room)

    async def open(self, prompt: Prompt, *, request_id: str) -> Answer:
        """An answer, admitted. It must be closed. Raises admission.Refused."""
        asked = time.monotonic()
        place = await self._gate.place(len(prompt.ids) + prompt.sampling.max_new_tokens)
        self._measure.prompt_tokens.inc(len(prompt.ids))
        return Answer(self, prompt, place, asked=asked, request_id=request_id)


def over(serving: engine.Engine, *, limits: settings.Settings, measure: metrics.Metrics) -> Answers:
    """Answers of `serving`, admitted as `limits` say."""
    gate = admission.Admission(
        places=limits.max_inflight,
        queue=limits.max_queue,
        timeout=limits.queue_timeout,
        capacity=serving.capacity,
        page=serving.page,
        measure=measure,
    )
    return Answers(serving, gate=gate, measure=measure, limits=limits)


def _sampling(tokens: int, temperature: float, top_p: float, top_k: int | None) -> engine.Sampling:
    if temperature < _COLDEST or top_p == 0:
        return engine.Sampling(tokens, 0.0, 1.0)
    return engine.Sampling(tokens, temperature, top_p, top_k)


class Answer:
    """One generation. Iterate `pieces()` once, then `close()`; closing early cancels."""

    def __init__(
        self, owner: Answers, prompt: Prompt, place: admission.Place, *, asked: float, request_id: str
    ) -> None:
        self._owner = owner
        self._prompt = prompt
        self._place = place
        self._asked = asked
        self._first: float | None = None
        self._last = asked
        self._id = request_id
        self._closed = False
        self.prompt_tokens = len(prompt.ids)
        self.completion_tokens = 0
        self.finish: str | None = None
        """`stop` or `length` once complete, `error` after a failure, None while running or when cancelled."""

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Text as it comes; an empty piece is a sign of life. Raises BadPrompt, EngineError."""
        try:
            async with aclosing(self._cut()) as pieces:
                async for piece in pieces:
                    yield piece
        except (engine.EngineError, engine.BadPrompt) as error:
            self.finish = "error"
            logs.event(_LOG, "answer_failed", level=logging.ERROR, request_id=self._id, error=str(error))
            raise

    async def _cut(self) -> AsyncGenerator[str, None]:
        matcher = stops.StopMatcher(self._prompt.stop)
        deadline = self._asked + self._owner._limits.generation_timeout
        text = ""
        async with aclosing(self._owner._engine.generate(self._prompt.ids, self._prompt.sampling)) as deltas:
            async for delta in deltas:
                self._count(delta)
                text += matcher.feed(delta.text)
                if matcher.matched:
                    self.finish = "stop"
                elif delta.finish or time.monotonic() > deadline:
                    self.finish = delta.finish or "length"
                    text += matcher.flush()
                elif self._owner.interrupted:
                    raise Interrupted("this replica is shutting down")
                elif delta.more:
                    continue
                yield text
                if self.finish:
                    return
                text = ""

    def _count(self, delta: engine.Delta) -> None:
        if not delta.tokens:
            return
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last
            self._owner._measure.first_token.observe(self._first - self._asked)
        self.completion_tokens += delta.tokens
        self._owner._measure.generated_tokens.inc(delta.tokens)

    def close(self) -> None:
        """Give the place back and write the one log line of this answer. More calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self._place.release()
        now = time.monotonic()
        measure = self._owner._measure
        measure.requests.labels(self.finish or "cancelled").inc()
        measure.duration.observe(now - self._asked)
        if self._first is not None and self._last > self._first:
            measure.answer_speed.observe((self.completion_tokens - 1) / (self._last - self._first))
        logs.event(
            _LOG,
            "answer",
            request_id=self._id,
            finish=self.finish or "cancelled",
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            first_token_s=None if self._first is None else round(self._first - self._asked, 4),
            seconds=round(now - self._asked, 4),
        )
