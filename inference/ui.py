"""The chat page at `/`: gradio over the same `answers` as the API. Everything it needs comes from this server.

Importing this imports gradio, which takes seconds: do it beside loading the model.
"""

from __future__ import annotations

import html
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import fastapi
import gradio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference import admission, answers, engine, settings, status

_TITLE = "Chat"
# The page may load from this server only. gradio's frontend evaluates code and styles inline.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'"
)


def mount(
    app: fastapi.FastAPI,
    opened: answers.Answers,
    *,
    served: status.Served,
    release: str | None,
    limits: settings.Settings,
) -> None:
    """Put the page at `/` of `app`; routes that `app` already has win."""
    page = _page(opened, served=served, release=release)
    page.queue(max_size=limits.max_inflight + limits.max_queue, default_concurrency_limit=None)
    gradio.mount_gradio_app(
        app,
        page,
        path="/",
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        show_error=True,
        root_path=limits.root_path or None,
        theme=gradio.themes.Base(
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
    )
    app.add_middleware(SelfContained)


def _page(opened: answers.Answers, *, served: status.Served, release: str | None) -> gradio.Blocks:
    async def reply(message: str, history: list[dict[str, Any]]) -> AsyncGenerator[str, None]:
        messages = [{"role": turn["role"], "content": _text(turn["content"])} for turn in history]
        messages.append({"role": "user", "content": message})
        async for text in _reply(opened, messages):
            yield text

    return gradio.ChatInterface(
        reply,
        # Without "share": that button would post the chat to a public site.
        chatbot=gradio.Chatbot(scale=1, show_label=False, buttons=["copy", "copy_all"]),
        title=f"{_TITLE} · {served.model}",
        description=_description(served, release),
        concurrency_limit=None,
        analytics_enabled=False,
        api_visibility="undocumented",
        fill_height=True,
    )


def _description(served: status.Served, release: str | None) -> str:
    facts = [("model", served.model), ("adapter", served.adapter or "none"), ("release", release or "none")]
    return " · ".join(f"{name} <code>{html.escape(value)}</code>" for name, value in facts)


async def _reply(opened: answers.Answers, messages: list[dict[str, str]]) -> AsyncGenerator[str, None]:
    """The answer so far, again and again. A closed browser closes this, which cancels the generation."""
    try:
        prompt = opened.prompt(messages, max_tokens=None, temperature=0.0, top_p=1.0)
        answer = await opened.open(prompt, request_id=f"page-{uuid.uuid4().hex}")
    except (engine.BadPrompt, admission.Refused) as error:
        raise gradio.Error(str(error)) from error
    text = ""
    try:
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                if piece:
                    text += piece
                    yield text
    except (engine.EngineError, engine.BadPrompt) as error:
        raise gradio.Error(str(error)) from error
    finally:
        answer.close()


def _text(content: Any) -> str:
    """gradio hands earlier turns over as a string or as a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, dict))


class SelfContained:
    """Tells the browser, with every page, to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers["content-security-policy"] = _POLICY
                    headers["referrer-policy"] = "no-referrer"
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)
