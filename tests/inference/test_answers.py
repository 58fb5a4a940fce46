"""From a conversation or a text to an answer: what fits, how it is sampled, what is counted, when it is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from inference import admission, answers, engine, metrics

ASK: Any = [{"role": "user", "content": "a b c"}]
PLAIN: dict[str, Any] = {"max_tokens": None, "temperature": 1.0, "top_p": 1.0}


def opened(serving: Any, limits: Any, measure: metrics.Metrics | None = None, *, timeout: float = 5) -> answers.Answers:
    measure = measure or metrics.Metrics()
    gate = admission.Admission(places=2, queue=2, timeout=timeout, capacity=serving.capacity, page=1, measure=measure)
    return answers.Answers(serving, gate=gate, measure=measure, limits=limits)


@pytest.mark.parametrize(
    ("asked", "sampling"),
    [
        ({"temperature": 0.7, "top_p": 0.9, "top_k": 40}, (0.7, 0.9, 40)),
        ({"temperature": 0.7, "top_p": 0.9}, (0.7, 0.9, None)),
        ({"temperature": 0.001, "top_p": 0.9, "top_k": 40}, (0.0, 1.0, None)),
        ({"temperature": 1.0, "top_p": 0.0}, (0.0, 1.0, None)),
    ],
)
def test_sampling(
    scripted: Any, settings_of: Callable[..., Any], asked: dict[str, Any], sampling: tuple[float, float, int | None]
) -> None:
    """As asked; what is as good as greedy is greedy."""
    given = opened(scripted(), settings_of()).prompt(ASK, max_tokens=7, **asked).sampling
    assert given == engine.Sampling(7, *sampling)


@pytest.mark.parametrize("text", ["a b c", [1, 1, 1]])
def test_a_text_or_its_tokens_are_gone_on_from(scripted: Any, settings_of: Callable[..., Any], text: Any) -> None:
    """Both give the same prompt, with all the room there is."""
    prompt = opened(scripted(context=10), settings_of()).completion(text, **PLAIN, top_k=3, stop=("x",))
    assert prompt == answers.Prompt((1, 1, 1), engine.Sampling(7, 1.0, 1.0, 3), ("x",))


@pytest.mark.parametrize("ids", [[], [-1], [1, 1000], ""])
def test_tokens_that_are_none_are_refused(scripted: Any, settings_of: Callable[..., Any], ids: Any) -> None:
    """Before admission: a worker never sees them."""
    with pytest.raises(engine.BadPrompt, match="from 0 to 999"):
        opened(scripted(), settings_of()).completion(ids, **PLAIN)


@pytest.mark.parametrize(("tokens", "more"), [(None, ""), (5, " plus 5 asked for")])
def test_what_does_not_fit_is_refused_with_both_numbers(
    scripted: Any, settings_of: Callable[..., Any], tokens: int | None, more: str
) -> None:
    """In the words of what was sent."""
    small = opened(scripted(context=3), settings_of())
    asked: Any = {**PLAIN, "max_tokens": tokens}
    with pytest.raises(answers.PromptTooLong, match=f"length is 3 tokens, but the messages are 3 tokens{more}."):
        small.prompt(ASK, **asked)
    with pytest.raises(answers.PromptTooLong, match=f"length is 3 tokens, but the prompt is 3 tokens{more}."):
        small.completion([1, 1, 1], **asked)


async def test_what_comes_together_is_shown_together(scripted: Any, settings_of: Callable[..., Any]) -> None:
    """Pieces that follow at once are one; a stop string among them counts only the tokens up to it."""

    class Bursts(scripted):  # type: ignore[misc]
        async def generate(
            self, prompt: Sequence[int], sampling: engine.Sampling
        ) -> AsyncGenerator[engine.Delta, None]:
            yield engine.Delta("a", 1, more=True)
            yield engine.Delta("b", 1)
            yield engine.Delta("c", 1, more=True)
            yield engine.Delta("d", 1, more=True)
            yield engine.Delta("e", 1, "stop")

    async def told(stop: tuple[str, ...]) -> tuple[list[str], int]:
        owner = opened(Bursts(), settings_of())
        answer = await owner.open(owner.prompt(ASK, **PLAIN, stop=stop), request_id="r")
        async with aclosing(answer.pieces()) as pieces:
            texts = [piece async for piece in pieces]
        answer.close()
        return texts, answer.completion_tokens

    assert await told(()) == (["ab", "cde"], 5)
    assert await told(("d",)) == (["ab", "c"], 4)


async def test_the_speed_of_an_answer(scripted: Any, settings_of: Callable[..., Any]) -> None:
    """Observed once per answer of more than one token, without the wait for the first."""
    measure = metrics.Metrics()
    owner = opened(scripted(), settings_of(), measure)
    for tokens in (3, 1):
        answer = await owner.open(owner.prompt(ASK, **{**PLAIN, "max_tokens": tokens}), request_id="r")
        async with aclosing(answer.pieces()) as pieces:
            assert [piece async for piece in pieces]
        answer.close()
    assert measure.registry.get_sample_value("inference_answer_tokens_per_second_count") == 1


async def test_quiet_waits_for_the_open_and_holds_the_new(scripted: Any, settings_of: Callable[..., Any]) -> None:
    """Within, nothing is in flight; who came meanwhile waits and is let in after; one at a time."""
    owner = opened(scripted(), settings_of())
    ask = owner.prompt(ASK, **PLAIN)
    first = await owner.open(ask, request_id="1")
    inside, leave = asyncio.Event(), asyncio.Event()

    async def change() -> None:
        async with owner.quiet():
            inside.set()
            await leave.wait()

    changes = [asyncio.create_task(change()) for _ in range(2)]
    await asyncio.sleep(0)
    late = asyncio.create_task(owner.open(ask, request_id="2"))
    await asyncio.sleep(0)
    assert not inside.is_set()
    first.close()
    await inside.wait()
    await asyncio.sleep(0)
    assert (owner.in_flight, late.done()) == (0, False)
    leave.set()
    (await late).close()
    await asyncio.gather(*changes)


async def test_quiet_ends_with_its_work(scripted: Any, settings_of: Callable[..., Any]) -> None:
    """Failed work, or one that gave up waiting, holds nobody."""
    owner = opened(scripted(), settings_of())
    ask = owner.prompt(ASK, **PLAIN)
    with pytest.raises(LookupError):
        async with owner.quiet():
            raise LookupError
    first = await owner.open(ask, request_id="1")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), owner.quiet():
            raise AssertionError("something was in flight")
    (await owner.open(ask, request_id="2")).close()
    first.close()
