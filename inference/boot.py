"""The process: binds the port at once, answers probes from then on, loads behind, hands over, drains, ends.

A failed load is answered for a while, with its reason, and then ends the process with status 1.

Imports uvicorn and the standard library only; what is heavy is imported by threads once the port answers.
In reading order: start, shell, load and hand over, shut down.
"""

from __future__ import annotations

import asyncio
import gc
import html
import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn

from inference import logs, settings, status

if TYPE_CHECKING:
    from inference import answers, engine, metrics

T = TypeVar("T")
Scope = dict[str, Any]
_LOG = logging.getLogger("inference.boot")
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",
}
_CANARY = "Hello"
LINGER = 15.0
"""Seconds a process that failed to load stays up with its reason, before it ends and the platform starts it anew."""
_PAGE = """<!doctype html><html><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>Starting</title><style>body{{font-family:system-ui,sans-serif;margin:4em}}</style></head>
<body><h1>{title}</h1><p>{text}</p></body></html>"""


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit status: 0 after a drain, 1 when loading failed, 2 without a usable port."""
    logs.configure(os.environ.get("LOG_LEVEL", "INFO") if os.environ.get("LOG_LEVEL") in _LEVELS else "INFO")
    os.environ.update(_QUIET)
    try:
        port = settings.port(os.environ)
    except settings.SettingsError as error:
        logs.event(_LOG, "load_failed", level=logging.ERROR, reason=f"SettingsInvalid: {error}")
        sys.exit(2)
    asyncio.run(_serve_then_exit(port))


async def _serve_then_exit(port: int) -> None:
    code = await serve(port)
    logging.shutdown()
    sys.stdout.flush()
    # A thread in the middle of an import or of a model step must not keep a drained process alive.
    os._exit(code)


_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


async def serve(port: int, *, linger: float = LINGER) -> int:
    """Serve on `port` until told to end, or for `linger` seconds after a failed load; the exit status."""
    process = Process(status.Status(release=os.environ.get("ACAOPS_RELEASE") or None))
    config = uvicorn.Config(
        process.shell,
        host="0.0.0.0",
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=2,
        forwarded_allow_ips="*",
    )
    server = Server(config, process)
    loading = asyncio.create_task(process.run())
    loading.add_done_callback(lambda _: server.end_after(linger) if process.state.stage == status.FAILED else None)
    try:
        await server.serve()
    finally:
        loading.cancel()
        await process.close()
    return 1 if process.state.stage == status.FAILED else 0


class Shell:
    """The outermost ASGI app: probes and metrics always, `app` once there is one, until then 503."""

    def __init__(self, state: status.Status, metrics_text: Callable[[], bytes]) -> None:
        self._state = state
        self._metrics_text = metrics_text
        self.app: Any = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        probes = {"/livez": self._state.live, "/readyz": self._state.readiness, "/healthz": self._state.health}
        path = scope.get("path", "")
        if scope["type"] == "http" and path in probes:
            answer = probes[path]()
            await _respond(send, answer.code, _json(answer.body))
        elif scope["type"] == "http" and path == "/metrics":
            await _respond(send, 200, self._metrics_text(), kind="text/plain; version=0.0.4; charset=utf-8")
        elif self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._not_yet(path, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})

    async def _not_yet(self, path: str, send: Any) -> None:
        state = self._state
        text = f"{state.reason}" if state.reason else f"{state.stage}, {state.elapsed:g} s so far"
        if path.startswith("/v1"):
            error = {"message": f"not ready: {text}", "type": "server_error", "param": None, "code": "not_ready"}
            await _respond(send, 503, _json({"error": error}), retry_after=2)
            return
        title = "This app could not start" if state.reason else "The model is loading"
        page = _PAGE.format(title=title, text=html.escape(text)).encode()
        await _respond(send, 503, page, kind="text/html; charset=utf-8", retry_after=2)


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


async def _respond(
    send: Any, code: int, body: bytes, *, kind: str = "application/json", retry_after: int | None = None
) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    headers.append((b"cache-control", b"no-store"))
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Process:
    """Everything between the port and the engine, in the order it comes to life and ends."""

    def __init__(self, state: status.Status) -> None:
        self.state = state
        self.shell = Shell(state, self._metrics_text)
        self._metrics: metrics.Metrics | None = None
        self._engine: engine.Engine | None = None
        self._answers: answers.Answers | None = None
        self._limits: settings.Settings | None = None
        self._stack = AsyncExitStack()

    async def run(self) -> None:
        """Load and hand over; a failure becomes the status, with its reason as the last log line."""
        # Imports and weights are a flood of objects that stay: collecting among them costs a quarter of the time.
        gc.disable()
        try:
            self._limits = limits = settings.read(os.environ)
            await self._load(limits)
        except settings.SettingsError as error:
            self.state.fail(f"SettingsInvalid: {error}")
        except Exception as error:
            from inference import loader

            if not isinstance(error, loader.EXPECTED):
                logs.event(_LOG, "load_error", level=logging.ERROR, trace=True)
            self.state.fail(loader.reason_of(error))
        finally:
            gc.freeze()
            gc.enable()

    async def _load(self, limits: settings.Settings) -> None:
        from inference import loader

        adapter = await in_thread(lambda: loader.check_files(limits))
        measure = self._measure()
        page = asyncio.ensure_future(in_thread(lambda: _import_web(limits)))
        loading = in_thread(lambda: loader.load(limits, adapter=adapter, state=self.state, measure=measure))
        serving, web = await asyncio.gather(loading, page)
        self.state.enter(status.WARMING)
        self._engine = serving
        self.state.engine_problem = serving.problem
        serving.start()
        await _canary(serving)
        await self._hand_over(serving, web, limits=limits, measure=measure)

    async def _hand_over(
        self, serving: engine.Engine, web: Any, *, limits: settings.Settings, measure: metrics.Metrics
    ) -> None:
        from inference import admission, answers

        gate = admission.Admission(
            places=limits.max_inflight,
            queue=limits.max_queue,
            timeout=limits.queue_timeout,
            capacity=serving.capacity,
            page=serving.page,
            measure=measure,
        )
        self._answers = answers.Answers(serving, gate=gate, measure=measure, limits=limits)
        app = web.application(self._answers, state=self.state, limits=limits)
        await self._stack.enter_async_context(web.lifespan(app))
        self.shell.app = app
        self.state.ready(serving.served)

    async def drain(self) -> None:
        """Not ready at once; new work is taken for the drain delay (the ingress learns of it late), then none."""
        self.state.draining = True
        logs.event(_LOG, "draining", in_flight=self._answers.in_flight if self._answers else 0)
        if self._answers is None or self._limits is None:
            return
        await asyncio.sleep(self._limits.drain_delay)
        self._answers.close()
        try:
            async with asyncio.timeout(max(0.0, self._limits.grace - 3)):
                await self._answers.idle()
        except TimeoutError:
            self._answers.interrupted = True
            async with asyncio.timeout(2):
                await self._answers.idle()

    async def close(self) -> None:
        """Stop the engine and the app's own lifespan; after a failed load its reason is the last line again."""
        if self._engine is not None:
            serving = self._engine
            await in_thread(lambda: serving.stop(timeout=5))
        await self._stack.aclose()
        if self.state.stage == status.FAILED:
            logs.event(_LOG, "load_failed", level=logging.ERROR, reason=self.state.reason)
        else:
            logs.event(_LOG, "stopped")

    def _measure(self) -> metrics.Metrics:
        if self._metrics is None:
            from inference import metrics

            self._metrics = metrics.Metrics()
        return self._metrics

    def _metrics_text(self) -> bytes:
        ready = self.state.readiness().code == 200
        return self._measure().text(ready=ready, stage_seconds=self.state.stage_seconds)


class Server(uvicorn.Server):
    """uvicorn, but the first signal drains before the socket closes, and a drained process ends with status 0."""

    def __init__(self, config: uvicorn.Config, process: Process) -> None:
        super().__init__(config)
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None

    def end_after(self, seconds: float) -> None:
        """End by itself: what is missing may come later, and only a new start looks for it."""
        self._loop.call_later(seconds, lambda: setattr(self, "should_exit", True))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: end now."""
        self._loop.call_soon_threadsafe(self._signal, signal.Signals(sig).name)

    def _signal(self, name: str) -> None:
        logs.event(_LOG, "signal", name=name)
        if self._draining is None:
            self._draining = asyncio.create_task(self._process.drain())
            self._draining.add_done_callback(self._drained)
        else:
            self.force_exit = self.should_exit = True

    def _drained(self, task: asyncio.Task[None]) -> None:
        self.should_exit = True
        if not task.cancelled() and task.exception() is not None:
            logs.event(_LOG, "drain_incomplete", level=logging.WARNING, error=repr(task.exception()))


async def _canary(serving: engine.Engine) -> None:
    """Two answers side by side, so that what would break the first user's request breaks the start instead."""
    from inference import engine

    async def one(temperature: float) -> None:
        ids = serving.encode([{"role": "user", "content": _CANARY}])
        tokens = 0
        async for delta in serving.generate(ids, engine.Sampling(8, temperature, 1.0)):
            tokens += delta.tokens
        if not tokens:
            raise RuntimeError("the model generated nothing for the canary prompt")

    await asyncio.gather(one(0.0), one(0.8))


def _import_web(limits: settings.Settings) -> Any:
    web = importlib.import_module("inference.web")
    web.imports(with_page=limits.ui_enabled)
    return web


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run `work` in a daemon thread: unlike an executor's, it can't keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=body, daemon=True).start()
    return done
