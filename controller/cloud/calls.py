"""Tells of every request that goes over the wire what it was about and how it was answered.

Counted where the wire is, not where a call is made: a repeated request is two, and nothing gets by. What it tells holds
no names, so that it can be counted by. It judges nothing.
"""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Callable, Mapping
from typing import Protocol

import aiohttp
from yarl import URL

FILES = "files"
TOKEN = "token"
OTHER = "other"

ERROR = "error"
"""In place of a status: no answer came."""

CANCELLED = "cancelled"
"""In place of a status: nobody waited for the answer any more."""

_WORDS = {
    word.lower(): word
    for word in (
        "resourceGroups",
        "storageAccounts",
        "fileServices",
        "shares",
        "workspaces",
        "managedEnvironments",
        "storages",
        "containerApps",
        "revisions",
        "replicas",
        "listKeys",
        "regenerateKey",
        "sharedKeys",
        "listSecrets",
        "getAuthToken",
        "start",
        "stop",
        "restart",
        "activate",
        "deactivate",
        "register",
        "checkNameAvailability",
        "usages",
        "availableManagedEnvironmentsWorkloadProfileTypes",
    )
}
"""Types and actions as ARM's paths have them, by lower case. What isn't here is `OTHER`: no name gets through."""

_SIGNING_IN = ("/oauth2/", "/msi/token", "/metadata/identity/", "/.well-known/", "/discovery/instance")


class Heard(Protocol):
    """Takes one request: `kind` of thing it was about, its HTTP `method`, the `code` of the answer (a status, `ERROR`
    or `CANCELLED`), the `seconds` until the answer's head was there, and whether Azure put it off."""

    def __call__(self, kind: str, method: str, code: str, *, seconds: float, throttled: bool) -> None: ...


class Calls:
    """The requests of the sessions that it traces, told to whoever listens."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._listeners: list[Heard] = []

    def listen(self, heard: Heard) -> None:
        """Call `heard` after each request, in the event loop."""
        self._listeners.append(heard)

    def trace(self) -> aiohttp.TraceConfig:
        """For sessions whose requests follow no redirects, as the SDK's don't."""
        config = aiohttp.TraceConfig()

        async def started(
            _session: aiohttp.ClientSession, context: types.SimpleNamespace, _params: aiohttp.TraceRequestStartParams
        ) -> None:
            context.started = self._clock()

        async def ended(
            _session: aiohttp.ClientSession, context: types.SimpleNamespace, params: aiohttp.TraceRequestEndParams
        ) -> None:
            status, headers = params.response.status, params.response.headers
            self._tell(context, params, code=str(status), throttled=_throttled(status, headers))

        async def failed(
            _session: aiohttp.ClientSession, context: types.SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
        ) -> None:
            gave_up = isinstance(params.exception, asyncio.CancelledError)
            self._tell(context, params, code=CANCELLED if gave_up else ERROR, throttled=False)

        config.on_request_start.append(started)
        config.on_request_end.append(ended)
        config.on_request_exception.append(failed)
        return config

    def _tell(
        self,
        context: types.SimpleNamespace,
        params: aiohttp.TraceRequestEndParams | aiohttp.TraceRequestExceptionParams,
        *,
        code: str,
        throttled: bool,
    ) -> None:
        kind, seconds = kind_of(params.url, params.headers), self._clock() - context.started
        for heard in self._listeners:
            heard(kind, params.method, code, seconds=seconds, throttled=throttled)


def kind_of(url: URL, headers: Mapping[str, str]) -> str:
    """What a request is about: the action or the innermost type that ARM's path names, `FILES` for the share's own
    address, `TOKEN` for what signing in takes; `OTHER` for the rest, e.g. asking a cloud for its endpoints."""
    if "x-ms-version" in headers:
        return FILES
    path = url.path.lower().rstrip("/")
    if path.startswith("/subscriptions/"):
        return _arm(path.strip("/").split("/"))
    return TOKEN if any(part in f"{path}/" for part in _SIGNING_IN) else OTHER


def _arm(segments: list[str]) -> str:
    """Types stand before the names, each in its turn; an action, or a type whose list is asked for, stands last. The
    provider's own name takes a turn, so that what follows is in step again."""
    types_and_actions = segments[0::2]
    return _WORDS.get(types_and_actions[-1], OTHER)


def _throttled(status: int, headers: Mapping[str, str]) -> bool:
    """429 from ARM and sign-in; Azure Files says 503 with a code (documented: common REST API error codes)."""
    return status == 429 or (status == 503 and headers.get("x-ms-error-code") == "ServerBusy")
