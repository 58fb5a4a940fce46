"""Connections: one TLS context, always verifying, and the names that never leave this machine.

`SSL_CERT_FILE` is honoured, as the standard library does. Knows HTTP sessions, not what is said over them.
"""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Sequence

import aiohttp
from aiohttp import abc, resolver


class Resolver(resolver.ThreadedResolver):
    """The system's resolver, but for `localhost` and what lies under it: those are the loopback address.

    documented: RFC 6761, section 6.3; not every C library does it.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[abc.ResolveResult]:
        name = host.lower().rstrip(".")
        if name != "localhost" and not name.endswith(".localhost"):
            return await super().resolve(host, port, family)
        return [
            abc.ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        ]


def trust() -> ssl.SSLContext:
    """What certificates are verified against: SSL_CERT_FILE where it is set, else the system's roots."""
    return ssl.create_default_context()


def session(
    context: ssl.SSLContext, *, for_sdk: bool, traces: Sequence[aiohttp.TraceConfig] = ()
) -> aiohttp.ClientSession:
    """A session over connections of `context`; `traces` see its requests.

    The SDK's keeps connections and leaves decompression to it. The other opens a new connection each time, because
    a kept one may lead to the revision that served before.
    """
    connector = aiohttp.TCPConnector(ssl=context, resolver=Resolver(), force_close=not for_sdk)
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=not for_sdk,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=_proxied(),
        trace_configs=list(traces),
    )


def _proxied() -> bool:
    """Whether the environment names a proxy; asking it anew for each request would cost a thread's turn."""
    return any(name != "no" for name in urllib.request.getproxies())
