"""The HTTP that the controller answers: health, status and metrics. Reads only.

It must not know what a status is: it gets plain callables, and gives what they return as JSON.
"""

from __future__ import annotations

import asyncio
import errno
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Json = Mapping[str, Any]

SHUTDOWN_SECONDS = 1.0


@dataclass(frozen=True)
class Answers:
    """Where the answers come from; each is called once per request, in the event loop, and must not block.

    alive     whether the loop turns
    unready   why the first full picture is missing; empty once it is there
    status    the source and all objects: {"source": …, "objects": […]}
    find      the status of one object by kind (in any case) and name, None where there is none
    metrics   Prometheus' text, and its content type
    """

    alive: Callable[[], bool]
    unready: Callable[[], Sequence[str]]
    status: Callable[[], Json]
    find: Callable[[str, str], Json | None]
    metrics: Callable[[], tuple[bytes, str]]


class ServeError(Exception):
    """The address can't be listened on; the message names it and says why."""


def application(answers: Answers, *, version: str, inventory: str) -> web.Application:
    """The routes. Uptime counts from here."""
    routes = _Routes(answers, {"version": version, "inventory": inventory}, time.monotonic())
    app = web.Application(middlewares=[_errors_as_json])
    app.add_routes(
        [
            web.get("/healthz", routes.healthz),
            web.get("/readyz", routes.readyz),
            web.get("/status", routes.status),
            web.get("/status/{kind}/{name}", routes.one),
            web.get("/metrics", routes.metrics),
        ]
    )
    return app


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve `app` while inside; gives the port, which the system picks for 0. Raises ServeError."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            _refuse(error, host, port)
        yield int(runner.addresses[0][1])
    finally:
        # Shielded: a second signal must not leave the port open.
        await asyncio.shield(runner.cleanup())


class _Routes:
    def __init__(self, answers: Answers, about: Json, started: float) -> None:
        self._answers = answers
        self._about = about
        self._started = started
        self._was_ready = False

    async def healthz(self, _request: web.Request) -> web.Response:
        if self._answers.alive():
            return as_json({"status": "ok"})
        return as_json({"status": "stuck", "reasons": ["the reconcile loop stopped turning"]}, status=503)

    async def readyz(self, _request: web.Request) -> web.Response:
        """Once ready, always ready: an object added later is no reason to take the controller out of service."""
        reasons = [] if self._was_ready else list(self._answers.unready())
        self._was_ready = not reasons
        return as_json({"status": "unready", "reasons": reasons}, status=503) if reasons else as_json({"status": "ok"})

    async def status(self, _request: web.Request) -> web.Response:
        uptime = round(time.monotonic() - self._started, 1)
        return as_json({"controller": {**self._about, "uptimeSeconds": uptime}, **self._answers.status()})

    async def one(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], request.match_info["name"]
        found = self._answers.find(kind, name)
        return _problem(404, f"no {kind} named {name}") if found is None else as_json(found)

    async def metrics(self, _request: web.Request) -> web.Response:
        body, content_type = self._answers.metrics()
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        answer = _problem(error.status, f"{request.method} is not allowed here")
        answer.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return answer
    except web.HTTPNotFound as error:
        return _problem(error.status, f"nothing at {request.path}")


def as_json(body: Json, *, status: int = 200, headers: Json | None = None) -> web.Response:
    """A whole answer. What it says is of this moment: no proxy or browser may keep it."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.json_response(text=text, status=status, headers={hdrs.CACHE_CONTROL: "no-store", **(headers or {})})


def _problem(status: int, message: str) -> web.Response:
    return as_json({"error": message}, status=status)


def _refuse(error: OSError, host: str, port: int) -> NoReturn:
    if error.errno == errno.EADDRINUSE:
        message = f"{host}:{port} is in use by another process; choose another port"
    else:
        message = f"cannot listen on {host}:{port}: {error.strerror or error}"
    raise ServeError(message) from error
