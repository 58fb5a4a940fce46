"""The chat page: served whole from here, streaming through the same gate as the API, nothing typed is lost."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from inference import conversation, engine, ui

SET = ("", 250, 0.8, 0.95, 50)
"""The controls: system prompt, new tokens, temperature, top-p, top-k."""
DIALOGUE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def page_of(app: Any, settings_of: Any, **env: str) -> Any:
    return ui.Page(app.answers, release="r1", limits=settings_of(**env))


class Shown:
    """What the page shows after each update."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.states: list[str] = []
        self.turns: list[dict[str, Any]] = []
        self.box: str | None = None
        self.unsent = ""
        self.trouble = ""

    def take(self, update: dict[Any, Any]) -> None:
        page = self._page
        self.turns = update.get(page._chat, self.turns)
        self.box = update.get(page._box, self.box)
        self.unsent = update.get(page._unsent, self.unsent)
        self.trouble = update.get(page._notice, {}).get("value", self.trouble)
        if self.turns and self.turns[-1]["role"] == "assistant":
            self.states.append(self.turns[-1]["content"])


async def shown(page: Any, updates: Any) -> Shown:
    seen = Shown(page)
    async for update in updates:
        seen.take(update)
    return seen


def config_of(text: str) -> Any:
    """The page's own description of itself, from its HTML."""
    return json.loads(text.split("window.gradio_config = ", 1)[1].split(";</script>", 1)[0])


async def test_the_page_and_the_api_share_an_address(scripted: Any, serve: Any) -> None:
    """`/` is the page and names model, adapter and release; /v1 stays the API, keys only there."""
    async with serve(scripted(), UI_ENABLED="1", API_KEYS="k") as app, httpx.AsyncClient(base_url=app.url) as http:
        assert (await http.get("/")).status_code == 200
        facts = json.dumps((await http.get("/config")).json()["components"])
        assert all(name in facts for name in ("<h1>tiny</h1>", "<code>pirate</code>", "<code>r1</code>"))
        assert (await http.get("/v1/models")).status_code == 401


async def test_nothing_is_loaded_from_elsewhere(scripted: Any, serve: Any) -> None:
    """The browser is told so, and the page's own links and scripts are local."""
    async with serve(scripted(), UI_ENABLED="1") as app, httpx.AsyncClient(base_url=app.url) as http:
        page = await http.get("/")
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
        loaded = re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"(https?://[^\"]+)", page.text)
        assert [address for address in loaded if not address.startswith(app.url)] == []


async def test_nothing_can_be_uploaded(scripted: Any, serve: Any) -> None:
    """gradio's upload route takes no bytes: the page needs none, and the disk is small."""
    async with serve(scripted(), UI_ENABLED="1") as app, httpx.AsyncClient(base_url=app.url) as http:
        answer = await http.post("/gradio_api/upload", files={"files": ("a.txt", b"x")})
        assert (answer.status_code, "exceeded" in answer.text) == (413, True)


async def test_no_endless_question_is_read(scripted: Any, serve: Any) -> None:
    """gradio would read any body into memory: too large a one is refused unread, as is one of unknown length."""

    async def unknown() -> AsyncIterator[bytes]:
        yield b"{}"

    async with serve(scripted(), UI_ENABLED="1") as app, httpx.AsyncClient(base_url=app.url) as http:
        large = await http.post("/gradio_api/queue/join", content=bytes(5 * 2**20))
        assert (large.status_code, large.text) == (413, "the conversation is too large")
        assert (await http.post("/gradio_api/queue/join", content=unknown())).status_code == 411


@pytest.mark.parametrize(
    ("env", "headers", "root"),
    [
        ({}, {"host": "chat.example.org", "x-forwarded-proto": "https"}, "https://chat.example.org"),
        ({}, {"x-forwarded-host": "chat.example.org", "x-forwarded-proto": "https"}, "https://chat.example.org"),
        (
            {"ROOT_PATH": "/tiny"},
            {"x-forwarded-host": "chat.example.org", "x-forwarded-proto": "https"},
            "https://chat.example.org/tiny",
        ),
    ],
)
async def test_behind_an_ingress(
    scripted: Any, serve: Any, env: dict[str, str], headers: dict[str, str], root: str
) -> None:
    """The browser is sent to the public address, under the public path."""
    async with serve(scripted(), UI_ENABLED="1", **env) as app, httpx.AsyncClient(base_url=app.url) as http:
        text = (await http.get("/", headers=headers)).text
        assert config_of(text)["root"] == root
        assert app.url not in text


async def test_an_answer_grows(scripted: Any, serve: Any, settings_of: Any) -> None:
    """The question is shown at once and the box emptied; then the answer so far, again and again, to its end."""
    async with serve(scripted()) as app:
        page = page_of(app, settings_of)
        seen = await shown(page, page.ask("hello", [], *SET))
        assert (seen.states[0], seen.states[-1]) == ("one", "one two three")
        assert (seen.turns[0], seen.box, seen.unsent) == ({"role": "user", "content": "hello"}, "", "")
        assert app.answers.in_flight == 0


async def test_earlier_turns_and_the_system_prompt_are_sent_along(scripted: Any, serve: Any, settings_of: Any) -> None:
    """gradio's lists of parts become plain text; an empty system prompt is none."""
    async with serve(scripted()) as app:
        page = page_of(app, settings_of)
        history = [{"role": "user", "content": [{"text": "a", "type": "text"}, {"text": "b", "type": "text"}]}]
        await shown(page, page.ask("c", history, "be brief", *SET[1:]))
        assert [turn["content"] for turn in app.engine.prompts[0]] == ["be brief", "ab", "c"]
        await shown(page, page.ask("c", [], "  ", *SET[1:]))
        assert app.engine.prompts[-1] == [{"role": "user", "content": "c"}]


async def test_the_controls_reach_the_engine(scripted: Any, serve: Any, settings_of: Any) -> None:
    """As they are set; temperature 0 is greedy, and what the context has no room for is not insisted on."""
    async with serve(scripted(context=20)) as app:
        page = page_of(app, settings_of)
        await shown(page, page.ask("a b c", [], "", 7, 1.5, 0.5, 3))
        await shown(page, page.ask("a b c", [], "", 250, 0.0, 0.5, 3))
        first, second = app.engine.calls
        assert first == engine.Sampling(7, 1.5, 0.5, 3)
        assert (second.temperature, second.max_new_tokens) == (0.0, 17)


async def test_the_controls_begin_as_configured(scripted: Any, serve: Any, settings_of: Any) -> None:
    """The ranges and defaults of the sliders, within the server's limit; system prompt and examples from settings."""
    async with serve(scripted()) as app:
        page = page_of(app, settings_of, MAX_NEW_TOKENS="100", SYSTEM_PROMPT="be kind", EXAMPLE_PROMPTS="x\ny")
        system, *sliders = page._controls
        assert system.value == "be kind"
        assert [(slider.minimum, slider.maximum, slider.value, slider.step) for slider in sliders] == [
            (1, 100, 100, 1),
            (0.0, 5.0, 0.8, 0.1),
            (0.05, 1.0, 0.95, 0.05),
            (1, 50, 50, 1),
        ]
        assert [example["text"] for example in page._chat.examples] == ["x", "y"]
        wide = page_of(app, settings_of, MAX_NEW_TOKENS="4000")._controls[1]
        assert (wide.maximum, wide.value) == (1000, 250)


async def test_what_answers_is_shown_anew(scripted: Any, serve: Any, settings_of: Any) -> None:
    """After an exchange of the adapter the next answer, or the next visit, shows the new one; names are escaped."""
    async with serve(scripted()) as app:
        page = page_of(app, settings_of)
        app.engine.served = dataclasses.replace(app.engine.served, adapter="<b>")
        updates = [update async for update in page.ask("hello", [], *SET)]
        assert "&lt;b&gt;" in updates[-1][page._facts]
        assert "&lt;b&gt;" in page.facts()


async def test_retry_answers_the_last_question_anew(scripted: Any, serve: Any, settings_of: Any) -> None:
    """The old answer is not in the prompt, the turns before are."""
    async with serve(scripted()) as app:
        page = page_of(app, settings_of)
        question = {"role": "user", "content": "c"}
        turns = [*DIALOGUE, question, {"role": "assistant", "content": "old"}]
        seen = await shown(page, page.retry(turns, *SET))
        assert app.engine.prompts[-1] == [*DIALOGUE, question]
        assert seen.turns == [*DIALOGUE, question, {"role": "assistant", "content": "one two three"}]


def test_undo_gives_the_question_back() -> None:
    """The conversation without its last exchange, and what was asked there."""
    assert conversation.undone([*DIALOGUE, {"role": "user", "content": [{"text": "c", "type": "text"}]}]) == (
        DIALOGUE,
        "c",
    )


async def test_a_stopped_answer_stays(scripted: Any, serve: Any, settings_of: Any) -> None:
    """As far as it came; a question that nothing was said to goes back into the box."""
    async with serve(scripted()) as app:
        page = page_of(app, settings_of)
        assert page.stopped(DIALOGUE) == {page._unsent: ""}
        asked = [*DIALOGUE, {"role": "user", "content": "c"}]
        assert page.stopped(asked) == {page._chat: DIALOGUE, page._unsent: "c"}


async def test_a_closed_browser_cancels(scripted: Any, serve: Any, settings_of: Any) -> None:
    """Closing the stream frees the place and stops the engine."""
    held = scripted()
    held.hold.clear()
    async with serve(held) as app:
        updates = page_of(app, settings_of).ask("hello", [], *SET)
        for _ in range(3):
            await anext(updates)
        assert held.open == 1
        await updates.aclose()
        assert (held.open, held.cancelled, app.answers.in_flight) == (0, 1, 0)


async def test_a_refused_question_is_not_lost(scripted: Any, serve: Any, settings_of: Any) -> None:
    """Overload, draining and too long a prompt are said in words; the question goes back into the box."""
    held = scripted(context=10)
    held.hold.clear()
    async with serve(held, MAX_INFLIGHT="1", MAX_QUEUE="0") as app:
        page = page_of(app, settings_of)
        long = await shown(page, page.ask("word " * 11, DIALOGUE, *SET))
        assert (long.turns, long.unsent) == (DIALOGUE, "word " * 11)
        assert "10 tokens" in long.trouble
        assert "13 tokens" in long.trouble
        updates = page.ask("hello", [], *SET)
        for _ in range(3):
            await anext(updates)
        busy = await shown(page, page.ask("c", DIALOGUE, *SET))
        assert (busy.turns, busy.unsent) == (DIALOGUE, "c")
        assert "Too many requests are waiting. Try again in 1 s." in busy.trouble
        again = await shown(page, page.retry(DIALOGUE, *SET))
        assert (again.turns, again.unsent) == (DIALOGUE, "")
        await updates.aclose()
        app.answers.close()
        assert "shutting down" in (await shown(page, page.ask("c", DIALOGUE, *SET))).trouble


async def test_a_broken_answer_stays_as_far_as_it_came(scripted: Any, serve: Any, settings_of: Any) -> None:
    """With what went wrong beside it."""
    broken = scripted()
    broken.failure = engine.EngineError("boom <1>")
    async with serve(broken) as app:
        page = page_of(app, settings_of)
        seen = await shown(page, page.ask("hello", [], *SET))
        assert (seen.turns[-1]["content"], seen.unsent) == ("one", "")
        assert 'role="alert">Boom &lt;1&gt;<' in seen.trouble
        assert app.answers.in_flight == 0


async def test_an_empty_question_asks_nothing(scripted: Any, serve: Any, settings_of: Any) -> None:
    """Enter on blanks empties the box."""
    async with serve(scripted()) as app:
        page = page_of(app, settings_of)
        seen = await shown(page, page.ask(" \n", DIALOGUE, *SET))
        assert (seen.box, seen.turns, app.engine.prompts) == ("", [], [])


async def test_users_are_answered_side_by_side(scripted: Any, serve: Any, until: Any) -> None:
    """The page has no queue of its own in front of the gate."""
    held = scripted()
    held.hold.clear()
    async with serve(held, UI_ENABLED="1") as app, httpx.AsyncClient(base_url=app.url) as http:
        submit = next(
            entry
            for entry in (await http.get("/config")).json()["dependencies"]
            if entry["targets"][0][1] == "submit" and entry["queue"] is not False
        )
        for user in ("first", "second", "third"):
            asked = {"fn_index": submit["id"], "session_hash": user, "data": ["hello", [], *SET]}
            (await http.post("/gradio_api/queue/join", json=asked)).raise_for_status()
        await until(lambda: held.open == 3)
        held.hold.set()
        await until(lambda: app.answers.in_flight == 0)
