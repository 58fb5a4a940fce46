"""What the API and the chat page ask of an engine. Values and one protocol; no torch here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from inference import status

T = TypeVar("T")
Message = Mapping[str, str]
"""`role` (system, user or assistant) and `content`."""


class EngineError(Exception):
    """This answer failed; the next one may work."""


class EngineDown(EngineError):
    """The engine can't answer anybody until the process restarts."""


class BadPrompt(Exception):
    """The messages, token ids or sampling can't be generated from. The message is for the client."""


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 means greedy: the same prompt gives the same answer. `top_k` None: no limit."""

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int | None = None


@dataclass(frozen=True)
class Delta:
    """A piece of an answer: new text, how many new tokens, and on the last piece `stop` or `length`.

    `more` promises that the next piece follows at once: both may be shown together. With no text, no tokens and no
    finish it is a sign of life: sent about every second while nothing comes.
    """

    text: str = ""
    tokens: int = 0
    finish: str | None = None
    more: bool = False


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
    """Replaced when another adapter is put in: ask for it anew each time."""
    vocabulary: int
    """Token ids are smaller than this."""
    capacity: int
    """Tokens (prompts plus answers) that all running requests may hold together."""
    page: int
    """A request holds its tokens in whole pages of this many."""

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's token ids, special tokens in the messages' own text removed. Raises BadPrompt."""

    def encode_text(self, text: str) -> list[int]:
        """Plain text's token ids, as the tokenizer begins a text, special tokens' strings removed. Raises BadPrompt."""

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Raises BadPrompt before the engine sees what would break it, EngineError, EngineDown."""

    async def exclusive(self, work: Callable[[], T]) -> T:
        """The result of `work`, run in a thread while nothing is generated and what the cache knows is forgotten.

        Nothing may be in flight. Raises EngineError, EngineDown and what `work` raises; ends only when `work` has.
        """

    def problem(self) -> str | None:
        """Why only a restart of the process helps, or None."""

    def start(self) -> None: ...

    def stop(self, *, timeout: float) -> None:
        """Blocks until the engine's thread ended, `timeout` seconds at most. Open generations fail."""
