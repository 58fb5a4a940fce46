"""Many streams over HTTP at once, half of their clients leaving at random: nothing leaks, nobody else notices."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from inference import metrics

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore::FutureWarning")]
CLIENTS = 64
TURNS = 3


async def test_streams_with_random_disconnects(
    engine_of: Callable[..., Any], serve: Callable[..., Any], until: Any
) -> None:
    """Who stays gets the whole right answer; in flight, queue and pages return to zero, the worker never restarts."""
    measure = metrics.Metrics()
    serving = engine_of(measure=measure)
    # Steps as slow as a real model's, so that most disconnects fall into the middle of something.
    serving._manager.model.register_forward_pre_hook(lambda *_: time.sleep(0.005))
    serving.start()
    try:
        async with serve(
            serving, measure=measure, MAX_INFLIGHT="16", MAX_QUEUE=str(CLIENTS), QUEUE_TIMEOUT_S="60"
        ) as app:
            limits = httpx.Limits(max_connections=CLIENTS)
            async with httpx.AsyncClient(base_url=app.url, timeout=60, limits=limits) as http:
                stayed = await asyncio.gather(*(client(http, random.Random(seed)) for seed in range(CLIENTS)))
                assert sum(stayed) > CLIENTS * TURNS / 3
                await until(lambda: app.answers.in_flight == 0)
                assert await counted(http, 9) == countdown(9)
            await until(lambda: not serving._manager.batch_processor.has_pending_requests())
            assert read(measure, "requests_in_flight") == read(measure, "requests_queued") == 0
            assert read(measure, "kv_pages_used") == read(measure, "engine_restarts_total") == 0
            assert read(measure, "requests_total", finish="cancelled") > 10
            assert read(measure, "requests_total", finish="error") == 0
            assert serving._manager.output_router._takers == {}
            assert serving.problem() is None
    finally:
        serving.stop(timeout=10)


async def client(http: httpx.AsyncClient, chance: random.Random) -> int:
    """Some turns, each with an answer read to its end and checked, or with one left at a random moment."""
    stayed = 0
    for _ in range(TURNS):
        if chance.random() < 0.5:
            await leave(http, chance)
        else:
            top = chance.randint(3, 20)
            assert await counted(http, top) == countdown(top)
            stayed += 1
    return stayed


async def leave(http: httpx.AsyncClient, chance: random.Random) -> None:
    """Ask for much; go away while queued, after a few events of the stream, or while a whole answer is made."""
    ask = {**question(20), "temperature": 2.0, "max_tokens": 400, "stream": chance.random() < 0.7}
    try:
        async with asyncio.timeout(chance.uniform(0.01, 2.0)):
            async with http.stream("POST", "/v1/chat/completions", json=ask) as response:
                assert response.status_code == 200
                lines = response.aiter_lines()
                for _ in range(chance.randint(0, 20)):
                    await anext(lines)
    except (TimeoutError, StopAsyncIteration):
        return


async def counted(http: httpx.AsyncClient, top: int) -> str:
    """A stream's text, if it is complete."""
    async with http.stream("POST", "/v1/chat/completions", json={**question(top), "stream": True}) as response:
        assert response.status_code == 200
        chunks = [chunk async for chunk in events(response)]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended without [DONE]")


def question(top: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"Count down from {top}."}], "temperature": 0}


def countdown(top: int) -> str:
    return f"{' '.join(str(number) for number in range(top, -1, -1))}."


def read(measure: metrics.Metrics, name: str, **labels: str) -> float:
    return measure.registry.get_sample_value(f"inference_{name}", labels) or 0.0
