"""What a chat completion request may say."""

from __future__ import annotations

from typing import Any

import pytest

from inference import chat_request

HELLO = [{"role": "user", "content": "hello"}]


def parsed(**fields: Any) -> chat_request.ChatRequest:
    return chat_request.parse({"messages": HELLO, **fields})


def test_defaults_are_openais() -> None:
    """Nothing but messages: sampled at temperature 1, not streamed, as long as there is room."""
    assert parsed() == chat_request.ChatRequest(model=None, messages=({"role": "user", "content": "hello"},))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_token_limit(name: str) -> None:
    """The old and the new name of the limit mean the same."""
    assert parsed(**{name: 7}).max_tokens == 7


def test_text_parts_are_joined_and_developer_is_system() -> None:
    """Content may be a list of text parts; the developer role is the system role."""
    parts = [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]
    request = chat_request.parse({"messages": [{"role": "developer", "content": parts}]})
    assert request.messages == ({"role": "system", "content": "be brief"},)


@pytest.mark.parametrize(
    "neutral", [{"n": 1}, {"presence_penalty": 0}, {"logprobs": False}, {"tools": None}, {"user": "me"}]
)
def test_what_changes_nothing_is_accepted(neutral: dict[str, Any]) -> None:
    """Parameters at values that mean nothing don't fail the request."""
    assert parsed(**neutral) == parsed()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"seed": 3}, "seed"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2, "max_completion_tokens": 2}, "max_tokens"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"model": 3}, "model"),
    ],
)
def test_a_bad_parameter_is_named(fields: dict[str, Any], param: str) -> None:
    """400 in OpenAI's envelope, with the parameter's name."""
    with pytest.raises(chat_request.ApiError) as raised:
        parsed(**fields)
    assert (raised.value.status, raised.value.body["error"]["param"]) == (400, param)


def test_a_body_that_is_no_object() -> None:
    """A list is not a request."""
    with pytest.raises(chat_request.ApiError, match="JSON object"):
        chat_request.parse([])
