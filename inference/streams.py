"""An answer as server-sent events: heartbeats while nothing comes, an error event where it breaks.

Owns the order of what is written; must not know how chunks look. Tokens that come together are one piece already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from inference import answers, engine, errors, formats, wire

HEARTBEAT = 15.0
"""Seconds of silence after which a stream gets a comment, before an ingress takes it for dead."""


@dataclass(frozen=True)
class Begun:
    """An answer with its first piece of text, which may be empty if it is the last one too. It must be closed."""

    answer: answers.Answer
    first: str
    rest: AsyncGenerator[str, None]

    async def pieces(self) -> AsyncGenerator[str, None]:
        """As the answer's own. Raises BadPrompt, EngineError."""
        yield self.first
        async for piece in self.rest:
            yield piece

    async def close(self) -> None:
        try:
            await self.rest.aclose()
        finally:
            self.answer.close()


async def begin(opened: answers.Answers, prompt: answers.Prompt, *, request_id: str) -> Begun:
    """Returns once there is text, so that what fails before has a status. Raises Refused, BadPrompt, EngineError."""
    answer = await opened.open(prompt, request_id=request_id)
    pieces = answer.pieces()
    try:
        async for piece in pieces:
            if piece or answer.finish:
                return Begun(answer, piece, pieces)
        raise engine.EngineError("the engine ended an answer without saying how")
    except BaseException:
        await Begun(answer, "", pieces).close()
        raise


async def release(beginning: asyncio.Task[Begun]) -> None:
    """Give back the answer that `beginning` has, or will come to have."""
    await wire.end(beginning)
    if not beginning.cancelled() and beginning.exception() is None:
        await beginning.result().close()


class EventStream(StreamingResponse):
    """Closes the answer however the response ends, even if its body was never asked for."""

    def __init__(self, beginning: asyncio.Task[Begun], events: AsyncGenerator[bytes, None]) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._beginning = beginning
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            return
        finally:
            try:
                await self._events.aclose()
            finally:
                await release(self._beginning)


async def events(
    beginning: asyncio.Task[Begun], shape: formats.Completion, *, request_id: str, heartbeat: float
) -> AsyncGenerator[bytes, None]:
    """What to write, one item a write. If `beginning` isn't done, it has been waited for a `heartbeat`."""
    try:
        while not beginning.done():
            yield formats.PING
            await asyncio.wait({beginning}, timeout=heartbeat)
        begun = beginning.result()
        unsaid, written = shape.begin(), time.monotonic()
        async with aclosing(begun.pieces()) as pieces:
            async for piece in pieces:
                if piece:
                    unsaid += shape.piece(piece)
                elif time.monotonic() - written >= heartbeat:
                    unsaid += formats.PING
                if unsaid and not begun.answer.finish:
                    yield unsaid
                    unsaid, written = b"", time.monotonic()
        yield unsaid + shape.end(finish=begun.answer.finish, usage=usage(begun.answer))
    except Exception as error:
        # The status line is long gone: an error event is the only way to tell a broken answer from a short one.
        yield formats.event(errors.told(error, request_id=request_id).body)


def usage(answer: answers.Answer) -> formats.Usage:
    return formats.Usage(answer.prompt_tokens, answer.completion_tokens)
