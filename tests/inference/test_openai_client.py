"""What users of OpenAI's own client get, over a real socket, with a scripted engine."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import openai
import pytest
from openai._base_client import BaseClient

from inference import admission, engine

HELLO: Any = [{"role": "user", "content": "hello there"}]


def client(app: Any, **options: Any) -> openai.AsyncOpenAI:
    given = {"api_key": "none", "max_retries": 0, **options}
    return openai.AsyncOpenAI(base_url=f"{app.url}/v1", **given)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have waited before each retry; it doesn't wait."""
    found: list[float] = []
    real: Callable[..., float] = BaseClient._calculate_retry_timeout

    def noted(*args: Any, **named: Any) -> float:
        found.append(real(*args, **named))
        return 0.0

    monkeypatch.setattr(BaseClient, "_calculate_retry_timeout", noted)
    return found


async def test_a_whole_answer(scripted: Any, serve: Any) -> None:
    """Text, finish reason and usage."""
    async with serve(scripted()) as app, client(app) as api:
        answer = await api.chat.completions.create(model="tiny", messages=HELLO)
    assert (answer.object, answer.model, answer.choices[0].message.role) == ("chat.completion", "tiny", "assistant")
    assert answer.choices[0].message.content == "one two three"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (2, 3, 5)


async def test_a_streamed_answer(scripted: Any, serve: Any) -> None:
    """Word by word; the role first, the usage last when asked for."""
    async with serve(scripted()) as app, client(app) as api:
        stream = await api.chat.completions.create(
            model="tiny", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-2]] == ["one", " two", " three"]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert [bool(chunk.usage) for chunk in chunks] == [False, False, False, False, False, True]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_stream_helper(scripted: Any, serve: Any) -> None:
    """The client's accumulating stream ends with the whole completion."""
    async with (
        serve(scripted()) as app,
        client(app) as api,
        api.chat.completions.stream(model="tiny", messages=HELLO) as stream,
    ):
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert (final.choices[0].message.content, final.choices[0].finish_reason) == ("one two three", "stop")


async def test_text_completions(scripted: Any, serve: Any) -> None:
    """Whole and streamed, from text and from token ids, going on from the prompt as it is."""
    async with serve(scripted("a b c")) as app, client(app) as api:
        whole = await api.completions.create(model="tiny", prompt="hello there you", max_tokens=2)
        assert (whole.object, whole.choices[0].text, whole.choices[0].finish_reason) == (
            "text_completion",
            "a b",
            "length",
        )
        assert whole.id.startswith("cmpl-")
        assert whole.usage is not None
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3, 2)
        assert app.engine.prompts == [[{"role": "text", "content": "hello there you"}]]
        stream = await api.completions.create(
            model="tiny", prompt=[7, 8], stream=True, stop="c", stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "a b "
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 2


def test_the_plain_client(scripted: Any, serve: Any) -> None:
    """The client without asyncio: whole, streamed, models, errors."""
    found: dict[str, Any] = {}
    ready, done = threading.Event(), threading.Event()

    async def served() -> None:
        async with serve(scripted()) as app:
            found["url"] = app.url
            ready.set()
            await asyncio.to_thread(done.wait)

    server = threading.Thread(target=lambda: asyncio.run(served()))
    server.start()
    try:
        assert ready.wait(10)
        with openai.OpenAI(base_url=f"{found['url']}/v1", api_key="none", max_retries=0) as api:
            assert [model.id for model in api.models.list()] == ["tiny"]
            answer = api.chat.completions.create(model="tiny", messages=HELLO)
            assert answer.choices[0].message.content == "one two three"
            stream = api.chat.completions.create(model="tiny", messages=HELLO, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "one two three"
            with pytest.raises(openai.NotFoundError):
                api.models.retrieve("other")
    finally:
        done.set()
        server.join()


async def test_stop_strings_end_the_generation(scripted: Any, serve: Any) -> None:
    """Nothing of the stop string is shown, across tokens too, and the engine is told to stop."""
    async with serve(scripted("a b c d e f")) as app, client(app) as api:
        answer = await api.chat.completions.create(model="tiny", messages=HELLO, stop="c d")
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("a b ", "stop")
        assert (app.engine.cancelled, app.answers.in_flight) == (1, 0)


async def test_sampling_reaches_the_engine(scripted: Any, serve: Any) -> None:
    """Temperature 0 means greedy; without a limit the server's own counts; top_k comes by extra_body."""
    async with serve(scripted(), MAX_NEW_TOKENS="20") as app, client(app) as api:
        await api.chat.completions.create(model="tiny", messages=HELLO, temperature=0, top_p=0.5)
        await api.chat.completions.create(
            model="tiny", messages=HELLO, temperature=0.7, top_p=0.9, max_tokens=2, extra_body={"top_k": 5}
        )
        await api.completions.create(model="tiny", prompt="hi", temperature=0.7, extra_body={"top_k": 6})
        assert app.engine.calls == [
            engine.Sampling(20, 0.0, 1.0),
            engine.Sampling(2, 0.7, 0.9, 5),
            engine.Sampling(16, 0.7, 1.0, 6),
        ]


async def test_the_servers_system_prompt(scripted: Any, serve: Any) -> None:
    """Conversations without a system message get the server's."""
    async with serve(scripted(), SYSTEM_PROMPT="be brief") as app, client(app) as api:
        await api.chat.completions.create(model="tiny", messages=HELLO)
        assert app.engine.prompts == [[{"role": "system", "content": "be brief"}, *HELLO]]


async def test_a_prompt_that_does_not_fit(scripted: Any, serve: Any) -> None:
    """context_length_exceeded with both numbers; without max_tokens the rest of the context is used."""
    async with serve(scripted(context=4)) as app, client(app) as api:
        await api.chat.completions.create(model="tiny", messages=HELLO)
        assert app.engine.calls[0].max_new_tokens == 2
        for content, limit in (("hello there", 3), ("a b c d", None)):
            message: Any = [{"role": "user", "content": content}]
            with pytest.raises(openai.BadRequestError, match=r"4 tokens, but the messages are \d tokens") as raised:
                await api.chat.completions.create(model="tiny", messages=message, max_tokens=limit)
            assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")
        with pytest.raises(openai.BadRequestError, match="4 tokens, but the prompt is 5 tokens") as raised:
            await api.completions.create(model="tiny", prompt="a b c d e")
        assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "prompt")


async def test_what_is_refused_is_named(scripted: Any, serve: Any) -> None:
    """A parameter that can't be honoured, a limit that is too high, a model that isn't here, a token id too large."""
    async with serve(scripted(), MAX_NEW_TOKENS="20") as app, client(app) as api:
        create: Any = api.chat.completions.create
        with pytest.raises(openai.BadRequestError, match="unsupported parameter: 'seed'") as raised:
            await create(model="tiny", messages=HELLO, seed=1)
        assert (raised.value.param, raised.value.type) == ("seed", "invalid_request_error")
        with pytest.raises(openai.BadRequestError, match=r"too large: 21\. This model supports at most 20"):
            await create(model="tiny", messages=HELLO, max_tokens=21)
        with pytest.raises(openai.NotFoundError, match="'gpt' does not exist; this server has 'tiny'") as missing:
            await create(model="gpt", messages=HELLO)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError, match="from 0 to 999"):
            await api.completions.create(model="tiny", prompt=[1000])


async def test_models(scripted: Any, serve: Any) -> None:
    """One model, with the adapter it answers with now; another name is 404."""
    async with serve(scripted()) as app, client(app) as api:
        assert [model.id async for model in api.models.list()] == ["tiny"]
        assert ((await api.models.retrieve("tiny")).model_extra or {})["adapter"] == "pirate"
        app.engine.served = dataclasses.replace(app.engine.served, adapter="sailor")
        assert ((await api.models.retrieve("tiny")).model_extra or {})["adapter"] == "sailor"
        with pytest.raises(openai.NotFoundError):
            await api.models.retrieve("other")


async def test_keys(scripted: Any, serve: Any) -> None:
    """With API_KEYS set, one of them opens the API and nothing else does."""
    async with serve(scripted(), API_KEYS="first,second") as app:
        async with client(app, api_key="second") as api:
            assert [model.id async for model in api.models.list()] == ["tiny"]
        async with client(app, api_key="wrong") as api:
            with pytest.raises(openai.AuthenticationError) as raised:
                await api.models.list()
            assert raised.value.code == "invalid_api_key"


async def test_overload_is_retried_when_told(scripted: Any, serve: Any, until: Any, waits: list[float]) -> None:
    """429 with Retry-After: the client waits exactly so long, and the answer in the making is not disturbed."""
    held = scripted()
    held.hold.clear()
    async with serve(held, MAX_INFLIGHT="1", MAX_QUEUE="0") as app, client(app) as api:
        first = asyncio.create_task(api.chat.completions.create(model="tiny", messages=HELLO))
        await until(lambda: held.open == 1)
        app.answers._gate._typical = 7.0
        with pytest.raises(openai.RateLimitError) as raised:
            await api.with_options(max_retries=1).chat.completions.create(model="tiny", messages=HELLO, stream=True)
        assert (raised.value.code, raised.value.type) == ("rate_limit_exceeded", "rate_limit_error")
        assert raised.value.response.headers["retry-after"] == "7"
        assert waits == [7.0]
        held.hold.set()
        assert (await first).choices[0].message.content == "one two three"


async def test_a_retry_succeeds(scripted: Any, serve: Any, until: Any, waits: list[float]) -> None:
    """By default the client tries again after a refusal, and gets its answer once there is room."""
    held = scripted()
    async with serve(held) as app, client(app, max_retries=2) as api:
        real = app.answers.open
        refusals = iter([admission.Overloaded("too many requests are waiting", retry_after=3)])

        async def refusing(*args: Any, **named: Any) -> Any:
            for refusal in refusals:
                raise refusal
            return await real(*args, **named)

        app.answers.open = refusing
        answer = await api.chat.completions.create(model="tiny", messages=HELLO)
    assert answer.choices[0].message.content == "one two three"
    assert waits == [3.0]


async def test_a_server_that_drains(scripted: Any, serve: Any) -> None:
    """New requests get 503 and a time to come back; the answer in the making may finish, until it is interrupted."""
    held = scripted()
    held.hold.clear()
    async with serve(held) as app, client(app) as api:
        stream = await api.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        app.answers.close()
        with pytest.raises(openai.InternalServerError) as raised:
            await api.chat.completions.create(model="tiny", messages=HELLO)
        assert (raised.value.status_code, raised.value.code) == (503, "shutting_down")
        assert raised.value.response.headers["retry-after"] == "1"
        app.answers.interrupted = True
        with pytest.raises(openai.APIError, match="shutting down") as ended:
            _ = [chunk async for chunk in stream]
        assert ended.value.code == "shutting_down"


async def test_a_failure_is_an_exception(scripted: Any, serve: Any) -> None:
    """Streamed or not, a broken answer never looks like a short one."""
    broken = scripted()
    broken.failure = engine.EngineError("generation failed: boom")
    async with serve(broken) as app, client(app) as api:
        stream = await api.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="boom") as raised:
            _ = [chunk async for chunk in stream]
        assert raised.value.code == "engine_error"
        with pytest.raises(openai.InternalServerError, match="boom"):
            await api.chat.completions.create(model="tiny", messages=HELLO)
        broken.failure = engine.EngineDown("EngineDown: restarted 3 times")
        with pytest.raises(openai.InternalServerError) as down:
            await api.completions.create(model="tiny", prompt="hi")
        assert (down.value.status_code, down.value.code) == (503, "engine_down")
        assert app.answers.in_flight == 0


async def test_a_stream_that_never_begins(scripted: Any, serve: Any, waits: list[float]) -> None:
    """What fails before the first word has a status, which the client retries."""

    class Restarting(scripted):  # type: ignore[misc]
        async def generate(self, prompt: Any, sampling: engine.Sampling) -> AsyncGenerator[engine.Delta, None]:
            self.calls.append(sampling)
            yield engine.Delta()
            if len(self.calls) < 3:
                raise engine.EngineError("the engine is restarting")
            yield engine.Delta("hello", 1, "stop")

    async with serve(Restarting()) as app, client(app, max_retries=1) as api:
        with pytest.raises(openai.InternalServerError, match="restarting"):
            await api.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        stream = await api.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "hello"
        assert (len(waits), app.answers.in_flight) == (1, 0)


async def test_the_clients_own_timeout_cancels(scripted: Any, serve: Any, until: Any) -> None:
    """A client that stops waiting frees its place."""
    held = scripted()
    held.hold.clear()
    async with serve(held) as app, client(app, timeout=0.2) as api:
        with pytest.raises(openai.APITimeoutError):
            await api.chat.completions.create(model="tiny", messages=HELLO)
        await until(lambda: (held.open, held.cancelled, app.answers.in_flight) == (0, 1, 0))


async def test_the_servers_own_time_limit(scripted: Any, serve: Any) -> None:
    """An answer that takes too long ends as if out of tokens, with what there is, before the ingress cuts it."""
    held = scripted()
    held.hold.clear()
    async with serve(held) as app, client(app) as api:
        app.answers._limits = dataclasses.replace(app.answers._limits, generation_timeout=0.05)
        answer = await api.chat.completions.create(model="tiny", messages=HELLO)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one", "length")
        stream = await api.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "length"
