"""`POST /hook/git`: a git service tells of a push. It checks who says so and whether it concerns us, and passes it on.

It must not know what a fetch is: an accepted push is one call. Nothing it is sent is ever applied, only looked at, so
the worst that a stolen secret buys is fetches, at the pace of `PUSHES`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import structlog
from aiohttp import hdrs, web
from pydantic import SecretStr

from controller.telemetry import pushes

log = structlog.get_logger()

PATH = "/hook/git"
MOST_BYTES = 1024 * 1024
MOST_READING = 64
"""Bodies read at a time, so that senders who prove nothing can't fill the memory."""

BODY_SECONDS = 10.0
REMEMBERED = 4096
"""Marks of deliveries by which a repeated one is known. A restart forgets them; what a repetition causes is a fetch."""

PUSHES = (30, 0.5)
"""Authentic deliveries: how many at once, and how many more a second."""

FORGERIES = (20, 0.2)
"""The same for requests that prove nothing. They have their own, so that they can't keep real ones out."""

SILENCE = 60.0
"""Seconds between two log lines that anybody on the network can cause."""

Result = Literal["accepted", "ignored", "ping", "forged", "replayed", "limited", "too-large", "slow", "bad", "broken"]


class Hook:
    """The route, and what it remembers. `read` gives the secret at each request and may block; what it raises is
    logged, so its message must not hold the secret. `pushed` is called once per accepted push, in the event loop;
    `count` with each request's provider, "unknown" where it shows no proof, and result; `clock` gives seconds."""

    def __init__(
        self,
        read: Callable[[], SecretStr],
        *,
        ref: str,
        pushed: Callable[[], None],
        count: Callable[[str, Result], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._ref = ref
        self._pushed = pushed
        self._count = count
        self._seen = _Seen()
        self._reading = 0
        self._pushes = _Bucket(*PUSHES, clock=clock)
        self._forgeries = _Bucket(*FORGERIES, clock=clock)
        self._forgery_lines = _Bucket(1, 1 / SILENCE, clock=clock)
        self._broken_lines = _Bucket(1, 1 / SILENCE, clock=clock)

    def route(self) -> web.RouteDef:
        return web.post(PATH, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        proof = pushes.Proof.of(request.headers)
        try:
            answer = await self._answer(request, proof)
        except _RefusedError as refused:
            answer = refused.answer
        self._count(proof.provider if proof else "unknown", answer.result)
        return answer.response()

    async def _answer(self, request: web.Request, proof: pushes.Proof | None) -> _Answer:
        if proof is None:
            raise self._forged()
        secret = await self._secret()
        # A proof that needs no body is judged before one is read.
        if not proof.needs_body and not proof.holds(secret, b""):
            raise self._forged()
        body = await self._body(request)
        if not proof.holds(secret, body):
            raise self._forged()
        self._admit(pushes.marks(request.headers, body))
        try:
            event = pushes.event(proof.provider, request.headers, content_type=request.content_type, body=body)
        except pushes.UnreadableError as error:
            raise _RefusedError("bad", 400, str(error)) from None
        return self._judged(event)

    async def _secret(self) -> bytes:
        try:
            secret = (await asyncio.to_thread(self._read)).get_secret_value().encode()
            if not secret:
                raise ValueError("it is empty")
        # Whatever keeps a secret from being read, the answer is the same.
        except Exception as error:
            if not self._broken_lines.take():
                log.error("no push can be proven: the hook's secret can't be read", problem=str(error))
            raise _RefusedError("broken", 503, "not able to check deliveries now") from None
        return secret

    async def _body(self, request: web.Request) -> bytes:
        """At most MOST_BYTES, within BODY_SECONDS; of a longer one not more than that is read."""
        if (request.content_length or 0) > MOST_BYTES:
            raise _too_large()
        if self._reading >= MOST_READING:
            raise _RefusedError("limited", 429, "too many deliveries at once", after=1.0)
        self._reading += 1
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await _read(request)
        except TimeoutError:
            raise _RefusedError("slow", 408, "the body took too long") from None
        except (web.RequestPayloadError, OSError):
            raise _RefusedError("bad", 400, "the body broke off") from None
        finally:
            self._reading -= 1

    def _admit(self, marks: tuple[bytes, ...]) -> None:
        """A delivery that was put off isn't remembered: it may come again."""
        if self._seen.any(marks):
            raise _RefusedError("replayed", 409, "this delivery was taken before")
        if wait := self._pushes.take():
            raise _RefusedError("limited", 429, "too many deliveries", after=wait)
        self._seen.add(marks)

    def _forged(self) -> _RefusedError:
        """The refusal tells nothing of what was wrong."""
        if not self._forgery_lines.take():
            log.warning("a delivery to the hook proved nothing; others within a minute are only counted")
        if wait := self._forgeries.take():
            return _RefusedError("forged", 429, "too many deliveries", after=wait)
        return _RefusedError("forged", 401, "not authentic")

    def _judged(self, event: pushes.Event) -> _Answer:
        if event.kind == "ping":
            return _Answer("ping", 200, {"status": "pong"})
        if event.kind == "other":
            return _ignored(f"{event.name[:40]!r} is no push")
        if event.refs and not any(pushes.concerns(self._ref, ref) for ref in event.refs):
            return _ignored(f"the push is to {', '.join(event.refs)[:200]}, not {self._ref}")
        self._pushed()
        return _Answer("accepted", 202, {"status": "fetching"})


@dataclass(frozen=True)
class _Answer:
    """What is answered: `body` as JSON, and, unless 0, after how many seconds to come back."""

    result: Result
    status: int
    body: Mapping[str, str]
    after: float = 0.0

    def response(self) -> web.Response:
        headers = {hdrs.CACHE_CONTROL: "no-store"}
        if self.after:
            headers[hdrs.RETRY_AFTER] = str(int(self.after) + 1)
        text = json.dumps(self.body, separators=(",", ":"))
        response = web.json_response(text=text, status=self.status, headers=headers)
        if self.result in ("too-large", "slow"):
            response.force_close()
        return response


class _RefusedError(Exception):
    """Ends a request with an error."""

    def __init__(self, result: Result, status: int, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.answer = _Answer(result, status, {"error": message}, after)


class _Bucket:
    """A token bucket: full with `most` tokens at first, and `per_second` come back."""

    def __init__(self, most: int, per_second: float, *, clock: Callable[[], float]) -> None:
        self._most = float(most)
        self._per_second = per_second
        self._clock = clock
        self._tokens = self._most
        self._at = clock()

    def take(self) -> float:
        """Take a token: 0.0 where there was one, else the seconds until there is."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._per_second


class _Seen:
    """The latest marks of deliveries."""

    def __init__(self) -> None:
        self._marks: OrderedDict[bytes, None] = OrderedDict()

    def any(self, marks: tuple[bytes, ...]) -> bool:
        return any(mark in self._marks for mark in marks)

    def add(self, marks: tuple[bytes, ...]) -> None:
        self._marks.update(dict.fromkeys(marks))
        while len(self._marks) > REMEMBERED:
            self._marks.popitem(last=False)


async def _read(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> _RefusedError:
    return _RefusedError("too-large", 413, f"more than {MOST_BYTES} bytes")


def _ignored(reason: str) -> _Answer:
    return _Answer("ignored", 200, {"status": "ignored", "reason": reason})
