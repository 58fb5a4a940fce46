"""The outermost ASGI app: answers probes and metrics from the first moment on, and all else until there is an app.

Standard library only. It logs what went wrong, by path and status, and never a body.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from inference import logs, status

Scope = MutableMapping[str, Any]
_LOG = logging.getLogger("inference.http")
_AGAIN = 2
"""Seconds after which a client or a browser may ask again."""
_API = ("/v1", "/admin")
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{again}">
<title>{title}</title><style>body{{font-family:system-ui,sans-serif;margin:4em}}</style></head>
<body><h1>{title}</h1><p>{text}</p><p>{hint}</p></body></html>"""


class Shell:
    """`app` is None until loading is done."""

    def __init__(self, state: status.Status, metrics_text: Callable[[], bytes]) -> None:
        self._state = state
        self._metrics_text = metrics_text
        self.app: Any = None
        self._open: set[asyncio.Task[Any]] = set()
        self._ending = False

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        probes = {"/livez": self._state.live, "/readyz": self._state.readiness, "/healthz": self._state.health}
        path = scope.get("path", "")
        if scope["type"] == "http" and path in probes:
            answer = probes[path]()
            await _respond(send, answer.code, _json(answer.body))
        elif scope["type"] == "http" and path == "/metrics":
            await _respond(send, 200, self._metrics_text(), kind="text/plain; version=0.0.4; charset=utf-8")
        elif self.app is not None:
            await self._pass_on(scope, receive, _Answer(scope, send))
        elif scope["type"] == "http":
            await self._not_yet(path, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})

    async def end(self, *, within: float) -> None:
        """Wait for open answers, `within` seconds at most, and end those left: a page keeps a stream open for ever."""
        if self._open:
            await asyncio.wait(self._open, timeout=within)
        self._ending = True
        for task in self._open:
            task.cancel()

    async def _pass_on(self, scope: Scope, receive: Any, answer: _Answer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self.app(scope, receive, answer)
        except asyncio.CancelledError:
            if not self._ending:
                raise
            await answer.cut()
        finally:
            self._open.discard(task)

    async def _not_yet(self, path: str, send: Any) -> None:
        state = self._state
        text = state.reason or f"{state.stage}, {state.elapsed:g} s so far"
        if path.startswith(_API):
            code = "load_failed" if state.reason else "not_ready"
            error = {"message": f"not ready: {text}", "type": "server_error", "param": None, "code": code}
            await _respond(send, 503, _json({"error": error}), again=_AGAIN)
            return
        await _respond(send, 503, self._page(text), kind="text/html; charset=utf-8", again=_AGAIN)

    def _page(self, text: str) -> bytes:
        title = "This app could not start" if self._state.reason else "The model is loading"
        hint = "It is started anew in a moment." if self._state.reason else "This page looks again by itself."
        release = f" Release {html.escape(self._state.release)}." if self._state.release else ""
        return _PAGE.format(title=title, text=html.escape(text), hint=hint + release, again=_AGAIN).encode()


class _Answer:
    """ASGI's `send`, with a log line for an answer that tells of an error; one that went well has its own line."""

    def __init__(self, scope: Scope, send: Any) -> None:
        self._scope = scope
        self._send = send
        self._began = time.monotonic()
        self._started = self._complete = False

    async def __call__(self, message: dict[str, Any]) -> None:
        self._complete = message["type"] == "http.response.body" and not message.get("more_body")
        if message["type"] == "http.response.start":
            self._started = True
            if message["status"] >= 400:
                self._tell(message["status"], dict(message.get("headers", ())))
        await self._send(message)

    def _tell(self, code: int, headers: dict[bytes, bytes]) -> None:
        logs.event(
            _LOG,
            "error_response",
            level=logging.WARNING if code >= 500 else logging.INFO,
            status=code,
            method=self._scope["method"],
            path=self._scope["path"][:200],
            request_id=headers.get(b"x-request-id", b"").decode("latin-1"),
            seconds=round(time.monotonic() - self._began, 4),
        )

    async def cut(self) -> None:
        """End it properly, unless it is an answer of the API that would then look complete: that one breaks off."""
        if not self._started:
            error = {"message": "this replica is shutting down", "type": "server_error", "param": None}
            await _respond(self, 503, _json({"error": {**error, "code": "shutting_down"}}), again=_AGAIN)
        elif not self._complete and not self._scope["path"].startswith(_API):
            await self._send({"type": "http.response.body", "body": b""})


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


async def _respond(send: Any, code: int, body: bytes, *, kind: str = "application/json", again: int = 0) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    headers.append((b"cache-control", b"no-store"))
    if again:
        headers.append((b"retry-after", str(again).encode()))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
