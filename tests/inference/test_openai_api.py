"""The API as OpenAI's own client sees it, on a real socket, with a scripted engine."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

from inference import engine

HELLO: Any = [{"role": "user", "content": "hello there"}]


def client(app: Any, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{app.url}/v1", api_key=options.pop("key", "none"), max_retries=0, **options)


async def test_a_whole_answer(scripted: Any, serve: Any) -> None:
    """Text, finish reason and usage."""
    async with serve(scripted()) as app, client(app) as api:
        answer = await api.chat.completions.create(model="tiny", messages=HELLO)
        assert answer.choices[0].message.content == "one two three"
        assert (answer.choices[0].finish_reason, (answer.usage and answer.usage.total_tokens)) == ("stop", 5)


async def test_a_streamed_answer(scripted: Any, serve: Any) -> None:
    """Word by word; the role first, the usage last when asked for."""
    async with serve(scripted()) as app, client(app) as api:
        stream = await api.chat.completions.create(
            model="tiny", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-2]] == ["one", " two", " three"]
    assert (chunks[-2].choices[0].finish_reason, (chunks[-1].usage and chunks[-1].usage.completion_tokens)) == (
        "stop",
        3,
    )


async def test_stop_strings_end_the_generation(scripted: Any, serve: Any) -> None:
    """Nothing of the stop string is shown, across tokens too, and the engine is told to stop."""
    async with serve(scripted("a b c d e f")) as app, client(app) as api:
        answer = await api.chat.completions.create(model="tiny", messages=HELLO, stop="c d")
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("a b ", "stop")
        assert (app.engine.cancelled, app.answers.in_flight) == (1, 0)


async def test_sampling_reaches_the_engine(scripted: Any, serve: Any) -> None:
    """Temperature 0 means greedy; the token limit is the smaller of the asked and the allowed."""
    async with serve(scripted(), MAX_NEW_TOKENS="20") as app, client(app) as api:
        await api.chat.completions.create(model="tiny", messages=HELLO, temperature=0, top_p=0.5)
        await api.chat.completions.create(model="tiny", messages=HELLO, temperature=0.7, top_p=0.9, max_tokens=2)
        assert app.engine.calls == [engine.Sampling(20, 0.0, 1.0), engine.Sampling(2, 0.7, 0.9)]


async def test_a_prompt_that_does_not_fit(scripted: Any, serve: Any) -> None:
    """400 context_length_exceeded with both numbers; without max_tokens the rest of the context is used."""
    async with serve(scripted(context=4)) as app, client(app) as api:
        await api.chat.completions.create(model="tiny", messages=HELLO)
        assert app.engine.calls[0].max_new_tokens == 2
        for content, limit in (("hello there", 3), ("a b c d", None)):
            message: Any = [{"role": "user", "content": content}]
            with pytest.raises(openai.BadRequestError) as raised:
                await api.chat.completions.create(model="tiny", messages=message, max_tokens=limit)
            assert raised.value.code == "context_length_exceeded"
            assert "4 tokens" in str(raised.value)


async def test_overload_is_429_with_retry_after(scripted: Any, serve: Any, until: Any) -> None:
    """When places and queue are full; the answer in the making is not disturbed."""
    held = scripted()
    held.hold.clear()
    async with serve(held, MAX_INFLIGHT="1", MAX_QUEUE="0") as app, client(app) as api:
        first = asyncio.create_task(api.chat.completions.create(model="tiny", messages=HELLO))
        await until(lambda: held.open == 1)
        with pytest.raises(openai.RateLimitError) as raised:
            await api.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        assert int(raised.value.response.headers["retry-after"]) >= 1
        held.hold.set()
        assert (await first).choices[0].message.content == "one two three"


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_cancels(scripted: Any, serve: Any, until: Any, stream: bool) -> None:
    """A client that hangs up, streaming or not, frees its place and stops the engine."""
    held = scripted()
    held.hold.clear()
    async with serve(held) as app:
        body = {"messages": HELLO, "stream": stream}
        async with httpx.AsyncClient() as http:
            asking = asyncio.create_task(http.post(f"{app.url}/v1/chat/completions", json=body))
            await until(lambda: held.open == 1)
            asking.cancel()
            await asyncio.wait({asking})
        await until(lambda: (held.open, held.cancelled, app.answers.in_flight) == (0, 1, 0))


async def test_leaving_the_queue(scripted: Any, serve: Any, until: Any) -> None:
    """A client that hangs up while waiting leaves the queue and never reaches the engine."""
    held = scripted()
    held.hold.clear()
    async with serve(held, MAX_INFLIGHT="1") as app, httpx.AsyncClient() as http:

        def queued() -> float:
            return float(app.metrics.registry.get_sample_value("inference_requests_queued") or 0)

        url, body = f"{app.url}/v1/chat/completions", {"messages": HELLO}
        first = asyncio.create_task(http.post(url, json=body))
        await until(lambda: held.open == 1)
        second = asyncio.create_task(http.post(url, json=body))
        await until(lambda: queued() == 1)
        second.cancel()
        await until(lambda: queued() == 0)
        held.hold.set()
        assert (await first).status_code == 200
        assert len(held.calls) == 1


async def test_a_failure_in_mid_stream_is_an_error_event(scripted: Any, serve: Any) -> None:
    """The client gets an exception, not a short answer."""
    broken = scripted()
    broken.failure = engine.EngineError("generation failed: boom")
    async with serve(broken) as app, client(app) as api:
        stream = await api.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="boom") as raised:
            _ = [chunk async for chunk in stream]
        assert raised.value.code == "engine_error"
        with pytest.raises(openai.InternalServerError):
            await api.chat.completions.create(model="tiny", messages=HELLO)
        assert app.answers.in_flight == 0


async def test_keys(scripted: Any, serve: Any) -> None:
    """With API_KEYS set, every path under /v1 wants one of them."""
    async with serve(scripted(), API_KEYS="first,second") as app:
        async with client(app, key="second") as api:
            assert [model.id async for model in api.models.list()] == ["tiny"]
        async with client(app, key="wrong") as api:
            with pytest.raises(openai.AuthenticationError) as raised:
                await api.models.list()
            assert raised.value.code == "invalid_api_key"
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{app.url}/v1/models")).status_code == 401


async def test_models(scripted: Any, serve: Any) -> None:
    """One model, with the adapter it answers with; another name is 404."""
    async with serve(scripted()) as app, client(app) as api:
        model = await api.models.retrieve("tiny")
        assert (model.id, (model.model_extra or {})["adapter"]) == ("tiny", "pirate")
        with pytest.raises(openai.NotFoundError) as raised:
            await api.chat.completions.create(model="gpt", messages=HELLO)
        assert raised.value.code == "model_not_found"


async def test_every_error_has_the_envelope(scripted: Any, serve: Any) -> None:
    """Unknown paths and bodies that are no JSON too; a caller's request id comes back."""
    async with serve(scripted()) as app, httpx.AsyncClient(base_url=app.url) as http:
        unknown = await http.post("/v1/embeddings", headers={"x-request-id": "abc"})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")
        assert unknown.headers["x-request-id"] == "abc"
        broken = await http.post("/v1/chat/completions", content=b"{")
        assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_an_unexpected_error_keeps_the_connection(scripted: Any, serve: Any) -> None:
    """500 in the envelope, and the same connection still answers."""
    broken = scripted()
    broken.encode = lambda messages: 1 // 0
    async with serve(broken) as app, httpx.AsyncClient(base_url=app.url) as http:
        failed = await http.post("/v1/chat/completions", json={"messages": HELLO})
        assert (failed.status_code, failed.json()["error"]["message"]) == (500, "internal error: ZeroDivisionError")
        assert (await http.get("/v1/models")).status_code == 200


async def test_logs_hold_no_text(scripted: Any, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One line per answer, with counts and times, without prompt or answer."""
    caplog.set_level("INFO")
    async with serve(scripted("secretanswer")) as app, client(app) as api:
        message: Any = [{"role": "user", "content": "secretquestion"}]
        await api.chat.completions.create(model="tiny", messages=message)
    lines = [record for record in caplog.records if record.getMessage() == "answer"]
    assert [line.__dict__["values"]["completion_tokens"] for line in lines] == [1]
    assert not any("secret" in f"{record.getMessage()}{record.__dict__.get('values')}" for record in caplog.records)
