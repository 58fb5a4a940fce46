"""The last thing a request passes before the wire: it waits for its turn, isn't sent to who doesn't answer, and is
stopped by the fence at the very last moment. It knows no operation, only methods, addresses and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azure.core.pipeline.transport import AsyncHttpTransport
from yarl import URL

from controller.cloud import answers, circuit, errors, pacing, writes

Transport = AsyncHttpTransport[Any, Any]
Fence = Callable[[], None]


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
        fence = self._fence()
        if fence is not None and writes.changes(method, url):
            fence()

    async def _sent(self, target: pacing.Target, request: Any, **kwargs: Any) -> Any:
        """Nothing else happens between the fence and the request, unless the circuit opened meanwhile."""
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
