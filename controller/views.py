"""What a person sees in the terminal: the table of statuses, live progress, and problems.

It takes the JSON of statuses, so that a daemon's answer and a pass of one's own look alike. It must not decide anything
nor talk to anybody. Colours, where shown, never carry meaning alone; text from Azure is shown as it is, never as markup
or control sequences.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from controller.model import conditions

Json = Mapping[str, Any]

PIPE_WIDTH = 200
MESSAGE_ROOM = 32
NAME_ROOM = 48
REFRESHES_PER_SECOND = 4

_STYLES = {"done": "green", "working": "cyan", "waiting": "dim", "failed": "red"}
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
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


def console(stream: TextIO) -> Console:
    """A console for `stream`: as wide as the terminal, and wide enough not to break lines where there is none.

    Colours only on a terminal, and none where NO_COLOR is set.
    """
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def status_table(statuses_json: Json, *, now: datetime | None = None) -> StatusTable:
    """A row per object of `statuses_json` (as `/status` gives it), to print. `now` is the moment ages count to, by
    default this one."""
    return StatusTable(statuses_json, now or datetime.now(UTC))


def standing(told: Json) -> Table:
    """How one rollout stands, a fact a line; those that say nothing are left out."""
    attempt = f" (attempt {told['attempt']})" if told["attempt"] > 1 else ""
    traffic = ", ".join(f"{name} {weight} %" for name, weight in told["traffic"].items())
    rows = {
        "app": told["name"],
        "strategy": told["strategy"],
        "wanted": f"release {told['wanted']}{attempt}",
        "serves": f"release {told['serving']}, revision {told['revision']}" if told["revision"] else "",
        "traffic": traffic,
        "state": " ".join(word for word in (told["state"], told["reason"]) if word),
        "message": told["message"],
        "rejected": told["rejection"] or "",
        "next": "; ".join(told["pending"]),
        "evidence": "\n".join(told["evidence"]),
        "log": "\n".join(told["log"]),
    }
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        if text:
            table.add_row(Text(name, style="bold"), _plain(str(text)))
    return table


def revisions(listed: Sequence[Json]) -> Table:
    """A row per revision that Azure lists."""
    table = Table("REVISION", "RELEASE", "CREATED", "STATE", "TRAFFIC", "NOTE", box=None, pad_edge=False)
    for one in listed:
        attempt = f" (attempt {one['attempt']})" if (one["attempt"] or 1) > 1 else ""
        notes = ["wanted"] if one["wanted"] else []
        notes += [f"rejected: {one['rejection']}"] if one["rejection"] else []
        state = f"{one['running']}, {one['health']}" if one["active"] else "inactive"
        row = (one["revision"], f"{one['release'] or '-'}{attempt}", one["created"], state, f"{one['traffic']} %")
        table.add_row(*(_plain(str(cell)) for cell in (*row, ", ".join(notes))))
    return table


def problems(console: Console, lines: Iterable[str]) -> None:
    """Print errors, one a line and never broken, so that `file:line:column` stays clickable."""
    for line in lines:
        console.print(Text("error: ", style="bold red").append(_plain(line), style="default not bold"), soft_wrap=True)


def source_line(source: Json, *, now: datetime | None = None) -> Text:
    """Which commit was loaded, its age, and what is in the way of a newer one; empty for files without git."""
    loaded, attempted, moment = source.get("commit"), source.get("attempted"), now or datetime.now(UTC)
    parts = []
    if loaded:
        parts.append(f"loaded {_commit(loaded)}, {_age(loaded['time'], moment)} old")
    if attempted and attempted != loaded:
        parts.append(f"attempted {_commit(attempted)}")
    if source.get("fetchError"):
        age = _age(source.get("fetchedAt"), moment)
        parts.append(f"last fetched {age} ago" if age else "never fetched")
    if source.get("notice"):
        parts.append(_plain(source["notice"]))
    return Text(f"{_plain(source['folder'])}: {'; '.join(parts)}" if parts else "", style="dim")


def leader_line(leader: Json | None, *, now: datetime | None = None) -> Text:
    """Which controller leads, where one is elected, and for how long; empty where none is."""
    if leader is None or leader["state"] == "single":
        return Text()
    age = _age(leader.get("since"), now or datetime.now(UTC))
    told = f"{_plain(leader['holder'])} leads" if leader.get("holder") else "nobody leads"
    told += f", for {age}" if age else ""
    return Text(told if leader["state"] == "leading" else f"standby; {told}", style="dim")


def _commit(commit: Json) -> str:
    return f'{_short(commit["sha"])} "{_plain(commit["subject"])}" by {_plain(commit["author"])}'


def settings_table(rows: Iterable[tuple[str, str, str]]) -> Table:
    """A row per setting: its name, its value and where that comes from."""
    table = Table("NAME", "VALUE", "FROM", box=None, pad_edge=False, header_style="bold")
    for name, value, origin in rows:
        table.add_row(Text(name), Text(_plain(value)), Text(_plain(origin), style="dim" if origin == "default" else ""))
    return table


def warnings(console: Console, lines: Iterable[str]) -> None:
    """Print what may be a mistake, one a line."""
    for line in lines:
        console.print(Text("warning: ", style="yellow").append(_plain(line), style="default"), soft_wrap=True)


def notes(console: Console, lines: Iterable[str]) -> None:
    """Print what was decided, one a line."""
    for line in lines:
        console.print(Text("note: ", style="dim").append(_plain(line), style="not dim"), soft_wrap=True)


def log_line(text: str, *, of: str) -> str:
    """A line that an app printed, with the name of whom it is `of` before it, unless that is empty. Of a line that was
    written over again and again, as progress bars do, it is the last state."""
    line = _plain(text.rstrip("\r").rpartition("\r")[2])
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
        self._glyphs = _glyphs(console)
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
            self._console.print(Text(_plain(text)))
        else:
            self._line(_plain(text))

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
                    Text(self._glyphs[step.state], style=_STYLES[step.state]),
                    Text(step.word_at(now), style=_STYLES[step.state]),
                    Text(step.message),
                )
        return table


@dataclass(frozen=True)
class StatusTable:
    """Renders the statuses as wide as the console allows. AGE is the time since Ready last changed.

    Where a column for each value would leave no room for messages, all but the state goes under the message.
    """

    statuses: Json
    now: datetime

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [_row(status, self.now, _glyphs(console)) for status in self.statuses.get("objects", ())]
        *all_but_message, message = _WIDE
        taken = Measurement.get(console, options.update(max_width=10_000), _table(all_but_message, rows)).maximum
        if taken + MESSAGE_ROOM <= options.max_width:
            yield _table([*all_but_message, message], rows, unbroken=all_but_message)
        else:
            yield _table(_NARROW, [_stacked(row) for row in rows], unbroken=("READY", "AGE"))


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


_WIDE = ("NAME", "KIND", "READY", "REASON", "RELEASE", "REVISION", "AGE", "ENDPOINT", "MESSAGE")
_NARROW = ("NAME", "READY", "AGE", "MESSAGE")


def _table(names: Sequence[str], rows: Iterable[Mapping[str, Text]], *, unbroken: Sequence[str] = ()) -> Table:
    columns = (Column(name, overflow="fold", no_wrap=name in unbroken) for name in names)
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _row(status: Json, now: datetime, glyphs: Mapping[str, str]) -> Mapping[str, Text]:
    told = {condition["type"]: condition for condition in status.get("conditions", ())}
    ready = told.get(conditions.READY, {})
    word, state = _headline(told)
    return {
        "NAME": Text(_plain(status["name"])),
        "KIND": Text(_plain(status["kind"])),
        "READY": Text(f"{glyphs[state]} {word}", style=_STYLES[state]),
        "REASON": Text(_plain(ready.get("reason", ""))),
        "RELEASE": Text(_short(status.get("release"))),
        "REVISION": Text(_revision(status)),
        "AGE": Text(_age(ready.get("lastTransitionTime"), now)),
        "ENDPOINT": Text(_plain(status.get("endpoint") or "")),
        "MESSAGE": Text(_plain(ready.get("message", ""))),
    }


def _revision(status: Json) -> str:
    """What was last attempted; where that isn't applied, what is."""
    attempted, applied = status.get("lastAttempted"), status.get("lastApplied")
    behind = f", applied {_short(applied['sha'])}" if applied and applied != attempted else ""
    return _short(status.get("sourceRevision")) + behind


def _stacked(row: Mapping[str, Text]) -> Mapping[str, Text]:
    """The row for narrow terminals: one thing a line below each other in NAME and MESSAGE."""
    facts = [Text(f"{name.lower()} {row[name]}", style="dim") for name in ("RELEASE", "REVISION") if row[name]]
    said = Text(": ").join(part for part in (row["REASON"], row["MESSAGE"]) if part)
    lines = [part for part in (said, row["ENDPOINT"], *facts) if part]
    name = Text("\n").join([row["NAME"], Text(str(row["KIND"]), style="dim")])
    return {**row, "NAME": name, "MESSAGE": Text("\n").join(lines)}


def _headline(told: Mapping[str, Json]) -> tuple[str, str]:
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
    word, state = _headline(told)
    ready = told.get(conditions.READY, {})
    message = _plain(ready.get("message", ""))
    headline = _Step("", state=state, word=word, reason=ready.get("reason", ""), message=message)
    return _Shown(before.name, _timed(before.headline, headline, now), steps)


def _step(before: _Step | None, step: Json, now: float) -> _Step:
    """A pass that only watches names no verb: the verb told before stays while the work goes on, and when it ends."""
    state = _STATES[step["outcome"]]
    kept = before is not None and before.state in ("working", state)
    verb = step["verb"] or (before.verb if before is not None and kept else "")
    word = _word(verb, state, step["outcome"])
    message = _plain(step["message"]) or _last_segment(step["resource"])
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


def _glyphs(console: Console) -> Mapping[str, str]:
    """The glyphs that the console's encoding has."""
    try:
        "".join(_GLYPHS.values()).encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_GLYPHS
    return _GLYPHS


def _plain(text: str) -> str:
    """`text` without control characters, of which an answer could make a terminal do things."""
    return _SEQUENCE.sub("", text).translate(_CONTROLS)


def _last_segment(resource: str) -> str:
    """The resource's own name; of a long one, such as a bundle's, its first characters."""
    name = _plain(resource.rstrip("/").rsplit("/", 1)[-1])
    return name if len(name) <= NAME_ROOM else f"{name[:12]}…"


def _short(digest: str | None) -> str:
    """Long digests and commits by their first 12 characters, with what names their kind kept."""
    kind, colon, rest = _plain(digest or "").rpartition(":")
    return f"{kind}{colon}{rest[:12]}"


def _age(stamp: str | None, now: datetime) -> str:
    """The time since an RFC 3339 stamp in its two largest units' style: 45s, 12m, 3h, 2d."""
    if not stamp:
        return ""
    seconds = max(0, int((now - datetime.fromisoformat(stamp)).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
