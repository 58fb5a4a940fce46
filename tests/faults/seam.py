"""The seam between the SDK and the wire: every request to ARM and Azure Files passes here, whole, and the n-th one that
matches (method, path) can be made to fail.

It knows requests and answers. What may fail how is in `kinds`; what must hold meanwhile is judged elsewhere.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from azure.core.pipeline.transport import AioHttpTransportResponse, AsyncHttpTransport
from azure.core.rest._aiohttp import RestAioHttpTransportResponse
from multidict import CIMultiDict

BLOCK = 4096
BODILESS = ("HEAD", "DELETE")
SWITCHING = ("/activate", "/deactivate")
"""How the path of a POST ends that asks for more than an answer."""

_NAMES = (
    (re.compile(r"\.acaops-[0-9a-f]{8}$"), ".acaops-*"),
    (re.compile(r"[0-9a-f]{64}"), "<digest>"),
    (re.compile(r"-[0-9a-f]{8}(?=/|$)"), "-*"),
    (re.compile(r"--[a-z0-9]{7}(?=/|$)"), "--*"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "*"),
)
"""What is drawn by chance, or differs with what was drawn: a call is known by the rest of its path."""


class Crashed(BaseException):
    """The controller is dead: no handler of its own catches it, and nothing of it is sent any more."""


@dataclass(frozen=True, order=True)
class Call:
    """The `n`-th request of `method` to `path`, counted from 1; `path` without what is drawn by chance."""

    method: str
    path: str
    n: int

    def __str__(self) -> str:
        return f"{self.method} {self.path} #{self.n}"


@dataclass(frozen=True)
class Seen:
    """A call and what came of it. `begins`: its answer is that of an operation that goes on. `same`: the answer before
    to the same question, where there was one, was the same. `created`: the path was created shortly before."""

    call: Call
    status: int
    files: bool
    begins: bool
    body: bool
    before: bool
    same: bool
    created: bool

    @property
    def writes(self) -> bool:
        return self.call.method in ("PUT", "PATCH", "DELETE") or self.call.path.endswith(SWITCHING)


@dataclass(frozen=True)
class Answer:
    """An answer in place of the service's."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Moment:
    """A fault's view of its request. `send` carries it out; `last` is the answer before to the same question."""

    seam: Seam
    call: Call
    request: Any
    send: Callable[[], Awaitable[Any]]
    respond: Callable[[Answer], Awaitable[Any]]
    last: Answer | None
    files: bool
    streamed: bool

    @property
    def path(self) -> str:
        """The path as it is sent."""
        return urlsplit(self.request.url).path


Shot = Callable[[Moment], Awaitable[Any]]
"""Answers a request in place of the service, or raises."""


@dataclass
class Seam:
    """`shots` say which call is answered how; `fired` which of them were, in order. `edits` are made just before the
    call goes out. `looking` is what the pass under way is about, `looks` its number, `world` where it is, `now` tells
    the time. `broken`: calls that were made again sooner than Azure told."""

    shots: Mapping[Call, Shot] = field(default_factory=dict)
    edits: Mapping[Call, Callable[[Any], Awaitable[None]]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    fired: list[Call] = field(default_factory=list)
    armed: bool = False
    running: asyncio.Future[Any] | None = None
    looking: Any = None
    looks: int = 0
    world: Any = None
    now: Callable[[], datetime] | None = None
    broken: list[str] = field(default_factory=list)
    rules: list[Any] = field(default_factory=list)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _made: dict[str, int] = field(default_factory=dict)
    _put_off: dict[tuple[Any, str, str], tuple[int, datetime]] = field(default_factory=dict)
    _life: int = 0

    def wrap(self, inner: AsyncHttpTransport[Any, Any]) -> AsyncHttpTransport[Any, Any]:
        """For `azure.Azure(wrap=…)`."""
        return _Transport(self, inner, self._life)

    def die(self) -> Crashed:
        """From now on nothing that was wrapped before sends anything."""
        self._life += 1
        self._put_off.clear()
        return Crashed()

    @property
    def life(self) -> int:
        """Which controller it is, counted from 0."""
        return self._life

    def alive(self, life: int) -> bool:
        return life == self._life

    async def around(self, inner: AsyncHttpTransport[Any, Any], life: int, request: Any, given: Any) -> Any:
        """One request."""
        if not self.alive(life):
            raise Crashed
        call = self._call(request)
        files = any(name.lower() == "x-ms-version" for name in request.headers)

        async def send() -> Any:
            response = await inner.send(request, **given)
            if given.get("stream") and files:
                self._note(call, Answer(response.status_code, dict(response.headers), b""), request, files=True)
                return response
            # What begins an operation is streamed too, and read whole all the same: here first, then by the SDK.
            body = bytes(await response.read() if given.get("stream") else response.body() or b"")
            answer = Answer(response.status_code, dict(response.headers), body)
            self._note(call, answer, request, files=files)
            return await _respond(request, given, answer) if given.get("stream") else response

        self._on_time(call)
        if self.armed and call in self.edits:
            await self.edits[call](request)
        shot = self.shots.get(call) if self.armed else None
        if shot is None:
            response = await send()
        else:
            self.fired.append(call)
            last = self._answers.get((request.method, request.url))
            streamed = bool(given.get("stream"))
            respond = functools.partial(_respond, request, given)
            response = await shot(Moment(self, call, request, send, respond, last, files, streamed))
        if not self.alive(life):
            raise Crashed
        return response

    def put_off(self, call: Call, seconds: float) -> None:
        """Azure told to make this call again no sooner."""
        assert self.now is not None, "virtual time is set before a pass"
        self._put_off[self.looking, call.method, call.path] = self.looks, self.now() + timedelta(seconds=seconds)

    def _on_time(self, call: Call) -> None:
        """What one pass asks for several times at once is one question."""
        look, until = self._put_off.get((self.looking, call.method, call.path), (self.looks, None))
        if until is not None and look != self.looks and self.now is not None and self.now() < until:
            early = (until - self.now()).total_seconds()
            self.broken.append(f"{call.method} {call.path} was sent again {early:.1f} s sooner than Azure told")

    def _call(self, request: Any) -> Call:
        path = normalised(urlsplit(request.url), request.url)
        if self.armed:
            self._counts[request.method, path] += 1
        return Call(request.method, path, self._counts[request.method, path])

    def _note(self, call: Call, answer: Answer, request: Any, *, files: bool) -> None:
        key = (request.method, request.url)
        last = self._answers.get(key)
        self._answers[key] = answer
        if not self.armed:
            return
        made = self._made.get(call.path, 0)
        if call.method == "GET" and made:
            self._made[call.path] = made - 1
        self.seen.append(
            Seen(
                call,
                answer.status,
                files,
                begins=_begins(request.method, answer, files=files),
                body=bool(answer.body),
                before=last is not None,
                same=last is not None and (last.status, last.body) == (answer.status, answer.body),
                created=call.method == "GET" and made > 0 and answer.status == 200,
            )
        )
        if call.method == "PUT" and answer.status in (200, 201, 202) and not files:
            self._made[call.path] = 2


def normalised(parts: Any, url: str) -> str:
    """The path of a request without what differs from run to run; with the query's `comp`, which names an action."""
    path = parts.path
    for pattern, instead in _NAMES:
        path = pattern.sub(instead, path)
    action = re.search(r"[?&]comp=([a-z]+)", url)
    return f"{path}?{action[1]}" if action else path


def _begins(method: str, answer: Answer, *, files: bool) -> bool:
    if files or method not in ("PUT", "PATCH", "DELETE") or answer.status not in (200, 201, 202):
        return False
    headers = {name.lower() for name in answer.headers}
    return answer.status == 202 or "azure-asyncoperation" in headers or "location" in headers


async def _respond(request: Any, given: Mapping[str, Any], answer: Answer) -> Any:
    """A response as the SDK's own transport makes it, of an answer that never was on the wire."""
    inner = _Inner(answer)
    if hasattr(request, "content"):
        response: Any = RestAioHttpTransportResponse(
            request=request, internal_response=inner, block_size=BLOCK, decompress=False
        )
        if not given.get("stream"):
            await response.read()
        return response
    legacy = AioHttpTransportResponse(request, inner, BLOCK, decompress=False)  # type: ignore[arg-type]
    if not given.get("stream"):
        await legacy.load_body()
    return legacy


class _Inner:
    """What the SDK's transport reads of aiohttp's response."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.reason = ""
        self.headers = CIMultiDict({**answer.headers, "Content-Length": str(len(answer.body))})
        self._body = answer.body
        self.content = self

    async def read(self, most: int = -1) -> bytes:
        if most < 0:
            return self._body
        part, self._body = self._body[:most], self._body[most:]
        return part

    def close(self) -> None:
        pass

    release = close


class _Transport(AsyncHttpTransport[Any, Any]):
    """One pipeline's transport, as long as the controller lives that it was made for."""

    def __init__(self, seam: Seam, inner: AsyncHttpTransport[Any, Any], life: int) -> None:
        self._seam, self._inner, self._life = seam, inner, life

    async def send(self, request: Any, **given: Any) -> Any:
        return await self._seam.around(self._inner, self._life, request, given)

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def sleep(self, duration: float) -> None:
        raise AssertionError(f"the SDK wants to sleep {duration} s: its own retries are meant to be off")

    async def __aenter__(self) -> _Transport:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
