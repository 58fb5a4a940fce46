"""What a completion request may say."""

from __future__ import annotations

from typing import Any

import pytest

from inference import errors, requests, wire

HELLO = [{"role": "user", "content": "hello"}]


def chat(**fields: Any) -> requests.Chat:
    return requests.chat({"messages": HELLO, **fields}, longest=100)


def text(**fields: Any) -> requests.Text:
    return requests.text({"prompt": "hello", **fields}, longest=100)


def test_defaults_are_openais() -> None:
    """Sampled at temperature 1, not streamed; a chat as long as there is room, a text 16 tokens."""
    assert chat() == requests.Chat(({"role": "user", "content": "hello"},), requests.How())
    assert text() == requests.Text("hello", requests.How(max_tokens=16))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_token_limit(name: str) -> None:
    """The old and the new name of the limit mean the same; more than the server's own is refused with both numbers."""
    assert chat(**{name: 100}).how.max_tokens == 100
    with pytest.raises(errors.ApiError, match=rf"{name} is too large: 101. .* at most 100 completion") as raised:
        chat(**{name: 101})
    assert raised.value.body["error"]["param"] == name


def test_text_parts_are_joined_and_developer_is_system() -> None:
    """Content may be a list of text parts; the developer role is the system role."""
    parts = [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]
    assert chat(messages=[{"role": "developer", "content": parts}]).messages == (
        {"role": "system", "content": "be brief"},
    )


def test_the_servers_system_prompt_gives_way() -> None:
    """It is put first where the conversation brings none."""
    mine = {"role": "system", "content": "mine"}
    assert requests.chat({"messages": HELLO}, longest=9, system_prompt="mine").messages == (mine, HELLO[0])
    theirs = [{"role": "system", "content": "theirs"}, *HELLO]
    assert requests.chat({"messages": theirs}, longest=9, system_prompt="mine").messages == tuple(theirs)


@pytest.mark.parametrize(
    ("prompt", "read"),
    [("hi", "hi"), (["hi"], "hi"), ([5, 6], (5, 6)), ([[5, 6]], (5, 6)), ([5], (5,))],
)
def test_a_prompt_is_text_or_tokens(prompt: Any, read: Any) -> None:
    """A string or token ids, or a list with one of those in it."""
    assert text(prompt=prompt).prompt == read


@pytest.mark.parametrize(
    "neutral",
    [{"n": 1}, {"presence_penalty": 0}, {"logprobs": False}, {"tools": None}, {"user": "me"}, {"tool_choice": "auto"}],
)
def test_what_changes_nothing_is_accepted(neutral: dict[str, Any]) -> None:
    """Parameters at values that mean nothing don't fail the request."""
    assert chat(**neutral) == chat()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"seed": 3}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"prompt": "x"}, "prompt"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 2.0}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2, "max_completion_tokens": 2}, "max_tokens"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream_options": {"more": 1}, "stream": True}, "stream_options.more"),
        ({"stream_options": [], "stream": True}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"model": 3}, "model"),
    ],
)
def test_a_bad_parameter_of_a_chat_is_named(fields: dict[str, Any], param: str) -> None:
    """400 in OpenAI's envelope, with the parameter's name."""
    with pytest.raises(errors.ApiError) as raised:
        chat(**fields)
    assert (raised.value.status, raised.value.body["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "fields",
    [
        {"echo": True},
        {"suffix": "the end"},
        {"best_of": 3},
        {"logprobs": 0},
        {"messages": HELLO},
        {"max_completion_tokens": 3},
        {"prompt": None},
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": ["a", "b"]},
        {"prompt": [1, True]},
        {"prompt": [1, "a"]},
        {"prompt": {"a": 1}},
    ],
)
def test_a_bad_parameter_of_a_text_is_named(fields: dict[str, Any]) -> None:
    """What only OpenAI's old models did is refused, and so are several prompts at once."""
    with pytest.raises(errors.ApiError) as raised:
        text(**fields)
    assert (raised.value.status, raised.value.body["error"]["param"]) == (400, next(iter(fields)))


def test_a_body_that_is_no_object() -> None:
    """A list is not a request."""
    with pytest.raises(errors.ApiError, match="JSON object"):
        requests.chat([], longest=1)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"a": "\xff"}', "can't decode byte"),
        (b'{"a": "\xed\xa0\x80"}', "can't decode byte"),
        ('{"a": 1}'.encode("utf-16"), "can't decode byte"),
        (b'{"\\ud800": 1}', "half of a surrogate pair"),
        (b'{"a": {"b": 1, "b": 2}}', "the same key twice"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": -Infinity}', "-Infinity is no JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "integer string conversion"),
    ],
)
def test_what_is_not_json(body: bytes, problem: str) -> None:
    """400, also for what lenient parsers let through, and never a crash."""
    with pytest.raises(errors.ApiError, match=problem) as raised:
        wire.decoded(body)
    assert raised.value.status == 400
