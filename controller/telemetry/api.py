"""Requests that make the controller do something: who may, and what they are answered.

Whoever shows the token may. It must not know what is done: it gets plain callables, and gives what they answer as JSON.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import hdrs, web
from pydantic import SecretStr

from controller.telemetry import http

log = structlog.get_logger()

REMEDY = "set ACAOPS_API_TOKEN, or --api-token-file, for the daemon and for whoever asks it"


@dataclass(frozen=True)
class Answer:
    """What came of it: an HTTP status, and JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Api:
    """`token` reads what must be shown, at each request; None: nobody may ask for anything. `reconcile` takes an
    object's kind, in any case, and name."""

    def __init__(self, token: Callable[[], SecretStr] | None, *, reconcile: Callable[[str, str], Answer]) -> None:
        self._token = token
        self._reconcile = reconcile

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/reconcile/{kind}/{name}", self.reconcile)]

    async def reconcile(self, request: web.Request) -> web.Response:
        refused = await self._refused(request)
        answer = refused or self._reconcile(request.match_info["kind"], request.match_info["name"])
        return http.as_json(answer.body, status=answer.status, headers=answer.headers)

    async def _refused(self, request: web.Request) -> Answer | None:
        if self._token is None:
            return Answer(403, {"error": f"this controller takes no requests: {REMEDY}"})
        try:
            token = (await asyncio.to_thread(self._token)).get_secret_value()
        # Whatever keeps a secret from being read, the answer is the same.
        except Exception as error:
            log.error("no request can be proven: the API's token can't be read", problem=str(error))
            return Answer(503, {"error": "not able to check requests now"})
        scheme, _, shown = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer" and _same(shown.strip(), token):
            return None
        return Answer(401, {"error": f"the token is missing or wrong: {REMEDY}"}, {hdrs.WWW_AUTHENTICATE: "Bearer"})


def _same(shown: str, token: str) -> bool:
    """In a time that tells nothing. Headers may hold what isn't UTF-8."""
    return hmac.compare_digest(shown.encode(errors="surrogateescape"), token.encode())
