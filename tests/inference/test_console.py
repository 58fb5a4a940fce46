"""`python -m inference chat`: a real process that talks to a real socket, on pipes and on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inference import engine, shell, status

ROOT = Path(__file__).parents[2]
CTRL_C, CTRL_D = "\x03", "\x04"


@pytest.fixture
def publish(serve: Any, listen: Any) -> Any:
    """`async with publish(engine, API_KEYS="k") as (url, app, state)`: the app with its probes, ready."""

    @contextlib.asynccontextmanager
    async def publish(scripted: Any, **env: str) -> AsyncIterator[tuple[str, Any, status.Status]]:
        state = status.Status(release="r1")
        outer = shell.Shell(state, lambda: b"")
        async with serve(scripted, **env) as app, listen(outer) as (url, _):
            outer.app = app.server.config.app
            state.ready(scripted.served)
            yield url, app, state

    return publish


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "inference", "chat", "--url", url, *arguments]


def environment(**env: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("API_KEY", "NO_COLOR")}
    return {**plain, "TERM": "xterm", **env}


async def chat(url: str, *arguments: str, typed: str = "", **env: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a chat on pipes."""
    child = await asyncio.create_subprocess_exec(
        *command(url, *arguments),
        cwd=ROOT,
        env=environment(**env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(typed.encode()), 30)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return child.returncode or 0, out.decode(), err.decode()


class Terminal:
    """A chat on a terminal of its own: what it shows, and what is typed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._shown = b""
        self._seen = 0
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            self._shown += os.read(self._descriptor, 65536)
        except OSError:  # the other end is gone
            asyncio.get_running_loop().remove_reader(self._descriptor)

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    async def shows(self, text: str) -> None:
        """Wait until it shows `text`, after what was waited for before."""
        async with asyncio.timeout(20):
            while (at := self._shown.find(text.encode(), self._seen)) < 0:  # noqa: ASYNC110 (a fact of another process)
                await asyncio.sleep(0.01)
        self._seen = at + len(text.encode())

    @property
    def text(self) -> str:
        return self._shown.decode()


@contextlib.asynccontextmanager
async def on_a_terminal(url: str, *arguments: str) -> AsyncIterator[tuple[Terminal, asyncio.subprocess.Process]]:
    ours, theirs = pty.openpty()
    child = await asyncio.create_subprocess_exec(
        *command(url, *arguments),
        cwd=ROOT,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        yield Terminal(ours), child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


def contents(prompt: list[dict[str, str]]) -> list[str]:
    return [message["content"] for message in prompt]


async def test_one_question(scripted: Any, publish: Any) -> None:
    """The answer alone is on standard output; the settings reach the engine; `-` reads the question from a pipe."""
    async with publish(scripted()) as (url, app, _):
        given = ("--temperature", "0", "--system", "be brief")
        assert await chat(url, "--once", "Hello?", *given) == (0, "one two three\n", "")
        assert contents(app.engine.prompts[0]) == ["be brief", "Hello?"]
        assert app.engine.calls[0].temperature == 0
        assert await chat(url, "--once", "-", typed="a\nb\n") == (0, "one two three\n", "")
        assert contents(app.engine.prompts[1]) == ["a\nb"]
        assert app.engine.calls[1].temperature == 0.8


async def test_a_conversation_from_a_pipe(scripted: Any, publish: Any) -> None:
    """Each line is a turn; /retry, /system and /clear do what they say."""
    lines = "First?\nSecond?\n/retry\n\n/clear\n/system be kind\nThird?\n/etc/hosts is what?\n/help\n/nonsense\n"
    async with publish(scripted("yes")) as (url, app, _):
        code, out, err = await chat(url, typed=lines)
        assert (code, out) == (0, "yes\n" * 5)
        assert [contents(prompt) for prompt in app.engine.prompts] == [
            ["First?"],
            ["First?", "yes", "Second?"],
            ["First?", "yes", "Second?"],
            ["be kind", "Third?"],
            ["be kind", "Third?", "yes", "/etc/hosts is what?"],
        ]
        assert err.count("/retry        answer") == 2
        assert "there is no /nonsense" in err


async def test_the_key_comes_from_the_environment(scripted: Any, publish: Any) -> None:
    """Without it the refusal says where it belongs."""
    async with publish(scripted("yes"), API_KEYS="secret") as (url, _, _):
        code, out, err = await chat(url, "--once", "Hello?")
        assert (code, out) == (1, "")
        assert "API_KEY" in err
        assert await chat(url, "--once", "Hello?", API_KEY="secret") == (0, "yes\n", "")


async def test_a_server_that_is_not_there(free_port: int) -> None:
    """One readable line and an exit status of its own; a nonsense address is a wrong usage."""
    code, out, err = await chat(f"http://127.0.0.1:{free_port}", "--once", "Hello?")
    assert (code, out) == (3, "")
    assert err.endswith("Connection refused\n")
    assert err.count("\n") == 1
    assert (await chat("localhost:7860", "--once", "Hello?"))[0] == 2


async def test_a_server_that_is_loading(scripted: Any, publish: Any, until: Any) -> None:
    """It is waited for, and each stage is told; one that failed for good is not."""
    async with publish(scripted("yes")) as (url, app, state):
        state.enter(status.LOADING)
        asking = asyncio.create_task(chat(url, "--once", "Hello?"))
        polls = _count_polls(state)
        await until(lambda: len(polls) > 1 or asking.done(), within=20)
        state.ready(app.engine.served)
        assert await asking == (0, "yes\n", f"waiting for {url}: loading\n")
        state.fail("ModelNotFound: no config.json")
        code, _, err = await chat(url, "--once", "Hello?")
        assert (code, err) == (3, f"{url} can't serve: ModelNotFound: no config.json\n")


def _count_polls(state: status.Status) -> list[None]:
    """Grows with each time that readiness is asked for; tells when the console waits."""
    polls: list[None] = []
    ask = state.engine_problem

    def counted() -> str | None:
        polls.append(None)
        return ask()

    state.engine_problem = counted
    return polls


async def test_a_busy_server_is_asked_again(scripted: Any, publish: Any, until: Any) -> None:
    """After the time it names."""
    async with publish(scripted("yes"), MAX_INFLIGHT="1", MAX_QUEUE="0") as (url, app, _):
        prompt = app.answers.prompt([{"role": "user", "content": "x"}], max_tokens=1, temperature=0.0, top_p=1.0)
        taken = await app.answers.open(prompt, request_id="taken")
        asking = asyncio.create_task(chat(url, "--once", "Hello?"))
        await until(lambda: len(app.engine.prompts) == 2 or asking.done(), within=20)
        taken.close()
        code, out, err = await asking
        assert (code, out) == (0, "yes\n")
        assert "too many requests are waiting; asking again in 1 s" in err


async def test_an_answer_that_breaks(scripted: Any, publish: Any) -> None:
    """What came is shown, with the reason after it; the exit status tells. So does a prompt that is too long."""
    broken = scripted(context=10)
    broken.failure = engine.EngineError("boom")
    async with publish(broken) as (url, _, _):
        assert await chat(url, "--once", "Hello?") == (1, "one\n", "boom\n")
        code, _, err = await chat(url, "--once", "word " * 11)
        assert code == 1
        assert "10 tokens" in err


class Stub:
    """Answers each path with one status, headers and body, and keeps what was asked."""

    def __init__(self, answers: dict[str, tuple[int, list[tuple[bytes, bytes]], bytes]]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        code, headers, body = self._answers[scope["path"]]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def test_a_stream_cut_short(listen: Any) -> None:
    """An answer without its end is not taken for a whole one."""
    stub = Stub(
        {
            "/readyz": (200, [], b"{}"),
            "/v1/models": (200, [], b'{"data": [{"id": "tiny"}]}'),
            "/v1/chat/completions": (200, [], b'data: {"choices": [{"delta": {"content": "one"}}]}\n\n'),
        }
    )
    async with listen(stub) as (url, _):
        told = "the connection ended in the middle of the answer\n"
        assert await chat(url, "--once", "Hello?") == (1, "one\n", told)


async def test_the_key_follows_no_redirect(listen: Any) -> None:
    """It was meant for the address that was given."""
    stub = Stub({"/readyz": (307, [(b"location", b"/elsewhere")], b"")})
    async with listen(stub) as (url, _):
        code, _, err = await chat(url, "--once", "Hello?", API_KEY="secret")
        assert (code, stub.asked) == (3, ["/readyz"])
        assert "answers 307" in err


async def test_an_answer_out_of_tokens(scripted: Any, publish: Any) -> None:
    """It is said that it was cut."""
    async with publish(scripted(), MAX_NEW_TOKENS="2") as (url, _, _):
        assert await chat(url, "--once", "Hello?") == (0, "one two\n", "(cut there: no more tokens)\n")


async def test_on_a_terminal(scripted: Any, publish: Any, until: Any) -> None:
    """Ctrl-C stops an answer, which is remembered as far as it came; at the prompt it drops the line; Ctrl-D ends."""
    held = scripted("one two\x1b[2Jthree")
    async with publish(held) as (url, app, _), on_a_terminal(url) as (terminal, child):
        await terminal.shows("tiny. /help")
        held.hold.clear()
        await terminal.shows("> ")
        terminal.type("First?\n")
        await terminal.shows("one")
        terminal.type(CTRL_C)
        await until(lambda: held.cancelled == 1, within=10)
        await terminal.shows("> ")
        terminal.type(f"dropped{CTRL_C}")
        await terminal.shows("> ")
        held.hold.set()
        terminal.type("Second?\n")
        await terminal.shows("one two[2Jthree")
        assert contents(app.engine.prompts[-1]) == ["First?", "one", "Second?"]
        await terminal.shows("> ")
        held.failure = engine.EngineError("boom")
        terminal.type("Third?\n")
        await terminal.shows("boom")
        await terminal.shows("> ")
        terminal.type(CTRL_D)
        assert await asyncio.wait_for(child.wait(), 10) == 0
        assert "\x1b[2J" not in terminal.text
        assert "Traceback" not in terminal.text


async def test_interrupted_with_one_question(scripted: Any, publish: Any, until: Any) -> None:
    """Ctrl-C ends the program, and the answer on the server."""
    held = scripted()
    held.hold.clear()
    async with publish(held) as (url, _, _), on_a_terminal(url, "--once", "Hello?") as (terminal, child):
        await terminal.shows("one")
        terminal.type(CTRL_C)
        assert await asyncio.wait_for(child.wait(), 10) == 130
        await until(lambda: held.cancelled == 1)
        assert "Traceback" not in terminal.text
