"""Trouble on purpose: rules by which a request is answered with an error, or with nothing, instead of its answer.

It knows requests by method and path only. What a client makes of it is the client's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

Handler = Callable[[], Awaitable[web.StreamResponse]]


@dataclass
class Rule:
    """Concerns requests of `method` ("" for any) whose path holds `path`, a regular expression without case.

    `times` is how many more requests it concerns, None for all. It makes them end in

    answer  an ARM error of `status`, `code` and `headers`; the request itself isn't carried out
    reset   a connection that breaks; the request isn't carried out
    lost    a connection that breaks after the request was carried out: the client can't know that it was
    """

    path: str
    method: str = ""
    does: Literal["answer", "reset", "lost"] = "answer"
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

    async def around(self, request: web.BaseRequest, handle: Handler) -> web.StreamResponse:
        """What `handle` answers, but for the rules."""
        rule = next((rule for rule in self.rules if rule.concerns(request.method, request.path)), None)
        if rule is None:
            return await handle()
        if rule.times is not None:
            rule.times -= 1
        if rule.does == "answer":
            await request.read()
            return _answer(rule)
        if rule.does == "lost":
            await handle()
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError(f"by rule: {rule.path}")


def _answer(rule: Rule) -> web.Response:
    body = json.dumps({"error": {"code": rule.code, "message": rule.message}})
    return web.Response(
        status=rule.status,
        text=body,
        content_type="application/json",
        headers={**rule.headers, "x-ms-error-code": rule.code},
    )
