"""OpenAI's HTTP API over `answers`: /v1/models, /v1/chat/completions and /v1/completions, plain and streamed.

Owns what each endpoint does; how it comes over the wire is `wire`'s, and it must not touch the engine past `answers`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inference import answers, engine, errors, formats, logs, requests, settings, streams, wire

_LOG = logging.getLogger("inference.api")
_BODY = 64 * 1024
_BODY_PER_TOKEN = 32
"""Bytes of a body: no prompt that fits into the context needs more, and reading one holds up everybody else."""


@dataclass(frozen=True)
class _Asked:
    """A request that was understood, and the shape of its answer."""

    prompt: answers.Prompt
    shape: formats.Completion
    stream: bool


class Api:
    """The endpoints, for one served model. `heartbeat` in seconds: see `streams`."""

    def __init__(
        self, opened: answers.Answers, *, limits: settings.Settings, heartbeat: float = streams.HEARTBEAT
    ) -> None:
        self._answers = opened
        self._limits = limits
        self._heartbeat = heartbeat
        self._created = int(time.time())
        if not limits.api_keys:
            logs.event(_LOG, "api_open", level=logging.WARNING, hint="API_KEYS is unset: anyone may use the API")

    def routes(self) -> list[Route]:
        keys = wire.Keys(self._limits.api_keys)
        found: list[tuple[str, wire.Handler, str | None]] = [
            ("/v1/models", self._models, "GET"),
            ("/v1/models/{model:path}", self._one_model, "GET"),
            ("/v1/chat/completions", self._completion(self._chat), "POST"),
            ("/v1/completions", self._completion(self._text), "POST"),
            ("/v1/{rest:path}", wire.unknown, None),
            # Where a client asks whose base URL lacks /v1: an answer that tells, not the page's.
            *((path, wire.unknown, None) for path in ("/chat/completions", "/completions", "/models")),
        ]
        return [Route(path, wire.Endpoint(handler, method=method, keys=keys)) for path, handler, method in found]

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def _one_model(self, request: Request) -> Response:
        self._check_model(request.path_params["model"])
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        served = self._answers.served
        return {
            "id": self._limits.model_id,
            "object": "model",
            "created": self._created,
            "owned_by": "acaops",
            "root": served.model,
            "adapter": served.adapter,
            "max_model_len": served.context,
        }

    def _check_model(self, name: str | None) -> None:
        mine = self._limits.model_id
        if name is not None and name != mine:
            message = f"The model {name!r} does not exist; this server has {mine!r}."
            raise errors.ApiError(404, message, param="model", code="model_not_found")

    def _completion(self, understood: Callable[[Any], _Asked]) -> wire.Handler:
        async def handler(request: Request) -> Response:
            at_most = _BODY + _BODY_PER_TOKEN * self._answers.served.context
            asked = understood(await wire.body(request, at_most=at_most))
            return await (self._streamed if asked.stream else self._whole)(request, asked)

        return handler

    def _chat(self, body: Any) -> _Asked:
        limits = self._limits
        asked = requests.chat(body, longest=limits.max_new_tokens, system_prompt=limits.system_prompt)
        return self._fitted(formats.Chat, partial(self._answers.prompt, asked.messages), how=asked.how)

    def _text(self, body: Any) -> _Asked:
        asked = requests.text(body, longest=self._limits.max_new_tokens)
        return self._fitted(formats.Text, partial(self._answers.completion, asked.prompt), how=asked.how)

    def _fitted(
        self, shape: type[formats.Completion], fit: Callable[..., answers.Prompt], *, how: requests.How
    ) -> _Asked:
        self._check_model(how.model)
        try:
            prompt = fit(
                max_tokens=how.max_tokens,
                temperature=how.temperature,
                top_p=how.top_p,
                top_k=how.top_k,
                stop=how.stop,
            )
        except engine.BadPrompt as error:
            raise errors.bad_prompt(error, param=shape.param) from error
        made = shape(uuid.uuid4().hex, int(time.time()), self._limits.model_id, how.include_usage)
        return _Asked(prompt, made, how.stream)

    async def _whole(self, request: Request, asked: _Asked) -> Response:
        work = asyncio.create_task(self._collected(asked.prompt, request_id=request.state.id))
        try:
            await wire.while_connected(request, work)
            answer, text = work.result()
        finally:
            await wire.end(work)
        return JSONResponse(asked.shape.whole(text, finish=answer.finish, usage=streams.usage(answer)))

    async def _collected(self, prompt: answers.Prompt, *, request_id: str) -> tuple[answers.Answer, str]:
        answer = await self._answers.open(prompt, request_id=request_id)
        try:
            async with aclosing(answer.pieces()) as pieces:
                return answer, "".join([piece async for piece in pieces])
        finally:
            answer.close()

    async def _streamed(self, request: Request, asked: _Asked) -> Response:
        """What fails within the first heartbeat, before there is text, has a status; later it is an event."""
        name, beat = request.state.id, self._heartbeat
        beginning = asyncio.create_task(streams.begin(self._answers, asked.prompt, request_id=name))
        try:
            await wire.while_connected(request, beginning, seconds=beat)
            if beginning.done():
                beginning.result()
        except BaseException:
            await streams.release(beginning)
            raise
        events = streams.events(beginning, asked.shape, request_id=name, heartbeat=beat)
        return streams.EventStream(beginning, events)
