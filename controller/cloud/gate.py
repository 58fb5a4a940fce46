"""The last things a request passes before the wire: it waits for its turn, isn't sent to who doesn't answer, and is
stopped by the fence at the very last moment. It knows no operation, only methods, addresses and answers."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import aiohttp
from azure.core.pipeline.transport import AsyncHttpTransport
from yarl import URL

from controller.cloud import answers, circuit, errors, pacing, writes

Transport = AsyncHttpTransport[Any, Any]
Fence = Callable[[], None]


def fenced(fence: Callable[[], Fence | None]) -> aiohttp.TraceConfig:
    """Asks what `fence` gives, if anything, once more when the connection for a request that changes something is
    there: nothing that may take time comes between its answer and the first byte."""
    config = aiohttp.TraceConfig()

    async def started(
        _session: aiohttp.ClientSession, context: types.SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        context.changes = writes.changes(params.method, params.url)

    async def connected(_session: aiohttp.ClientSession, context: types.SimpleNamespace, _params: object) -> None:
        ask = fence()
        if ask is not None and context.changes:
            ask()

    config.on_request_start.append(started)
    config.on_connection_create_end.append(connected)
    config.on_connection_reuseconn.append(connected)
    return config


class Gate(Transport):
    """`inner` for requests that may be sent. What lies in no subscription, as Azure Files, only meets the fence."""

    def __init__(
        self,
        inner: Transport,
        *,
        pacing: pacing.Pacing,
        circuits: circuit.Circuits,
        fence: Callable[[], Fence | None],
    ) -> None:
        """`fence` gives what is asked before each request that changes something, None for nothing."""
        self._inner = inner
        self._pacing = pacing
        self._circuits = circuits
        self._fence = fence

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Raises OutcomeError for what isn't sent."""
        url = URL(request.url)
        target = None if "x-ms-version" in request.headers else pacing.target(request.method, url)
        if target is None:
            self._ask_fence(request.method, url)
            return await self._inner.send(request, **kwargs)
        self._circuits.of(target.subscription).check()
        turn = await self._pacing.turn(target)
        try:
            self._ask_fence(request.method, url)
            response = await self._sent(target, request, **kwargs)
        finally:
            turn.end()
        self._learn(target, turn, response)
        return response

    def _ask_fence(self, method: str, url: URL) -> None:
        """What won't pass isn't begun: no connection is made for it, and it isn't counted."""
        fence = self._fence()
        if fence is not None and writes.changes(method, url):
            fence()

    async def _sent(self, target: pacing.Target, request: Any, **kwargs: Any) -> Any:
        subscription = self._circuits.of(target.subscription)
        attempt = subscription.begin()
        try:
            response = await self._inner.send(request, **kwargs)
        except answers.MET_BY_THE_SDK as error:
            unanswered: Any = answers.unanswered(error, str(URL(request.url).authority))
            subscription.failed(attempt, unanswered.message)
            raise
        except BaseException:
            subscription.abandoned(attempt)
            raise
        if response.status_code >= 500:
            subscription.failed(attempt, f"HTTP {response.status_code}")
        else:
            subscription.answered()
        return response

    def _learn(self, target: pacing.Target, turn: pacing.Turn, response: Any) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._pacing.answered(target, turn, headers)
        if response.status_code == 429:
            self._pacing.refused(turn, headers, errors.after(headers, answers.text(response)))

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def __aenter__(self) -> Gate:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._inner.__aexit__(*exc)
