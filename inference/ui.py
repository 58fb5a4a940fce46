"""The chat page at `/`: gradio over the same `answers` as the API. Everything it needs comes from this server.

The conversation lives in the browser and comes along with each question: users can't meet and a restart loses
nothing. Importing this imports gradio, which takes seconds: do it beside loading the model.
"""

from __future__ import annotations

import html
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import fastapi
import gradio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference import admission, answers, conversation, engine, settings

Update = dict[Any, Any]
# The page may load from this server only. gradio's frontend evaluates code and styles inline.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
_STYLE = """
.gradio-container > .main { max-width: 60rem !important; padding: 1rem clamp(.5rem, 3vw, 2rem) !important; }
.placeholder { text-align: center; }
#facts { text-align: center; overflow-wrap: anywhere; }
#facts h1 { margin: 0; font-size: 1.25rem; }
#facts p { margin: 0; font-size: .85rem; }
#notice p { margin: 0; padding: .5rem .75rem; border-radius: .5rem; border: 1px solid var(--error-border-color);
  background: var(--error-background-fill); color: var(--error-text-color); }
"""
# gradio's grey is too pale to read for many.
_GREY = {
    "body_text_color_subdued": "*neutral_500",
    "input_placeholder_color": "*neutral_500",
    "input_placeholder_color_dark": "*neutral_400",
}
_WELCOME = "### Ask something\nThe conversation is kept in this browser tab only."
# In the browser, because only there it is known what was typed meanwhile.
_GIVE_BACK = "(typed, unsent) => [[unsent, typed].filter(Boolean).join('\\n'), '']"
_BODY_AT_MOST = 4 * 2**20
"""Bytes. A conversation comes whole with each question, and no context holds this much."""
_MOST_NEW_TOKENS = 1000
_USUAL_NEW_TOKENS = 250


@dataclass(frozen=True)
class Shown:
    """The page at one moment. `unsent` is a question that goes back into the message box."""

    turns: list[conversation.Turn]
    unsent: str = ""
    trouble: str = ""


def mount(
    app: fastapi.FastAPI,
    opened: answers.Answers,
    *,
    release: str | None,
    limits: settings.Settings,
) -> None:
    """Put the page at `/` of `app`; routes that `app` already has win."""
    # gradio sums up all its events so far after each of them, for a dashboard that is off.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(sys.maxsize))
    page = Page(opened, release=release, limits=limits).blocks
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
        # Nothing here is uploaded, yet gradio would take files from anybody.
        max_file_size=0,
        root_path=limits.root_path or None,
        theme=gradio.themes.Default(
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ).set(**_GREY),
        css=_STYLE,
    )
    app.add_middleware(Guard)


class Page:
    """The components, and what happens when somebody uses them."""

    def __init__(self, opened: answers.Answers, *, release: str | None, limits: settings.Settings) -> None:
        self._opened = opened
        self._release = release
        with gradio.Blocks(title=f"Chat · {limits.model_id}", fill_height=True, analytics_enabled=False) as self.blocks:
            self._facts = gradio.HTML(self.facts(), elem_id="facts")
            self._chat = _chatbot(limits.examples)
            self._notice = gradio.HTML(visible=False, elem_id="notice")
            self._box = _message_box()
            self._unsent = gradio.Textbox(visible=False)
            with gradio.Accordion("Settings", open=False):
                self._controls = _controls(limits)
            self._wire()

    def _wire(self) -> None:
        """The box changes apart from the answer, so that it is right however that ends: done, stopped or failed."""
        at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        self.blocks.load(self.facts, None, self._facts, **at_once)
        shown = [self._chat, self._box, self._unsent, self._notice, self._facts]
        queued: dict[str, Any] = {"concurrency_limit": None, "show_progress": "minimal", "api_visibility": "private"}
        starts = [self._box.submit, self._chat.example_select, self._chat.retry]
        gradio.on(starts, lambda: gradio.update(submit_btn=False, stop_btn="Stop"), None, self._box, **at_once)
        answering = [
            self._box.submit(self.ask, [self._box, self._chat, *self._controls], shown, **queued),
            self._chat.example_select(self.example, [self._chat, *self._controls], shown, **queued),
            self._chat.retry(self.retry, [self._chat, *self._controls], shown, **queued),
        ]
        stop = self._box.stop(self.stopped, self._chat, [self._chat, self._unsent], cancels=[*answering], **at_once)
        undo = self._chat.undo(conversation.undone, self._chat, [self._chat, self._unsent], **at_once)
        for event in answering:
            event.then(lambda: gradio.update(submit_btn="Send", stop_btn=False), None, self._box, **at_once)
        for event in (*answering, stop, undo):
            box = [self._box, self._unsent]
            event.then(None, box, box, js=_GIVE_BACK, **at_once)

    def facts(self) -> str:
        """What answers now: an adapter may have been exchanged since the page was opened."""
        served = self._opened.served
        named = [("adapter", served.adapter or "none"), ("release", self._release or "none")]
        below = " · ".join(f"{name} <code>{html.escape(value)}</code>" for name, value in named)
        return f"<h1>{html.escape(served.model)}</h1><p>{below}</p>"

    async def ask(self, question: str, turns: list[conversation.Turn], *controls: Any) -> AsyncGenerator[Update, None]:
        """Answer `question`. When that fails before a word came, it is in the box again."""
        yield {self._box: ""}
        if not question.strip():
            return
        begun, failed = _asked(question, turns)
        async with aclosing(self._answered(begun, failed, controls)) as updates:
            async for update in updates:
                yield update

    async def example(
        self, chosen: gradio.SelectData, turns: list[conversation.Turn], *controls: Any
    ) -> AsyncGenerator[Update, None]:
        """Ask one of the examples. The box keeps what is in it."""
        begun, failed = _asked(chosen.value["text"], turns)
        async with aclosing(self._answered(begun, failed, controls)) as updates:
            async for update in updates:
                yield update

    async def retry(self, turns: list[conversation.Turn], *controls: Any) -> AsyncGenerator[Update, None]:
        """Answer the last question anew. When that fails before a word came, the old answer is there again."""
        begun = Shown(turns[: conversation.last_question(turns) + 1])
        async with aclosing(self._answered(begun, Shown(turns), controls)) as updates:
            async for update in updates:
                yield update

    async def _answered(self, begun: Shown, failed: Shown, controls: tuple[Any, ...]) -> AsyncGenerator[Update, None]:
        yield self._update(begun)
        now = failed
        try:
            set_to = conversation.Controls(*controls)
            async with aclosing(conversation.reply(self._opened, begun.turns, set_to)) as reply:
                async for text in reply:
                    now = Shown([*begun.turns, conversation.turn("assistant", text)])
                    yield self._update(now)
        except (engine.BadPrompt, engine.EngineError, admission.Refused) as error:
            yield self._update(replace(now, trouble=_trouble(error)))

    def _update(self, now: Shown) -> Update:
        trouble = f'<p role="alert">{html.escape(now.trouble)}</p>'
        return {
            self._chat: now.turns,
            self._unsent: now.unsent,
            self._notice: gradio.update(value=trouble, visible=bool(now.trouble)),
            self._facts: self.facts(),
        }

    def stopped(self, turns: list[conversation.Turn]) -> Update:
        """The answer so far stays; a question without one goes back into the box."""
        if not turns or turns[-1]["role"] != "user":
            return {self._unsent: ""}
        return dict(zip((self._chat, self._unsent), conversation.undone(turns), strict=True))


def _asked(question: str, turns: list[conversation.Turn]) -> tuple[Shown, Shown]:
    """The page while `question` is being answered, and when it can't be."""
    return Shown([*turns, conversation.turn("user", question)]), Shown(turns, unsent=question)


def _trouble(error: Exception) -> str:
    """In words, with when to try again where that is known."""
    text = str(error)
    hint = f". Try again in {error.retry_after} s." if isinstance(error, admission.Refused) else ""
    return text[:1].upper() + text[1:] + hint


def _chatbot(examples: tuple[str, ...]) -> gradio.Chatbot:
    return gradio.Chatbot(
        label="Conversation",
        show_label=False,
        scale=1,
        min_height=240,
        # Without "share": that button would post the chat to a public site.
        buttons=["copy", "copy_all"],
        examples=[{"text": text} for text in examples],
        placeholder=_WELCOME,
    )


def _message_box() -> gradio.Textbox:
    return gradio.Textbox(
        label="Your message",
        elem_id="message",
        placeholder="Your message",
        show_label=False,
        autofocus=True,
        max_lines=12,
        submit_btn="Send",
    )


def _controls(limits: settings.Settings) -> list[gradio.components.Component]:
    """In the order of `conversation.Controls`."""
    most = min(_MOST_NEW_TOKENS, limits.max_new_tokens)
    system = gradio.Textbox(limits.system_prompt, label="System prompt", lines=2, max_lines=8)
    with gradio.Row():
        tokens = _slider("Max new tokens", 1, most, min(_USUAL_NEW_TOKENS, most), step=1)
        temperature = _slider("Temperature", 0.0, 5.0, 0.8, step=0.1, info="0 always takes the likeliest word.")
    with gradio.Row():
        top_p = _slider("Top-p", 0.05, 1.0, 0.95, step=0.05)
        top_k = _slider("Top-k", 1, 50, 50, step=1)
    return [system, tokens, temperature, top_p, top_k]


def _slider(
    label: str, least: float, most: float, usual: float, *, step: float, info: str | None = None
) -> gradio.Slider:
    return gradio.Slider(least, most, usual, step=step, label=label, info=info, min_width=280)


class Guard:
    """Tells the browser, with every page, to load nothing from elsewhere, and lets gradio read no endless body."""

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

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (status_code := _refused(scope)) is not None:
            await PlainTextResponse("the conversation is too large", status_code)(scope, receive, send)
        else:
            await self._app(scope, receive, marked)


def _refused(scope: Scope) -> int | None:
    """The HTTP status for a body to gradio that is too large, or of a length that isn't told."""
    if scope["method"] != "POST" or not scope["path"].startswith("/gradio_api/"):
        return None
    length = Headers(scope=scope).get("content-length", "")
    if not length.isdecimal():
        return 411
    return 413 if int(length) > _BODY_AT_MOST else None
