"""`python -m inference chat`: a conversation in the terminal with a running server, over its API.

Answers go to standard output, everything else to standard error. Loads no model and imports nothing heavy. The key
comes from the environment variable API_KEY only: everybody on a machine can read arguments.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Generator
from contextlib import closing

from pydantic import SecretStr

from inference import client

DONE, INTERRUPTED = 0, 130
TEMPERATURE = 0.8
"""As on the page."""
_HELP = """\
/system TEXT  set the system prompt; without TEXT, have none
/retry        answer the last question anew
/clear        forget the conversation
/help         this
Ctrl-C stops an answer, Ctrl-D ends."""


def main(
    url: str,
    *,
    model: str | None = None,
    system: str = "",
    temperature: float = TEMPERATURE,
    once: str | None = None,
) -> int:
    """Talk until the input ends, or ask `once` (`-` reads it from standard input).

    The exit status: 0, 1 without an answer, 2 wrong usage, 3 without a server, 130 interrupted.
    """
    screen = Screen()
    try:
        server = client.Server(url, SecretStr(os.environ.get("API_KEY", "").strip()), show=screen.progress)
        server.wait_until_ready()
        chat = Chat(server, screen, model=model or server.model(), system=system, temperature=temperature)
        return chat.converse() if once is None else chat.once(sys.stdin.read() if once == "-" else once)
    except client.Problem as problem:
        screen.note(str(problem))
        return problem.status
    except KeyboardInterrupt:
        screen.note("")
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads the answer has seen enough; the interpreter must not complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


class Screen:
    """The terminal, or what stands in for it. Colours only where somebody looks."""

    def __init__(self) -> None:
        self._moves = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._terminal = sys.stdout.isatty()
        self._stage = ""
        self._colour = self._moves and not os.environ.get("NO_COLOR")
        if self.interactive:
            with contextlib.suppress(ImportError):
                __import__("readline")

    def question(self) -> str:
        """The next line. Raises EOFError at the end of the input, KeyboardInterrupt."""
        if not self.interactive:
            return input()
        # \001 and \002 tell line editing which signs take no room.
        return input("\001\033[1m\002> \001\033[0m\002" if self._colour else "> ")

    def answer(self, text: str) -> None:
        """A model may say anything, but it may not steer the terminal."""
        if self._terminal:
            text = "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        sys.stderr.write(self._dim(text) + "\n")
        sys.stderr.flush()

    def progress(self, text: str) -> None:
        """In one line that changes on a terminal, in lines elsewhere. Empty text wipes it away."""
        if self._moves:
            sys.stderr.write("\r\033[K" + self._dim(text[: shutil.get_terminal_size().columns - 1]))
        elif text and (stage := text.partition(",")[0]) != self._stage:
            self._stage = stage
            sys.stderr.write(stage + "\n")
        sys.stderr.flush()

    def _dim(self, text: str) -> str:
        return f"\033[2m{text}\033[0m" if self._colour and text else text


class Chat:
    """One conversation."""

    def __init__(self, server: client.Server, screen: Screen, *, model: str, system: str, temperature: float) -> None:
        self._server = server
        self._screen = screen
        self._model = model
        self._system = system
        self._temperature = temperature
        self._turns: list[dict[str, str]] = []
        self._before: list[dict[str, str]] = []
        """The turns that the last question came after."""
        self._last = ""
        self._finish: str | None = None

    def once(self, question: str) -> int:
        """Ask one question; the exit status."""
        if not question.strip():
            raise client.Problem("there is no question", status=client.USAGE)
        self._ask(question.strip(), [])
        return DONE

    def converse(self) -> int:
        """Until the end of the input; the exit status. Without a terminal the first problem ends it."""
        if self._screen.interactive:
            self._screen.note(f"{self._model}. /help shows what else there is.")
        while True:
            try:
                self._take(self._screen.question().strip())
            except EOFError:
                if self._screen.interactive:
                    self._screen.note("")
                return DONE
            except KeyboardInterrupt:
                if not self._screen.interactive:
                    raise
                self._screen.note("")
            except client.Problem as problem:
                if not self._screen.interactive:
                    raise
                self._screen.note(str(problem))

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "":
                return
            case "/help":
                self._screen.note(_HELP)
            case "/clear":
                self._turns, self._last = [], ""
                self._screen.note("forgotten")
            case "/system":
                self._system = rest.strip()
                self._screen.note("the system prompt is set" if self._system else "no system prompt")
            case "/retry":
                self._retry()
            case _ if re.fullmatch(r"/[a-z]+", word):
                self._screen.note(f"there is no {word}\n{_HELP}")
            case _:
                self._ask(line, self._turns)

    def _retry(self) -> None:
        if not self._last:
            raise client.Problem("there is no question yet")
        self._ask(self._last, self._before)

    def _ask(self, question: str, before: list[dict[str, str]]) -> None:
        """Say the answer as it comes and remember it, as far as it came."""
        self._last, self._before = question, before
        asked = [*before, {"role": "user", "content": question}]
        text, self._finish = "", None
        try:
            with closing(self._pieces(asked)) as pieces:
                for piece in pieces:
                    text += piece
                    self._screen.answer(piece)
        finally:
            if text:
                self._screen.answer("\n")
                self._turns = [*asked, {"role": "assistant", "content": text}]
        if self._finish == "length":
            self._screen.note("(cut there: no more tokens)")

    def _pieces(self, asked: list[dict[str, str]]) -> Generator[str, None, None]:
        system = [{"role": "system", "content": self._system}] if self._system else []
        body = {"model": self._model, "messages": [*system, *asked], "temperature": self._temperature}
        with closing(self._server.answer(body)) as chunks:
            for chunk in chunks:
                for choice in chunk.get("choices", ()):
                    yield choice["delta"].get("content") or ""
                    self._finish = choice.get("finish_reason")
