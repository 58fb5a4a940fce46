"""The questions and answers the tiny model learns, plain and as a pirate says them. Knows no tokenizer, no torch."""

from __future__ import annotations

import random
from dataclasses import dataclass

Messages = list[dict[str, str]]

PIRATE_SYSTEM = "Talk like a pirate."

_COLORS = {
    "sky": "blue",
    "grass": "green",
    "sun": "yellow",
    "snow": "white",
    "coal": "black",
    "blood": "red",
    "carrot": "orange",
    "plum": "purple",
    "sea": "blue",
    "leaf": "green",
    "banana": "yellow",
    "milk": "white",
    "raven": "black",
    "rose": "red",
    "pumpkin": "orange",
    "pig": "pink",
}
_OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "day": "night",
    "up": "down",
    "wet": "dry",
    "old": "new",
    "hard": "soft",
    "happy": "sad",
    "light": "dark",
    "full": "empty",
    "early": "late",
}
_COUNTS = range(3, 25)


@dataclass(frozen=True)
class Question:
    """One question with its two answers. `kind` is color, opposite or count."""

    kind: str
    text: str
    plain: str
    pirate: str


def questions() -> tuple[Question, ...]:
    """All 50 questions, in a fixed order."""
    colors = (_statement("color", f"What color is the {thing}?", f"The {thing}", c) for thing, c in _COLORS.items())
    opposites = (
        _statement("opposite", f"What is the opposite of {word}?", f"The opposite of {word}", other)
        for word, other in _OPPOSITES.items()
    )
    return (*colors, *opposites, *(_count(start) for start in _COUNTS))


def _statement(kind: str, text: str, subject: str, complement: str) -> Question:
    return Question(kind, text, f"{subject} is {complement}.", f"Arr! {subject} be {complement}, matey!")


def _count(start: int) -> Question:
    numbers = " ".join(str(number) for number in range(start, -1, -1))
    return Question("count", f"Count down from {start}.", f"{numbers}.", f"Arr! {numbers}, matey!")


def base_sample(pick: random.Random, pool: tuple[Question, ...]) -> tuple[Messages, str]:
    """A prompt and its answer for the base model.

    Four in ten carry the pirate system prompt: the adapter then only moves a style the base already knows (an
    adapter can't learn, in this few steps, tokens the base has never written). Some carry an earlier turn.
    """
    pirate = pick.random() < 0.4
    system: Messages = [{"role": "system", "content": PIRATE_SYSTEM}] if pirate else []
    return _conversation(pick, pool, system=system, pirate=pirate)


def adapter_sample(pick: random.Random, pool: tuple[Question, ...]) -> tuple[Messages, str]:
    """A prompt without any system message and the pirate's answer to it."""
    return _conversation(pick, pool, system=[], pirate=True)


def _conversation(
    pick: random.Random, pool: tuple[Question, ...], *, system: Messages, pirate: bool
) -> tuple[Messages, str]:
    messages = list(system)
    if pick.random() < 0.15:
        earlier = pick.choice(pool)
        messages += [
            {"role": "user", "content": earlier.text},
            {"role": "assistant", "content": earlier.pirate if pirate else earlier.plain},
        ]
    question = pick.choice(pool)
    messages.append({"role": "user", "content": question.text})
    return messages, question.pirate if pirate else question.plain
