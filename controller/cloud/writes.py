"""Counts what goes over the wire and changes something: the proof that a second pass writes nothing."""

from __future__ import annotations

import types
from dataclasses import dataclass

import aiohttp

VERBS = ("PUT", "PATCH", "DELETE")
ACTIONS = ("start", "stop", "restart", "activate", "deactivate", "regeneratekey")
"""POSTs that change something; every other POST (listKeys, getAuthToken, tokens) reads."""


@dataclass
class Writes:
    """Requests that ask for a change, by where they went: repeated ones count each time."""

    arm: int = 0
    share: int = 0

    def count(self, method: str, path: str) -> None:
        """One request. ARM's paths begin with /subscriptions/; a share is never called so."""
        below = path.lower().rstrip("/")
        if method not in VERBS and not (method == "POST" and below.rsplit("/", 1)[-1] in ACTIONS):
            return
        if below.startswith("/subscriptions/"):
            self.arm += 1
        else:
            self.share += 1

    def trace(self) -> aiohttp.TraceConfig:
        """Counts every request of the session it is given to."""
        config = aiohttp.TraceConfig()

        async def started(
            _session: aiohttp.ClientSession, _context: types.SimpleNamespace, params: aiohttp.TraceRequestStartParams
        ) -> None:
            self.count(params.method, params.url.path)

        config.on_request_start.append(started)
        return config
