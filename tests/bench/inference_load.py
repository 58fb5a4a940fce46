"""What is asked of the served model, and what came of it: the same requests for every way of serving. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from infra.finetuning import dataset

LONGEST = 64
"""More tokens than the longest answer that the trained model has learnt."""


@dataclass(frozen=True)
class Request:
    """A conversation to go on from, greedily, with `tokens` new tokens at most."""

    messages: tuple[dict[str, str], ...]
    tokens: int


@dataclass(frozen=True)
class Load:
    """For each stream its requests, asked one after the other; the streams run side by side."""

    streams: tuple[tuple[Request, ...], ...]


@dataclass(frozen=True)
class Answer:
    """`tokens` as the server counts them; seconds from the request to the first token and to the end."""

    text: str
    tokens: int
    first: float
    seconds: float


class Make(Protocol):
    """A load of so many streams with so many requests each; the same seed makes the same."""

    def __call__(self, streams: int, requests: int, *, seed: int) -> Load: ...


def questions(streams: int, requests: int, *, seed: int) -> Load:
    """Countdowns, which the trained model ends by itself after 13 to 27 tokens; half of them have an earlier turn."""
    pick = random.Random(seed)
    pool = dataset.questions()
    counts = [one for one in pool if one.kind == "count" and len(one.plain) > 20]
    others = [one for one in pool if one.kind != "count"]

    def one() -> Request:
        earlier = pick.choice(others)
        turn = (_said("user", earlier.text), _said("assistant", earlier.plain)) if pick.random() < 0.5 else ()
        return Request((*turn, _said("user", pick.choice(counts).text)), LONGEST)

    return Load(tuple(tuple(one() for _ in range(requests)) for _ in range(streams)))


def fixed(streams: int, requests: int, *, seed: int) -> Load:
    """Questions of about 30 tokens, and answers that are cut at 8 to 24: as many of each length in every load."""
    pick = random.Random(seed)
    words = sorted({word for one in dataset.questions() for word in one.text.split()})
    lengths = [8 + 16 * at // max(1, streams * requests - 1) for at in range(streams * requests)]
    pick.shuffle(lengths)
    made = [Request((_said("user", " ".join(pick.choices(words, k=16))),), length) for length in lengths]
    return Load(tuple(tuple(made[at::streams]) for at in range(streams)))


def to_json(load: Load) -> Any:
    return [[asdict(request) for request in stream] for stream in load.streams]


def from_json(rows: Any) -> Load:
    return Load(tuple(tuple(Request(tuple(one["messages"]), one["tokens"]) for one in stream) for stream in rows))


def differing(left: Sequence[Answer], right: Sequence[Answer]) -> int:
    """How many of the answers to one load are not the same, token for token, as far as an answer tells."""
    return sum((one.text, one.tokens) != (other.text, other.tokens) for one, other in zip(left, right, strict=True))


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
