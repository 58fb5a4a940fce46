"""Another adapter without a restart: checked first, put on while nobody is answered, tried, else the old one again.

Requests that come meanwhile wait; none fails and none is answered by two adapters. Knows neither HTTP nor torch.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from typing import TYPE_CHECKING

from inference import answers, engine, logs, metrics, model_files, status

if TYPE_CHECKING:
    from inference import adapters, lora

_LOG = logging.getLogger("inference.reload")


class Busy(Exception):
    """Another reload runs."""


def _seen(task: asyncio.Task[status.Served]) -> None:
    """A failure is in the log by now, whether or not anybody waits for it."""
    if not task.cancelled():
        task.exception()


class Reload:
    """One per process."""

    def __init__(
        self,
        opened: answers.Answers,
        serving: engine.Engine,
        live: adapters.Live,
        state: status.Status,
        measure: metrics.Metrics,
    ) -> None:
        self._opened = opened
        self._serving = serving
        self._live = live
        self._state = state
        self._measure = measure
        self._running: asyncio.Task[status.Served] | None = None

    async def to(self, name: str | None) -> status.Served:
        """Serve the adapter in folder `name` beside the present one's; None: the same folder, read anew.

        Raises AdapterError and goes on with the old one; Busy; EngineError when the engine itself is in trouble.
        """
        if self._running is not None and not self._running.done():
            raise Busy("another reload is running")
        self._running = asyncio.create_task(self._reload(name))
        self._running.add_done_callback(_seen)
        # Who asked may leave; half a reload must not stay behind.
        return await asyncio.shield(self._running)

    async def _reload(self, name: str | None) -> status.Served:
        started = time.monotonic()
        try:
            prepared = await self._prepared(name)
            async with self._opened.quiet():
                await self._exchange(prepared)
                self._announce(prepared)
        except Exception as error:
            self._measure.adapter_reloads.labels("failed").inc()
            logs.event(_LOG, "reload_failed", level=logging.ERROR, adapter=name, reason=str(error))
            raise
        self._measure.adapter_reloads.labels("done").inc()
        seconds = round(time.monotonic() - started, 3)
        logs.event(_LOG, "reloaded", adapter=prepared.name, digest=prepared.digest, seconds=seconds)
        for note in prepared.notes:
            logs.event(_LOG, "adapter_note", level=logging.WARNING, note=note)
        return self._serving.served

    async def _prepared(self, name: str | None) -> lora.Prepared:
        current = self._live.current
        if current is None:
            raise model_files.AdapterError("this server was started without an adapter")
        if name is None:
            folder = current.folder
        elif name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
            raise model_files.AdapterError(f"{name!r} is not the name of a folder beside {current.folder.name}")
        else:
            folder = current.folder.parent / name
        return await asyncio.to_thread(self._live.prepare, folder)

    async def _exchange(self, prepared: lora.Prepared) -> None:
        await self._serving.exclusive(lambda: self._live.put(prepared))
        try:
            await self._try()
        except Exception as error:
            await self._serving.exclusive(self._live.back)
            raise model_files.AdapterError(f"{prepared.folder}: with it nothing can be generated: {error}") from error

    async def _try(self) -> None:
        tokens = 0
        async for delta in self._serving.generate(self._live.canary, engine.Sampling(8, 0.0, 1.0)):
            tokens += delta.tokens
        if not tokens:
            raise engine.EngineError("no token came")

    def _announce(self, prepared: lora.Prepared) -> None:
        served = dataclasses.replace(self._serving.served, adapter=prepared.name, adapter_digest=prepared.digest)
        self._serving.served = self._state.served = served
