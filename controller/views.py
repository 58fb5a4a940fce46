"""What a person sees in the terminal while a command works: live progress, problems, and lines of a log.

It takes the JSON of statuses; it must not decide anything nor talk to anybody. Colours, where shown, never carry
meaning alone; text from Azure is shown as it is, never as markup or control sequences.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from controller.model import conditions, printable

Json = Mapping[str, Any]

PIPE_WIDTH = 200
NAME_ROOM = 48
REFRESHES_PER_SECOND = 4

STYLES = {"done": "green", "working": "cyan", "waiting": "dim", "failed": "red"}
_GLYPHS = {"done": "✓", "working": "↻", "waiting": "·", "failed": "✗"}
_PLAIN_GLYPHS = {"done": "+", "working": "~", "waiting": ".", "failed": "x"}
_STATES = {
    "Done": "done",
    "InProgress": "working",
    "Waiting": "waiting",
    "Transient": "waiting",
    "Stalled": "failed",
}
_WORDS = {"working": "working", "done": "ready", "failed": "failed"}


def console(stream: TextIO) -> Console:
    """A console for `stream`: as wide as the terminal, and wide enough not to break lines where there is none.

    Colours only on a terminal, and none where NO_COLOR is set.
    """
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def problems(console: Console, lines: Iterable[str]) -> None:
    """Print errors, one a line and never broken, so that `file:line:column` stays clickable."""
    for line in lines:
        console.print(
            Text("error: ", style="bold red").append(printable.plain(line), style="default not bold"), soft_wrap=True
        )


def warnings(console: Console, lines: Iterable[str]) -> None:
    """Print what may be a mistake, one a line."""
    for line in lines:
        _tell(console, Text("warning: ", style="yellow"), Text(printable.plain(line), style="default"))


def notes(console: Console, lines: Iterable[str]) -> None:
    """Print what was decided, one a line."""
    for line in lines:
        _tell(console, Text("note: ", style="dim"), Text(printable.plain(line), style="not dim"))


def _tell(console: Console, kind: Text, line: Text) -> None:
    console.print(kind.append_text(line), soft_wrap=True)


def log_line(text: str, *, of: str) -> str:
    """A line that an app printed, with the name of whom it is `of` before it, unless that is empty. Of a line that was
    written over again and again, as progress bars do, it is the last state."""
    line = printable.plain(text.rstrip("\r").rpartition("\r")[2])
    return f"[{of}] {line}" if of else line


class Progress:
    """Live progress of objects and their steps, as a context manager.

    On a terminal a table that is drawn again as time passes; elsewhere one line per change. `clock` counts seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begun = clock()
        self._draws = console.is_terminal and not console.is_dumb_terminal
        # Replaced whole, never changed: the display draws from a thread of its own.
        self._objects: Mapping[str, _Shown] = {}
        self._glyphs = glyphs(console)
        self._live = Live(
            console=console,
            get_renderable=self._table,
            refresh_per_second=REFRESHES_PER_SECOND,
        )

    def __enter__(self) -> Progress:
        if self._draws:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, status_json: Json) -> None:
        """Show the status of one object, as `ObjectStatus.as_json` gives it."""
        name = f"{status_json['kind']}/{status_json['name']}"
        before = self._objects.get(name, _Shown(name))
        after = _shown(before, status_json, self._clock())
        self._objects = {**self._objects, name: after}
        if not self._draws:
            for line in _changes(before, after):
                self._line(line)

    def note(self, text: str) -> None:
        """Show a line of text, above the table where there is one."""
        if self._draws:
            self._console.print(Text(printable.plain(text)))
        else:
            self._line(printable.plain(text))

    def _line(self, text: str) -> None:
        elapsed = f"{self._clock() - self._begun:.1f}s"
        self._console.print(Text(f"{elapsed:>7}  {text}"), soft_wrap=True)

    def _table(self) -> Table:
        table = Table("OBJECT", "STEP", "", "STATE", "MESSAGE", box=None, pad_edge=False, header_style="bold")
        now = self._clock()
        for _, shown in sorted(self._objects.items()):
            for index, step in enumerate((shown.headline, *shown.steps)):
                table.add_row(
                    Text(shown.name if index == 0 else "", style="bold"),
                    Text(step.name),
                    Text(self._glyphs[step.state], style=STYLES[step.state]),
                    Text(step.word_at(now), style=STYLES[step.state]),
                    Text(step.message),
                )
        return table


@dataclass(frozen=True)
class _Step:
    """A step as shown. `since` is when its work was first seen, `until` when that ended; both by the clock."""

    name: str
    resource: str = ""
    verb: str = ""
    state: str = "waiting"
    word: str = ""
    reason: str = ""
    message: str = ""
    since: float | None = None
    until: float | None = None

    def word_at(self, now: float) -> str:
        """The state in a word, with the seconds that work has taken."""
        if self.since is None:
            return self.word
        return f"{self.word} {(now if self.until is None else self.until) - self.since:.0f}s"


@dataclass(frozen=True)
class _Shown:
    """An object as shown; the headline is its conditions."""

    name: str
    headline: _Step = _Step("")
    steps: tuple[_Step, ...] = ()


def headline(told: Mapping[str, Json]) -> tuple[str, str]:
    """The word for all conditions together, and the state whose glyph and colour it gets."""
    if conditions.STALLED in told:
        return conditions.STALLED, "failed"
    if conditions.RECONCILING in told:
        return conditions.RECONCILING, "working"
    if told.get(conditions.READY, {}).get("status") == "True":
        return conditions.READY, "done"
    return "Unknown", "waiting"


def _shown(before: _Shown, status: Json, now: float) -> _Shown:
    earlier = {(step.name, step.resource): step for step in before.steps}
    steps = tuple(
        _step(earlier.get((step["name"], step["resource"])), step, now) for step in status.get("resources", ())
    )
    told = {condition["type"]: condition for condition in status.get("conditions", ())}
    word, state = headline(told)
    ready = told.get(conditions.READY, {})
    message = printable.plain(ready.get("message", ""))
    first = _Step("", state=state, word=word, reason=ready.get("reason", ""), message=message)
    return _Shown(before.name, _timed(before.headline, first, now), steps)


def _step(before: _Step | None, step: Json, now: float) -> _Step:
    """A pass that only watches names no verb: the verb told before stays while the work goes on, and when it ends."""
    state = _STATES[step["outcome"]]
    kept = before is not None and before.state in ("working", state)
    verb = step["verb"] or (before.verb if before is not None and kept else "")
    word = _word(verb, state, step["outcome"])
    message = printable.plain(step["message"]) or _last_segment(step["resource"])
    after = _Step(step["name"], step["resource"], verb, state, word, step["reason"], message)
    return _timed(before, after, now)


def _timed(before: _Step | None, after: _Step, now: float) -> _Step:
    """`after` with the times of its work: they run on while it works, stop when it ends, and stay until it changes."""
    since = before.since if before is not None and (before.until is None or before.word == after.word) else None
    if after.state == "working":
        return replace(after, since=now if since is None else since)
    if before is None or since is None or after.state == "waiting":
        return after
    return replace(after, since=since, until=now if before.until is None else before.until)


def _word(verb: str, state: str, outcome: str) -> str:
    """Create at work is creating, and done created; without a verb working, and done ready."""
    if state == "waiting":
        return "retrying" if outcome == "Transient" else "waiting"
    if not verb or state == "failed":
        return _WORDS[state]
    stem = verb.lower().removesuffix("e")
    return f"{stem}ing" if state == "working" else f"{stem}ed"


def _changes(before: _Shown, after: _Shown) -> Iterator[str]:
    """A line per step, then one for the object, where the word or the reason isn't what it was. A step that has only
    waited for another one gets none."""
    earlier = {(step.name, step.resource): step for step in before.steps}
    for step in after.steps:
        if step.reason == conditions.Reason.DEPENDENCY_NOT_READY and (step.name, step.resource) not in earlier:
            continue
        if _differs(earlier.get((step.name, step.resource)), step):
            yield _joined([after.name, step.name, step.word, step.message])
    if _differs(before.headline, after.headline):
        yield _joined([after.name, after.headline.word, after.headline.message])


def _differs(before: _Step | None, after: _Step) -> bool:
    return before is None or (before.word, before.reason) != (after.word, after.reason)


def _joined(parts: Sequence[str]) -> str:
    return "  ".join(" ".join(part.split()) for part in parts if part)


def glyphs(console: Console) -> Mapping[str, str]:
    """The glyphs that the console's encoding has."""
    try:
        "".join(_GLYPHS.values()).encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_GLYPHS
    return _GLYPHS


def _last_segment(resource: str) -> str:
    """The resource's own name; of a long one, such as a bundle's, its first characters."""
    name = printable.plain(resource.rstrip("/").rsplit("/", 1)[-1])
    return name if len(name) <= NAME_ROOM else f"{name[:12]}…"
