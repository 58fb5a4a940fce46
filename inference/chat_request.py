"""A chat completion request: OpenAI's JSON in, a checked value or an `ApiError` out. Pure.

What can't be honoured is refused by name; nothing is silently ignored but what has no effect on the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NO_EFFECT = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})
# Parameters that mean nothing at these values, which some clients always send.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "tools": ([],),
    "response_format": ({"type": "text"},),
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_STOPS_AT_MOST = 4


class ApiError(Exception):
    """An error in OpenAI's terms: HTTP status, and `type`, `param` and `code` of its envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True)
class ChatRequest:
    """`max_tokens` None means: as many as there is room for."""

    model: str | None
    messages: tuple[dict[str, str], ...]
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = field(default=())
    stream: bool = False
    include_usage: bool = False


def parse(body: Any) -> ChatRequest:
    """`body` is decoded JSON. Raises ApiError."""
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    given = {name: value for name, value in body.items() if value is not None and name not in NO_EFFECT}
    for name in given.keys() - _PARAMETERS:
        if given[name] not in _NEUTRAL.get(name, ()):
            raise ApiError(400, f"unsupported parameter: {name!r}", param=name, code="unsupported_parameter")
    stream = _boolean(given, "stream")
    return ChatRequest(
        model=_string(given, "model"),
        messages=_messages(given.get("messages")),
        max_tokens=_max_tokens(given),
        temperature=_number(given, "temperature", default=1.0, most=2.0),
        top_p=_number(given, "top_p", default=1.0, most=1.0),
        stop=_stops(given.get("stop")),
        stream=stream,
        include_usage=_include_usage(given.get("stream_options"), stream=stream),
    )


_PARAMETERS = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "stream",
        "stream_options",
    }
)


def _bad(param: str, problem: str) -> ApiError:
    return ApiError(400, f"{param}: {problem}", param=param)


def _string(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise _bad(name, "must be a string")
    return value


def _boolean(given: dict[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise _bad(name, "must be true or false")
    return value


def _number(given: dict[str, Any], name: str, *, default: float, most: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _bad(name, f"must be a number from 0 to {most:g}")
    return float(value)


def _max_tokens(given: dict[str, Any]) -> int | None:
    names = [name for name in ("max_completion_tokens", "max_tokens") if name in given]
    if len(names) == 2:
        raise _bad(names[1], "can't be given together with max_completion_tokens")
    if not names:
        return None
    value = given[names[0]]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(names[0], "must be a whole number of at least 1")
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
    for name in options.keys() - {"include_usage", "include_obfuscation"}:
        raise _bad(f"stream_options.{name}", "unsupported parameter")
    return _boolean(options, "include_usage")


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
