"""A conversation as the chat page keeps it, and how it is answered. Knows nothing of gradio but how it writes turns."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from inference import answers

Turn = dict[str, Any]
"""`role` (user or assistant) and `content`: a string, or gradio's list of parts."""
_SHOWN_EVERY = 0.05
"""Seconds between two states of a growing answer: more often costs the server more than the eye gains."""


@dataclass(frozen=True)
class Controls:
    """What is set beside the question, in the order of the page's inputs. Temperature 0 is greedy."""

    system: str
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int


def turn(role: str, content: str) -> Turn:
    """One turn of a conversation."""
    return {"role": role, "content": content}


def undone(turns: list[Turn]) -> tuple[list[Turn], str]:
    """The conversation without its last question and answer, and that question."""
    at = last_question(turns)
    return turns[:at], _text(turns[at]["content"])


def last_question(turns: list[Turn]) -> int:
    """Where in the conversation it is."""
    return max(at for at, said in enumerate(turns) if said["role"] == "user")


async def reply(opened: answers.Answers, turns: list[Turn], controls: Controls) -> AsyncGenerator[str, None]:
    """The answer so far, again and again. Closing this early cancels it. Raises BadPrompt, EngineError, Refused."""
    messages = [turn(said["role"], _text(said["content"])) for said in turns]
    if controls.system.strip():
        messages.insert(0, turn("system", controls.system))
    answer = await opened.open(_prompt(opened, messages, controls), request_id=f"page-{uuid.uuid4().hex}")
    text = shown = ""
    due = 0.0
    try:
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                text += piece
                if text != shown and (answer.finish or time.monotonic() >= due):
                    shown, due = text, time.monotonic() + _SHOWN_EVERY
                    yield text
    finally:
        answer.close()


def _prompt(opened: answers.Answers, messages: list[Turn], controls: Controls) -> answers.Prompt:
    """With fewer new tokens than set where the context has no room for all of them. Raises BadPrompt."""

    def fitted(max_tokens: int | None) -> answers.Prompt:
        return opened.prompt(
            messages,
            max_tokens=max_tokens,
            temperature=controls.temperature,
            top_p=controls.top_p,
            top_k=controls.top_k,
        )

    try:
        return fitted(controls.max_new_tokens)
    except answers.PromptTooLong:
        return fitted(None)


def _text(content: Any) -> str:
    """gradio hands earlier turns over as a string or as a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, dict))
