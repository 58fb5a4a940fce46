"""The ingress: which revision and replica a request goes to, and what is answered when there is none.

It owns the choice (host, weight, round robin, cookie) and the retry; `proxy` moves the bytes. Whether a
revision should get traffic is the provider's business, whether a replica is ready the runtime's.
"""

from __future__ import annotations

import hashlib
from typing import Protocol, runtime_checkable

import aiohttp
from aiohttp import web

from infra.local_azure import replicas
from infra.local_azure.runtime import proxy

# Assumed: the cookie's name, its value here being a digest of the replica's name.
COOKIE = "acaAffinity"
ATTEMPTS = 4

NOT_FOUND = """<!DOCTYPE html>
<html><head><title>404 Container App Unavailable</title></head>
<body><h1>Error 404 - This Container App is stopped or does not exist.</h1></body></html>
"""
NO_REPLICA = (
    "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: "
    "remote connection failure, transport failure reason: delayed connect error: 111"
)
TIMED_OUT = "stream timeout"


@runtime_checkable
class Answers(Protocol):
    """A runtime whose replicas have no address and which speaks for them."""

    def answer(self, key: str) -> dict[str, str | None]:
        """The JSON that a replica of revision `key` answers to any request."""


class Ingress:
    """Answers every request for an app's address.

    Documented (learn.microsoft.com/azure/container-apps/ingress-overview): plain HTTP is redirected to HTTPS
    unless insecure connections are allowed, TLS ends here, requests end after 240 s. Assumed of the latter: 240 s
    without a byte from the app, so that a stream may live longer (the service calls it requestIdleTimeout). Real
    seconds, as the app's own work takes real time.

    Assumed, and different from Azure: names under `.localhost` are served over plain HTTP without a redirect, so
    that a browser needn't trust the local certificate authority; and an app with internal ingress answers 404 to
    everybody, because a request from another container can't be told from one of a browser.

    The server in front must not decompress request bodies: `web.Server(handle, auto_decompress=False)`.
    """

    def __init__(self, sites: replicas.Sites, runtime: replicas.Runtime) -> None:
        self._sites = sites
        self._runtime = runtime
        self._session: aiohttp.ClientSession | None = None
        self._shares: dict[str, dict[str, float]] = {}
        self._turns: dict[str, int] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The app's answer, streamed; 301, 404, 503 or 504 where there is none."""
        host = request.host.rpartition(":")[0] if ":" in request.host else request.host
        site = self._sites.site(host.lower())
        if site is None or not site.external or not site.targets:
            return web.Response(status=404, text=NOT_FOUND, content_type="text/html")
        if not request.secure and not site.allow_insecure and not host.lower().endswith(".localhost"):
            secure = f"https://{request.host}{request.raw_path}"
            return web.Response(status=301, headers={"Location": secure})
        return await self._serve(request, host.lower())

    async def close(self) -> None:
        """Drop the connections to the apps."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _serve(self, request: web.BaseRequest, host: str) -> web.StreamResponse:
        """Try replicas until one takes the request; the site is asked anew, as traffic may have moved meanwhile."""
        tried: set[str] = set()
        for _ in range(ATTEMPTS):
            site = self._sites.site(host)
            chosen = self._choose(site, request, tried) if site is not None else None
            if site is None or chosen is None:
                break
            key, replica = chosen
            if replica.address is None:
                return self._speak_for(key)
            tried.add(replica.name)
            try:
                cookie = self._cookie(site, request, replica)
                return await proxy.forward(request, replica.address, session=self._connect(), cookie=cookie)
            except proxy.NotTaken:
                continue
            except proxy.TimedOut:
                return web.Response(status=504, text=TIMED_OUT)
        return web.Response(status=503, text=NO_REPLICA)

    def _choose(
        self, site: replicas.Site, request: web.BaseRequest, tried: set[str]
    ) -> tuple[str, replicas.Replica] | None:
        """A ready replica: by cookie, else by the revisions' weights and in turn."""
        ready = {target.key: self._ready(target.key, tried) for target in site.targets}
        if site.sticky and (wanted := request.cookies.get(COOKIE)):
            known = ((target, replica) for target, several in ready.items() for replica in several)
            for target, replica in known:
                if _token(replica.name) == wanted:
                    return target, replica
        key = self._by_weight(site)
        if key is None or not ready[key]:
            return None
        turn = self._turns[key] = self._turns.get(key, -1) + 1
        return key, ready[key][turn % len(ready[key])]

    def _ready(self, key: str, tried: set[str]) -> list[replicas.Replica]:
        speaks = isinstance(self._runtime, Answers)
        return [
            replica
            for replica in self._runtime.replicas(key)
            if replica.ready and replica.name not in tried and (speaks or replica.address is not None)
        ]

    def _by_weight(self, site: replicas.Site) -> str | None:
        """Smooth weighted round robin: 80/20 comes out as 4 to 1 within any 5 requests."""
        targets = [target for target in site.targets if target.weight > 0]
        if not targets:
            return None
        kept = self._shares.get(site.app, {})
        now = {target.key: kept.get(target.key, 0.0) + target.weight for target in targets}
        key = max(now, key=lambda each: now[each])
        now[key] -= sum(target.weight for target in targets)
        self._shares[site.app] = now
        return key

    def _cookie(self, site: replicas.Site, request: web.BaseRequest, replica: replicas.Replica) -> str | None:
        token = _token(replica.name)
        if not site.sticky or request.cookies.get(COOKIE) == token:
            return None
        return f"{COOKIE}={token}; Path=/; HttpOnly" + ("; SameSite=None; Secure" if request.secure else "")

    def _speak_for(self, key: str) -> web.StreamResponse:
        assert isinstance(self._runtime, Answers)  # only then is a replica without an address chosen
        return web.json_response(self._runtime.answer(key))

    def _connect(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = proxy.session()
        return self._session


def _token(replica: str) -> str:
    return hashlib.sha256(replica.encode()).hexdigest()[:16]
