"""What OpenAI's completion objects look like: whole, in chunks, as server-sent events. Pure."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Usage:
    """Tokens read and generated."""

    prompt: int
    completion: int

    def body(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


@dataclass(frozen=True)
class Completion(ABC):
    """One completion: what its objects have in common. `created` is Unix time in seconds."""

    identity: str
    created: int
    model: str
    usage_told: bool
    """Chunks of a stream that ends with its usage say, each, that it isn't there yet."""

    whole_kind = ""
    chunk_kind = ""
    prefix = ""
    param = ""
    """The field of the request that brings the prompt."""

    def whole(self, text: str, *, finish: str | None, usage: Usage) -> dict[str, Any]:
        choice = {"index": 0, **self._whole(text), "logprobs": None, "finish_reason": finish}
        return {**self._head(self.whole_kind), "choices": [choice], "usage": usage.body()}

    def begin(self) -> bytes:
        """What a stream says before its first text."""
        return b""

    def piece(self, text: str) -> bytes:
        return self._chunk(self._piece(text), finish=None)

    def end(self, *, finish: str | None, usage: Usage) -> bytes:
        last = self._chunk(self._nothing(), finish=finish)
        if self.usage_told:
            last += event({**self._head(self.chunk_kind), "choices": [], "usage": usage.body()})
        return last + DONE

    def _chunk(self, content: dict[str, Any], *, finish: str | None) -> bytes:
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish}
        pending = {"usage": None} if self.usage_told else {}
        return event({**self._head(self.chunk_kind), "choices": [choice], **pending})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"{self.prefix}-{self.identity}",
            "object": kind,
            "created": self.created,
            "model": self.model,
        }

    @abstractmethod
    def _whole(self, text: str) -> dict[str, Any]: ...

    @abstractmethod
    def _piece(self, text: str) -> dict[str, Any]: ...

    @abstractmethod
    def _nothing(self) -> dict[str, Any]: ...


class Chat(Completion):
    whole_kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"
    prefix = "chatcmpl"
    param = "messages"

    def begin(self) -> bytes:
        return self._chunk({"delta": {"role": "assistant", "content": ""}}, finish=None)

    def _whole(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def _piece(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}}

    def _nothing(self) -> dict[str, Any]:
        return {"delta": {}}


class Text(Completion):
    whole_kind = chunk_kind = "text_completion"
    prefix = "cmpl"
    param = "prompt"

    def _whole(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def _piece(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def _nothing(self) -> dict[str, Any]:
        return {"text": ""}


def event(body: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
