"""The chat page: served whole from here, streaming through the same gate as the API."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import gradio
import httpx
import pytest

from inference import engine, ui

QUESTION = [{"role": "user", "content": "hello"}]


async def test_the_page_and_the_api_share_an_address(scripted: Any, serve: Any) -> None:
    """`/` is the page and names model, adapter and release; /v1 stays the API, keys only there."""
    async with serve(scripted(), UI_ENABLED="1", API_KEYS="k") as app, httpx.AsyncClient(base_url=app.url) as http:
        assert (await http.get("/")).status_code == 200
        shown = json.dumps((await http.get("/config")).json()["components"])
        assert all(f"<code>{name}</code>" in shown for name in ("tiny", "pirate", "r1"))
        assert (await http.get("/v1/models")).status_code == 401


async def test_nothing_is_loaded_from_elsewhere(scripted: Any, serve: Any) -> None:
    """The browser is told so, and the page's own links and scripts are local."""
    async with serve(scripted(), UI_ENABLED="1") as app, httpx.AsyncClient(base_url=app.url) as http:
        page = await http.get("/")
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
        loaded = re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"(https?://[^\"]+)", page.text)
        assert [address for address in loaded if not address.startswith(app.url)] == []


async def test_an_answer_grows(scripted: Any, serve: Any) -> None:
    """The page gets the text so far, again and again."""
    async with serve(scripted()) as app:
        shown = [text async for text in ui._reply(app.answers, QUESTION)]
        assert shown == ["one", "one two", "one two three"]
        assert app.answers.in_flight == 0


async def test_earlier_turns_are_sent_along(scripted: Any, serve: Any) -> None:
    """gradio's lists of parts become plain text."""
    async with serve(scripted()) as app:
        page: Any = ui._page(app.answers, served=app.engine.served, release=None)
        history = [{"role": "user", "content": [{"text": "a", "type": "text"}, {"text": "b", "type": "text"}]}]
        _ = [text async for text in page.fn("c", history)]
        assert app.engine.prompts == [[{"role": "user", "content": "ab"}, {"role": "user", "content": "c"}]]


async def test_a_closed_browser_cancels(scripted: Any, serve: Any, until: Any) -> None:
    """Closing the stream frees the place and stops the engine."""
    held = scripted()
    held.hold.clear()
    async with serve(held) as app:
        replies = ui._reply(app.answers, QUESTION)
        assert await anext(replies) == "one"
        await replies.aclose()
        assert (held.open, held.cancelled, app.answers.in_flight) == (0, 1, 0)


async def test_trouble_is_shown(scripted: Any, serve: Any, until: Any) -> None:
    """Overload and engine failures reach the page as messages."""
    broken = scripted()
    async with serve(broken, MAX_INFLIGHT="1", MAX_QUEUE="0") as app:
        broken.hold.clear()
        replies = ui._reply(app.answers, QUESTION)
        await anext(replies)
        with pytest.raises(gradio.Error, match="too many"):
            await anext(ui._reply(app.answers, QUESTION))
        broken.failure = engine.EngineError("boom")
        broken.hold.set()
        with pytest.raises(gradio.Error, match="boom"):
            await asyncio.wait_for(anext(replies), 5)
        assert app.answers.in_flight == 0
