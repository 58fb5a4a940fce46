"""The ingress: which revision and replica a request goes to, and what is answered when there is none.

It owns the choice (host, weight, round robin, cookie), the wait for a revision at zero, and the retry; `proxy` moves
the bytes and `scaling` counts. Whether a revision should get traffic is the provider's business, whether a replica is
ready the runtime's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from typing import Protocol, runtime_checkable

from aiohttp import web

from infra.local_azure import replicas
from infra.local_azure.runtime import proxy, scaling

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
    seconds, as the app's own work takes real time. A request that finds its revision scaled to zero waits for the
    first replica as long as that.

    Assumed, and different from Azure: names under `.localhost` are served over plain HTTP without a redirect, so
    that a browser needn't trust the local certificate authority; and an app with internal ingress answers 404 to
    everybody, because a request from another container can't be told from one of a browser.

    The server in front must not decompress request bodies: `web.Server(handle, auto_decompress=False)`.
    """

    def __init__(self, sites: replicas.Sites, runtime: replicas.Runtime, counts: scaling.Scaling) -> None:
        self._sites = sites
        self._runtime = runtime
        self._scaling = counts
        self._speaks = isinstance(runtime, Answers)
        self._proxy: proxy.Proxy | None = None
        self._shares: dict[str, dict[str, float]] = {}
        self._turns: dict[str, int] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The app's answer, streamed; 301, 404, 503 or 504 where there is none."""
        host = (request.host.rpartition(":")[0] if ":" in request.host else request.host).lower()
        site = self._sites.site(host)
        if site is None or not site.external or not site.targets:
            return web.Response(status=404, text=NOT_FOUND, content_type="text/html")
        if not request.secure and not site.allow_insecure and not host.endswith(".localhost"):
            secure = f"https://{request.host}{request.raw_path}"
            return web.Response(status=301, headers={"Location": secure})
        return await self._connect().attended(request, self._serve(request, host))

    async def close(self) -> None:
        """Drop the connections to the apps."""
        if self._proxy is not None:
            await self._proxy.close()
            self._proxy = None

    async def _serve(self, request: web.BaseRequest, host: str) -> web.StreamResponse:
        """Try replicas until one takes the request. The site is asked anew each time, as traffic may have moved
        meanwhile; a revision that still gets traffic is kept, so that a retry shifts no weight."""
        body, tried = proxy.Body(request), set[str]()
        key: str | None = None
        for _ in range(ATTEMPTS):
            site = self._sites.site(host)
            key = self._revision(site, host, before=key) if site is not None else None
            if site is None or key is None:
                break
            with self._scaling.request(key):
                try:
                    if await self._scaling.awake(key, limit_s=proxy.IDLE_S):
                        continue
                    return await self._send(request, body, site, key, tried)
                except proxy.NotTaken:
                    continue
                except TimeoutError:
                    return web.Response(status=504, text=TIMED_OUT)
        return web.Response(status=503, text=NO_REPLICA)

    async def _send(
        self, request: web.BaseRequest, body: proxy.Body, site: replicas.Site, key: str, tried: set[str]
    ) -> web.StreamResponse:
        """To a ready replica of `key`. Raises what `proxy.Proxy.forward` raises."""
        wanted = request.cookies.get(COOKIE) if site.sticky else None
        replica = self._replica(key, wanted, tried)
        if replica is None:
            return web.Response(status=503, text=NO_REPLICA)
        if replica.address is None:
            return self._speak_for(key)
        tried.add(replica.name)
        cookie = _cookie(request, replica) if site.sticky else None
        return await self._connect().forward(request, body, replica.address, cookie=cookie)

    def _revision(self, site: replicas.Site, host: str, *, before: str | None) -> str | None:
        """Smooth weighted round robin: 80/20 comes out as 4 to 1 within any 5 requests."""
        weights = {target.key: target.weight for target in site.targets if target.weight > 0}
        if before in weights:
            return before
        if len(weights) < 2:
            return next(iter(weights), None)
        kept = self._shares.get(host, {})
        now = {key: kept.get(key, 0.0) + weight for key, weight in weights.items()}
        key = max(now, key=lambda each: now[each])
        now[key] -= sum(weights.values())
        self._shares[host] = now
        return key

    def _replica(self, key: str, wanted: str | None, tried: Set[str]) -> replicas.Replica | None:
        """A ready replica that wasn't tried: the one of the cookie, else in turn."""
        ready = [
            replica
            for replica in self._runtime.replicas(key)
            if replica.ready and replica.name not in tried and (self._speaks or replica.address is not None)
        ]
        if wanted is not None:
            ready = [replica for replica in ready if _token(replica.name) == wanted] or ready
        if not ready:
            return None
        turn = self._turns[key] = self._turns.get(key, -1) + 1
        return ready[turn % len(ready)]

    def _speak_for(self, key: str) -> web.StreamResponse:
        assert isinstance(self._runtime, Answers)  # only then is a replica without an address chosen
        return web.json_response(self._runtime.answer(key))

    def _connect(self) -> proxy.Proxy:
        if self._proxy is None:
            self._proxy = proxy.Proxy()
        return self._proxy


def _cookie(request: web.BaseRequest, replica: replicas.Replica) -> str | None:
    token = _token(replica.name)
    if request.cookies.get(COOKIE) == token:
        return None
    return f"{COOKIE}={token}; Path=/; HttpOnly" + ("; SameSite=None; Secure" if request.secure else "")


def _token(replica: str) -> str:
    return hashlib.sha256(replica.encode()).hexdigest()[:16]
