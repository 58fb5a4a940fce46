"""HTTP under the APIs: keys, methods, bodies, request ids, and clients that leave. Knows no model.

Everything that is answered here has a request id, and every error OpenAI's envelope. Browsers of other sites get
nothing: no CORS, and bodies must be declared JSON, which a page can't send elsewhere unasked.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pydantic import SecretStr
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from inference import errors

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class Keys:
    """Who may come in. No keys: everybody."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._keys = tuple(key.get_secret_value().encode() for key in keys)

    def check(self, request: Request) -> None:
        """Raises ApiError 401."""
        if not self._keys:
            return
        # Headers are bytes, read as Latin-1.
        scheme, _, given = request.headers.get("authorization", "").encode("latin-1").partition(b" ")
        # Every key is compared, so that the time tells nothing about which one came close.
        matches = [hmac.compare_digest(given.strip(), key) for key in self._keys]
        if scheme.lower() != b"bearer" or not any(matches):
            message = "Incorrect API key provided." if given else "You didn't provide an API key."
            challenge = {"www-authenticate": 'Bearer realm="inference"'}
            raise errors.ApiError(401, message, code="invalid_api_key", headers=challenge)


class Endpoint:
    """One URL: `handler` behind `keys`, for `method` only (any when None). An ASGI app, so it sees every method."""

    def __init__(self, handler: Handler, *, method: str | None, keys: Keys) -> None:
        self._handler = handler
        self._method = method
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        request.state.id = _request_id(request)
        try:
            self._keys.check(request)
            self._check_method(request)
            response = await self._handler(request)
        except ClientDisconnect:
            return
        except Exception as error:
            response = refusal(errors.told(error, request_id=request.state.id))
        response.headers["x-request-id"] = request.state.id
        await response(scope, receive, send)

    def _check_method(self, request: Request) -> None:
        allowed = ("GET", "HEAD") if self._method == "GET" else (self._method,)
        if self._method is not None and request.method not in allowed:
            message = f"Not allowed to {request.method} on {request.scope['path']}: use {self._method}."
            headers = {"allow": ", ".join(filter(None, allowed))}
            raise errors.ApiError(405, message, code="method_not_allowed", headers=headers)


def refusal(error: errors.ApiError) -> Response:
    return JSONResponse(error.body, error.status, error.headers)


async def unknown(request: Request) -> Response:
    """The handler of what doesn't exist."""
    message = f"Unknown request URL: {request.method} {request.scope['path']}. The API is under /v1."
    raise errors.ApiError(404, message, code="unknown_url")


async def body(request: Request, *, at_most: int) -> Any:
    """The request's JSON, of `at_most` bytes. Raises ApiError 400, 413, 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise errors.ApiError(415, f"the body must come as application/json, not {kind or 'undeclared'}")
    too_large = errors.ApiError(413, f"the body is larger than {at_most} bytes", code="request_too_large")
    # A length that isn't a number never gets here: the server refuses it.
    if int(request.headers.get("content-length", "0")) > at_most:
        raise too_large
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > at_most:
            raise too_large
    return decoded(content)


def decoded(content: bytes | bytearray) -> Any:
    """`content` as JSON in the narrow sense: UTF-8 of whole characters, no key twice, no NaN. Raises ApiError 400."""
    try:
        value = json.loads(content.decode(), object_pairs_hook=_object, parse_constant=_no_number)
        # Half of a surrogate pair can be written in JSON, and breaks whoever encodes it later.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise errors.ApiError(400, "the body is not valid JSON: half of a surrogate pair") from None
    except RecursionError:
        raise errors.ApiError(400, "the body is not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise errors.ApiError(400, f"the body is not valid JSON: {error}") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # Whoever checked the request on the way here may have read the other one.
        raise ValueError("an object has the same key twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _request_id(request: Request) -> str:
    """The caller's x-request-id where it is harmless to log and echo, else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if re.fullmatch(r"[\w.:/+=-]{1,128}", given, re.ASCII) else uuid.uuid4().hex


async def while_connected(request: Request, work: asyncio.Task[T], *, seconds: float | None = None) -> None:
    """Returns when `work` is done, or after `seconds`. Raises ClientDisconnect when the client leaves before.

    The body must have been read. `work` goes on in any case.
    """
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if gone.done() and not work.done():
            raise ClientDisconnect
    finally:
        await end(gone)


async def end(work: asyncio.Task[Any]) -> None:
    """Returns when `work` has ended, if need be by being cancelled. What it raises is nobody's any more."""
    work.cancel()
    await asyncio.wait({work})
    if not work.cancelled():
        work.exception()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
