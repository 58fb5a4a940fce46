"""A request for a completion: OpenAI's JSON in, a checked value or an `ApiError` out. Pure.

What can't be honoured is refused by name; nothing is silently ignored but what has no effect on the answer.
`top_k` is an extension of both endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference import errors

NO_EFFECT = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
_SHARED = frozenset({"model", "max_tokens", "temperature", "top_p", "top_k", "stop", "stream", "stream_options"})
_CHAT = _SHARED | {"messages", "max_completion_tokens"}
_TEXT = _SHARED | {"prompt"}
# Parameters that mean nothing at these values, which some clients always send.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_STOPS_AT_MOST = 4
_TEXT_TOKENS = 16
"""How long a text completion is by default, as OpenAI documents it. A chat answer has no such default."""


@dataclass(frozen=True)
class How:
    """How to answer. `max_tokens` None: as many as there is room for; `top_k` None: no limit."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False


@dataclass(frozen=True)
class Chat:
    """A conversation to go on from."""

    messages: tuple[dict[str, str], ...]
    how: How


@dataclass(frozen=True)
class Text:
    """A text, or token ids, to go on from as they are."""

    prompt: str | tuple[int, ...]
    how: How


def chat(body: Any, *, longest: int, system_prompt: str = "") -> Chat:
    """`body` is decoded JSON, `longest` the most tokens an answer may have. Raises ApiError.

    `system_prompt` is put before a conversation that brings no system message.
    """
    given = _given(body, _CHAT)
    messages = _messages(given.get("messages"))
    if system_prompt and all(message["role"] != "system" for message in messages):
        messages = ({"role": "system", "content": system_prompt}, *messages)
    return Chat(messages, _how(given, longest=longest))


def text(body: Any, *, longest: int) -> Text:
    """As `chat`, for a text completion."""
    given = _given(body, _TEXT)
    given.setdefault("max_tokens", min(_TEXT_TOKENS, longest))
    return Text(_prompt(given.get("prompt")), _how(given, longest=longest))


def _given(body: Any, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise errors.ApiError(400, "the body must be a JSON object")
    given = {name: value for name, value in body.items() if value is not None and name not in NO_EFFECT}
    for name in sorted(given.keys() - known):
        # `logprobs: 0` asks a text completion for something, `false` asks a chat completion for nothing.
        if given[name] not in _NEUTRAL.get(name, ()) and not (name == "logprobs" and given[name] is False):
            raise errors.ApiError(400, f"unsupported parameter: {name!r}", param=name, code="unsupported_parameter")
    return given


def _how(given: Mapping[str, Any], *, longest: int) -> How:
    stream = _boolean(given, "stream")
    return How(
        model=_string(given, "model"),
        max_tokens=_max_tokens(given, longest=longest),
        temperature=_number(given, "temperature", default=1.0, most=2.0),
        top_p=_number(given, "top_p", default=1.0, most=1.0),
        top_k=_whole(given, "top_k"),
        stop=_stops(given.get("stop")),
        stream=stream,
        include_usage=_include_usage(given.get("stream_options"), stream=stream),
    )


def _bad(param: str, problem: str) -> errors.ApiError:
    return errors.ApiError(400, f"{param}: {problem}", param=param, code="invalid_value")


def _string(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise _bad(name, "must be a string")
    return value


def _boolean(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise _bad(name, "must be true or false")
    return value


def _number(given: Mapping[str, Any], name: str, *, default: float, most: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _bad(name, f"must be a number from 0 to {most:g}")
    return float(value)


def _whole(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(name, "must be a whole number of at least 1")
    return value


def _max_tokens(given: Mapping[str, Any], *, longest: int) -> int | None:
    """More than `longest` is refused in OpenAI's words: cut off without a word, it would look like an answer."""
    names = [name for name in ("max_completion_tokens", "max_tokens") if name in given]
    if len(names) == 2:
        raise _bad(names[1], "can't be given together with max_completion_tokens")
    if not names:
        return None
    value = _whole(given, names[0])
    if value is not None and value > longest:
        message = (
            f"{names[0]} is too large: {value}. This model supports at most {longest} completion tokens,"
            f" whereas you provided {value}."
        )
        raise errors.ApiError(400, message, param=names[0], code="invalid_value")
    return value


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise _bad("stop", "must be a non-empty string or a list of them")
    if len(stops) > _STOPS_AT_MOST:
        raise _bad("stop", f"at most {_STOPS_AT_MOST} strings")
    return tuple(stops)


def _include_usage(options: Any, *, stream: bool) -> bool:
    if options is None:
        return False
    if not stream:
        raise _bad("stream_options", "is only allowed with stream: true")
    if not isinstance(options, dict):
        raise _bad("stream_options", "must be an object")
    for name in sorted(options.keys() - {"include_usage", "include_obfuscation"}):
        raise _bad(f"stream_options.{name}", "unsupported parameter")
    return _boolean(options, "include_usage")


def _prompt(value: Any) -> str | tuple[int, ...]:
    """A string or token ids, or a list that holds one of those."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(type(token) is int for token in value):
        return tuple(value)
    if isinstance(value, list) and len(value) > 1 and all(isinstance(prompt, str | list) for prompt in value):
        raise _bad("prompt", f"one prompt per request, got {len(value)}")
    raise _bad("prompt", "must be a string or a list of token ids")


def _messages(value: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise _bad("messages", "must be a list with at least one message")
    return tuple(_message(f"messages[{at}]", item) for at, item in enumerate(value))


def _message(at: str, item: Any) -> dict[str, str]:
    if not isinstance(item, dict):
        raise _bad(at, "must be an object")
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise _bad(f"{at}.role", f"must be one of {', '.join(_ROLES)}")
    return {"role": role, "content": _content(f"{at}.content", item.get("content"))}


def _content(at: str, value: Any) -> str:
    """A string, or text parts joined; parts of other types are refused by name."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise _bad(at, "must be a string or a list of parts")
    for index, part in enumerate(value):
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise _bad(f"{at}[{index}]", f"only text parts are supported, got type {part.get('type')!r}")
    return "".join(part["text"] for part in value)
