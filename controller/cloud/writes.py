"""Counts what goes over the wire and changes something: the proof that a second pass writes nothing."""

from __future__ import annotations

import types
from dataclasses import dataclass

import aiohttp
from yarl import URL

VERBS = ("PUT", "PATCH", "DELETE")
ACTIONS = ("start", "stop", "restart", "activate", "deactivate", "regeneratekey", "register")
"""POSTs that change something; every other POST (listKeys, getAuthToken, checkNameAvailability, tokens) reads."""

ON_A_LEASE = ("lease", "metadata")
"""Operations on a whole share that take, renew and sign a lease. They change nothing that anybody asked for."""


def changes(method: str, url: URL) -> bool:
    """Whether a request asks for a change of ARM's resources or of what lies on a share."""
    path = url.path.lower().rstrip("/")
    if method == "POST":
        return path.rpartition("/")[2] in ACTIONS
    if method not in VERBS:
        return False
    return not (url.query.get("restype") == "share" and url.query.get("comp") in ON_A_LEASE)


@dataclass
class Writes:
    """Requests that ask for a change, by where they went: repeated ones count each time."""

    arm: int = 0
    share: int = 0

    def count(self, method: str, url: URL) -> None:
        """One request. ARM's paths begin with /subscriptions/; a share is never called so."""
        if not changes(method, url):
            return
        if url.path.lower().startswith("/subscriptions/"):
            self.arm += 1
        else:
            self.share += 1

    def trace(self) -> aiohttp.TraceConfig:
        """Counts every request of the session it is given to."""
        config = aiohttp.TraceConfig()

        async def started(
            _session: aiohttp.ClientSession, _context: types.SimpleNamespace, params: aiohttp.TraceRequestStartParams
        ) -> None:
            self.count(params.method, params.url)

        config.on_request_start.append(started)
        return config
