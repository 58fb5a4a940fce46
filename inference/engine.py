"""What the API and the chat page ask of an engine. Values and one protocol; no torch here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from inference import status

Message = Mapping[str, str]
"""`role` (system, user or assistant) and `content`."""


class EngineError(Exception):
    """This answer failed; the next one may work."""


class EngineDown(EngineError):
    """The engine can't answer anybody until the process restarts."""


class BadPrompt(Exception):
    """The messages or token ids can't be generated from. The message is for the client."""


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 means greedy: the same prompt gives the same answer."""

    max_new_tokens: int
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Delta:
    """A piece of an answer: new text, how many new tokens, and on the last piece `stop` or `length`.

    With no text, no tokens and no finish it is a sign of life: sent about every second while nothing comes.
    """

    text: str = ""
    tokens: int = 0
    finish: str | None = None


@dataclass(frozen=True)
class CachePlan:
    """The key/value cache: `blocks` of `page` tokens, `batch` tokens per step, `context` tokens for one request."""

    page: int
    blocks: int
    batch: int
    context: int

    @property
    def capacity(self) -> int:
        """Tokens that all running requests may hold. One block stays free: a request starts with one more."""
        return (self.blocks - 1) * self.page


class Engine(Protocol):
    """Called on one event loop. Closing a `generate` stream early cancels the generation."""

    served: status.Served
    capacity: int
    """Tokens (prompts plus answers) that all running requests may hold together."""
    page: int
    """A request holds its tokens in whole pages of this many."""

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's token ids, special tokens in the messages' own text removed. Raises BadPrompt."""

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Raises BadPrompt before the engine sees what would break it, EngineError, EngineDown."""

    def problem(self) -> str | None:
        """Why only a restart of the process helps, or None."""

    def start(self) -> None: ...

    def stop(self, *, timeout: float) -> None:
        """Blocks until the engine's thread ended, `timeout` seconds at most. Open generations fail."""
