"""OpenAI's HTTP API over `answers`: /v1/models and /v1/chat/completions, plain and streamed.

Every error has OpenAI's envelope. Owns HTTP and JSON; must not touch the engine past `answers`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from inference import admission, answers, chat_request, engine, logs, settings, status

_LOG = logging.getLogger("inference.api")
_BODY_AT_MOST = 4 * 1024 * 1024
_PING_EVERY = 15.0
"""Seconds of silence after which a stream gets a comment, before an ingress takes it for dead."""

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """The endpoints, for one served model."""

    def __init__(self, opened: answers.Answers, *, served: status.Served, limits: settings.Settings) -> None:
        self._answers = opened
        self._served = served
        self._model = limits.model_id
        self._keys = tuple(key.encode() for key in limits.api_keys)
        self._created = int(time.time())
        if not self._keys:
            logs.event(_LOG, "api_open", level=logging.WARNING, hint="API_KEYS is unset: anyone may use the API")

    def routes(self) -> list[Route]:
        return [
            Route("/v1/models", self._guarded(self._models), methods=["GET"]),
            Route("/v1/models/{model:path}", self._guarded(self._one_model), methods=["GET"]),
            Route("/v1/chat/completions", self._guarded(self._chat), methods=["POST"]),
            Route("/v1/{rest:path}", self._guarded(_unknown), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint` behind the key check, with every error in the envelope and the request's id on the answer."""

        async def guarded(request: Request) -> Response:
            request.state.id = _request_id(request)
            try:
                self._authorize(request)
                response = await endpoint(request)
            except chat_request.ApiError as error:
                response = JSONResponse(error.body, error.status, error.headers)
            except ClientDisconnect:
                response = Response(status_code=499)
            except Exception as error:
                logs.event(_LOG, "unexpected", level=logging.ERROR, trace=True, request_id=request.state.id)
                failure = _api_error(engine.EngineError(f"internal error: {type(error).__name__}"))
                response = JSONResponse(failure.body, failure.status)
            response.headers["x-request-id"] = request.state.id
            return response

        return guarded

    def _authorize(self, request: Request) -> None:
        if not self._keys:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Every key is compared, so that the time tells nothing about which one came close.
        matches = [hmac.compare_digest(given.strip().encode(), key) for key in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            message = "Incorrect API key provided." if given else "You didn't provide an API key."
            raise chat_request.ApiError(
                401, message, code="invalid_api_key", headers={"www-authenticate": 'Bearer realm="inference"'}
            )

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def _one_model(self, request: Request) -> Response:
        self._check_model(request.path_params["model"])
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._model,
            "object": "model",
            "created": self._created,
            "owned_by": "acaops",
            "root": self._served.model,
            "adapter": self._served.adapter,
            "max_model_len": self._served.context,
        }

    def _check_model(self, name: str | None) -> None:
        if name is not None and name != self._model:
            raise chat_request.ApiError(
                404,
                f"The model {name!r} does not exist; this server has {self._model!r}.",
                param="model",
                code="model_not_found",
            )

    async def _chat(self, request: Request) -> Response:
        asked = chat_request.parse(await _json(request))
        self._check_model(asked.model)
        try:
            prompt = self._answers.prompt(
                asked.messages,
                max_tokens=asked.max_tokens,
                temperature=asked.temperature,
                top_p=asked.top_p,
                stop=asked.stop,
            )
            opening = self._answers.open(prompt, request_id=request.state.id)
            answer = await _unless_disconnected(request, opening, undo=lambda late: late.close())
        except (engine.BadPrompt, admission.Refused) as error:
            raise _api_error(error) from error
        head = _Head(uuid.uuid4().hex, self._model)
        if asked.stream:
            return _EventStream(answer, _events(answer, head, include_usage=asked.include_usage))
        return await self._whole(request, answer, head)

    async def _whole(self, request: Request, answer: answers.Answer, head: _Head) -> Response:
        try:
            text = await _unless_disconnected(request, _collect(answer))
        except (engine.EngineError, engine.BadPrompt) as error:
            raise _api_error(error) from error
        finally:
            answer.close()
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
        return JSONResponse({**head.body("chat.completion"), "choices": [choice], "usage": _usage(answer)})


class _Head:
    """What each chunk of one completion repeats."""

    def __init__(self, identity: str, model: str) -> None:
        self._fields = {"id": f"chatcmpl-{identity}", "created": int(time.time()), "model": model}

    def body(self, kind: str) -> dict[str, Any]:
        return {"object": kind, **self._fields}

    def chunk(self, delta: dict[str, str], *, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**self.body("chat.completion.chunk"), "choices": [choice]})

    def usage(self, answer: answers.Answer) -> bytes:
        return _event({**self.body("chat.completion.chunk"), "choices": [], "usage": _usage(answer)})


class _EventStream(StreamingResponse):
    """Closes the answer however the response ends, even if its body was never asked for."""

    def __init__(self, answer: answers.Answer, events: AsyncGenerator[bytes, None]) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._answer = answer
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
                self._answer.close()


async def _events(answer: answers.Answer, head: _Head, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    yield head.chunk({"role": "assistant", "content": ""})
    last = time.monotonic()
    try:
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                if piece or time.monotonic() - last > _PING_EVERY:
                    last = time.monotonic()
                    yield head.chunk({"content": piece}) if piece else b": ping\n\n"
    except (engine.EngineError, engine.BadPrompt) as error:
        # The status line is long gone: an error event is the only way to tell a broken answer from a short one.
        yield _event(_api_error(error).body)
        return
    yield head.chunk({}, finish=answer.finish)
    if include_usage:
        yield head.usage(answer)
    yield b"data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def _collect(answer: answers.Answer) -> str:
    async with aclosing(answer.pieces()) as pieces:
        return "".join([piece async for piece in pieces])


def _usage(answer: answers.Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


async def _unless_disconnected(
    request: Request, work: Awaitable[T], *, undo: Callable[[T], None] = lambda _: None
) -> T:
    """The result of `work`, or ClientDisconnect as soon as the client leaves; `undo` then gets a result come late."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is None:
                undo(task.result())


async def _disconnected(request: Request) -> None:
    """Returns when the client has left. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _json(request: Request) -> Any:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_AT_MOST:
            raise chat_request.ApiError(413, f"the body is larger than {_BODY_AT_MOST} bytes")
    try:
        return json.loads(body)
    except ValueError as error:
        raise chat_request.ApiError(400, f"the body is not valid JSON: {error}") from None


def _request_id(request: Request) -> str:
    """The caller's x-request-id where it is harmless to log and echo, else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if re.fullmatch(r"[\w.:/+=-]{1,128}", given, re.ASCII) else uuid.uuid4().hex


def _api_error(error: Exception) -> chat_request.ApiError:
    """The one table from what goes wrong to what the client is told."""
    text = str(error)
    match error:
        case answers.PromptTooLong():
            return chat_request.ApiError(400, text, param="messages", code="context_length_exceeded")
        case engine.BadPrompt():
            return chat_request.ApiError(400, text, param="messages")
        case admission.Draining() as refused:
            headers = {"retry-after": str(refused.retry_after)}
            return chat_request.ApiError(503, text, kind="server_error", code="shutting_down", headers=headers)
        case admission.Refused() as refused:
            headers = {"retry-after": str(refused.retry_after)}
            return chat_request.ApiError(
                429, text, kind="rate_limit_error", code="rate_limit_exceeded", headers=headers
            )
        case answers.Interrupted():
            return chat_request.ApiError(503, text, kind="server_error", code="shutting_down")
        case engine.EngineDown():
            return chat_request.ApiError(503, text, kind="server_error", code="engine_down")
        case _:
            return chat_request.ApiError(500, text, kind="server_error", code="engine_error")


async def _unknown(request: Request) -> Response:
    raise chat_request.ApiError(404, f"Unknown request URL: {request.method} {request.url.path}", code="unknown_url")
