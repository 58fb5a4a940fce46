"""Trouble on purpose: rules by which a request or a long-running operation goes wrong.

It knows requests by method and path only. What a client makes of it is the client's business, and what an operation
that fails leaves behind is its provider's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

Handler = Callable[[], Awaitable[web.StreamResponse]]
OUTCOMES = ("failed", "canceled", "stuck")
# How often a held request looks whether its client is still there, in seconds.
LOOK_SECONDS = 0.02
# GET answers remembered for `stale`.
MOST_KEPT = 1000


@dataclass
class Rule:
    """Concerns requests of `method` ("" for any) whose path holds `path`, a regular expression without case.

    `times` is how many more requests it concerns, None for all. What it does to a request:

    answer        an ARM error of `status`, `code` and `headers`; the request itself isn't carried out
    answer-after  the same, but the request was carried out
    absent        ARM's 404 for a resource that isn't there; the request isn't carried out
    malformed     carried out; a 2xx whose body is cut off in the middle of its JSON
    stale         what a GET of the same URL was answered before, with 200; the true answer where there is none
    reset         a connection that breaks; the request isn't carried out
    lost          a connection that breaks after the request was carried out: the client can't know that it was
    hang          held until `Faults.release`, then carried out; never, if the client leaves before
    hang-after    carried out, and its answer held until `Faults.release`

    And to the long-running operation that a PUT, PATCH, DELETE or POST begins, which itself is answered as ever:

    failed        ends Failed
    canceled      ends Canceled
    stuck         stays InProgress until the announced timeout, then Failed; see `operations.Operations.expire`
    """

    path: str
    method: str = ""
    does: Literal[
        "answer",
        "answer-after",
        "absent",
        "malformed",
        "stale",
        "reset",
        "lost",
        "hang",
        "hang-after",
        "failed",
        "canceled",
        "stuck",
    ] = "answer"
    status: int = 500
    code: str = "InternalServerError"
    message: str = "Encountered internal server error."
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None

    def concerns(self, method: str, path: str) -> bool:
        right = self.method in ("", method) and self.times != 0
        return right and re.search(self.path, path, re.IGNORECASE) is not None


class Faults:
    """The rules in force; the first that concerns a request applies. `rules` may be changed at any time."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._held = 0
        self._released = asyncio.Event()
        self._closed = False
        self._answers: OrderedDict[str, web.Response] = OrderedDict()

    @property
    def held(self) -> int:
        """How many requests are held just now."""
        return self._held

    def release(self) -> None:
        """Let every held request go on."""
        self._released.set()
        self._released = asyncio.Event()

    def close(self) -> None:
        """Break the connections of what is held, now and later."""
        self._closed = True
        self.release()

    def outcome(self, method: str, path: str) -> str:
        """How the operation that this request begins is to end: one of OUTCOMES, "" for well."""
        rule = self._take(method, path, outcome=True)
        return rule.does if rule else ""

    async def around(self, request: web.BaseRequest, handle: Handler) -> web.StreamResponse:
        """What `handle` answers, but for the rules."""
        rule = self._take(request.method, request.path, outcome=False)
        if rule is None:
            return self._keep(request, await handle())
        if rule.does in ("answer", "absent", "reset"):
            await request.read()
        if rule.does == "hang":
            await self._hold(request)
        if rule.does == "stale" and (before := self._answers.get(request.path_qs)):
            return _copy(before)
        response = None if rule.does in ("answer", "absent", "reset") else await handle()
        if rule.does == "hang-after":
            await self._hold(request)
        if rule.does in ("answer", "answer-after"):
            return _answer(rule)
        if rule.does == "absent":
            return _absent(request.path)
        if response is None or rule.does == "lost":
            raise _broken(request, rule)
        return _malformed(response) if rule.does == "malformed" else self._keep(request, response)

    def _take(self, method: str, path: str, *, outcome: bool) -> Rule | None:
        for rule in self.rules:
            if (rule.does in OUTCOMES) is outcome and rule.concerns(method, path):
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None

    async def _hold(self, request: web.BaseRequest) -> None:
        """Raises ConnectionResetError once the client is gone, or the server closes."""
        released = self._released
        self._held += 1
        try:
            while not released.is_set():
                if request.transport is None or request.transport.is_closing():
                    raise ConnectionResetError("the client left")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(released.wait(), LOOK_SECONDS)
        finally:
            self._held -= 1
        if self._closed:
            raise ConnectionResetError("the server closes")

    def _keep(self, request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
        good = request.method == "GET" and response.status == 200 and response.content_type == "application/json"
        if good and isinstance(response, web.Response):
            self._answers[request.path_qs] = response
            if len(self._answers) > MOST_KEPT:
                self._answers.popitem(last=False)
        return response


def _broken(request: web.BaseRequest, rule: Rule) -> ConnectionResetError:
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError(f"by rule: {rule.path}")


def _answer(rule: Rule) -> web.Response:
    return _error(rule.status, rule.code, rule.message, rule.headers)


def _absent(path: str) -> web.Response:
    """In the words of the gateway (recorded: managedenv-get-notfound), for any kind of resource."""
    parts = [part for part in path.split("/") if part]
    lower = [part.lower() for part in parts]
    group = parts[lower.index("resourcegroups") + 1] if "resourcegroups" in lower else ""
    below = parts[lower.index("providers") + 1 :] if "providers" in lower else parts
    message = (
        f"The Resource '{'/'.join(below)}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return _error(404, "ResourceNotFound", message, {"x-ms-failure-cause": "gateway"})


def _error(status: int, code: str, message: str, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps({"error": {"code": code, "message": message}}),
        content_type="application/json",
        headers={**headers, "x-ms-error-code": code},
    )


def _malformed(response: web.StreamResponse) -> web.Response:
    """Half of the body; of an answer without one, the beginning of an object."""
    whole = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
    status = response.status if 200 <= response.status < 204 else 200
    return web.Response(
        status=status, body=whole[: len(whole) // 2] or b'{"id": ', headers=_headers(response), content_type=None
    )


def _copy(response: web.Response) -> web.Response:
    return web.Response(status=response.status, body=response.body, headers=_headers(response))


def _headers(response: web.StreamResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.lower() not in ("content-length", "date")}
