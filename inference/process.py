"""Everything between the port and the engine: loads, hands over, drains, closes, in this order.

Imports the standard library only; what is heavy is imported by threads once the port answers. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from inference import logs, settings, shell, status

if TYPE_CHECKING:
    from inference import answers, engine, loader, metrics

T = TypeVar("T")
_LOG = logging.getLogger("inference.boot")
_LAST = 4.5
"""Seconds before the end of the grace period at which open answers are told so; what is left goes to closing."""
_SAYING = 1.5
"""Seconds for them to pass it on: a stream that waits for a token looks up every second."""
_PASSING = 0.5
"""Seconds for what was answered last to reach its client."""
_STOPPING = 1.0
"""Seconds for the engine's thread to end, and for what the app closes after itself."""


class Process:
    """One per process. `shell` is what the server serves."""

    def __init__(self, state: status.Status) -> None:
        self.state = state
        self.shell = shell.Shell(state, self._metrics_text)
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
        loaded, web = await asyncio.gather(loading, page)
        self.state.enter(status.WARMING)
        self._engine = loaded.serving
        self.state.engine_problem = loaded.serving.problem
        loaded.serving.start()
        await _canary(loaded.serving, limits.canary_prompt)
        await self._hand_over(loaded, web, limits=limits, measure=measure)

    async def _hand_over(
        self, loaded: loader.Loaded, web: Any, *, limits: settings.Settings, measure: metrics.Metrics
    ) -> None:
        from inference import answers, reload

        serving = loaded.serving
        self._answers = opened = answers.over(serving, limits=limits, measure=measure)
        swap = reload.Reload(opened, serving, loaded.live, self.state, measure) if loaded.live else None
        app = web.application(opened, state=self.state, limits=limits, reload=swap)
        await self._stack.enter_async_context(web.lifespan(app))
        self.shell.app = app
        self.state.ready(serving.served)

    async def drain(self) -> None:
        """Not ready at once; new work is taken for the drain delay (the ingress learns of it late), then none.

        Those who wait for a place are refused then, with a time to come back: another replica may have one. Answers
        that run may finish, until shortly before the grace period ends; the rest is told then that it is cut short.
        """
        self.state.draining = True
        logs.event(_LOG, "draining", in_flight=self._answers.in_flight if self._answers else 0)
        if self._answers is not None and self._limits is not None:
            await self._finish(self._answers, self._limits)
        await self.shell.end(within=_PASSING)

    async def _finish(self, opened: answers.Answers, limits: settings.Settings) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, limits.grace - _LAST)):
                await asyncio.sleep(limits.drain_delay)
                opened.close()
                await opened.idle()
                return
        opened.close()
        opened.interrupted = True
        try:
            async with asyncio.timeout(_SAYING):
                await opened.idle()
        except TimeoutError:
            logs.event(_LOG, "drain_incomplete", level=logging.WARNING, in_flight=opened.in_flight)

    async def close(self, *, at_once: bool = False) -> None:
        """Stop the engine and the app's own lifespan; after a failed load its reason is the last line again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.0 if at_once else _STOPPING):
                await self._stop()
        if self.state.stage == status.FAILED:
            logs.event(_LOG, "load_failed", level=logging.ERROR, reason=self.state.reason)
        else:
            logs.event(_LOG, "stopped")

    async def _stop(self) -> None:
        if self._engine is not None:
            serving = self._engine
            await in_thread(lambda: serving.stop(timeout=_STOPPING))
        await self._stack.aclose()

    def _measure(self) -> metrics.Metrics:
        if self._metrics is None:
            from inference import metrics

            self._metrics = metrics.Metrics()
        return self._metrics

    def _metrics_text(self) -> bytes:
        ready = self.state.readiness().code == 200
        return self._measure().text(ready=ready, stage_seconds=self.state.stage_seconds)


async def _canary(serving: engine.Engine, prompt: str) -> None:
    """Two answers side by side, so that what would break the first user's request breaks the start instead."""
    from inference import engine

    async def one(temperature: float) -> None:
        ids = serving.encode([{"role": "user", "content": prompt}])
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
