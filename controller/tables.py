"""What a command prints as a table or a line of facts: statuses, settings, how a rollout stands.

It takes the JSON of statuses, so that a daemon's answer and a pass of one's own look alike. It must not decide anything
nor talk to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from controller import views
from controller.model import conditions, printable

Json = Mapping[str, Any]

MESSAGE_ROOM = 32


def status_table(statuses_json: Json, *, now: datetime | None = None) -> StatusTable:
    """A row per object of `statuses_json` (as `/status` gives it), to print. `now` is the moment ages count to, by
    default this one."""
    return StatusTable(statuses_json, now or datetime.now(UTC))


def facts(told: Json) -> Table:
    """A fact a line, under its name in the JSON; those that say nothing are left out. The shares of a mapping are in
    percent."""
    table = Table.grid(padding=(0, 2))
    for name, value in told.items():
        match value:
            case Mapping():
                text = ", ".join(f"{key} {share} %" for key, share in value.items())
            case list() | tuple():
                text = "\n".join(map(str, value))
            case _:
                text = "" if value is None else str(value)
        if text:
            table.add_row(Text(name, style="bold"), Text(printable.plain(text)))
    return table


def revisions(listed: Sequence[Json], *, now: datetime | None = None) -> Group:
    """A row per revision, and below the table why those failed that did."""
    rows = [_revision_row(one, now or datetime.now(UTC)) for one in listed]
    failed = Table.grid(padding=(0, 2))
    for one in listed:
        for why in one["failures"][:1]:
            said = (one["revision"], f"{why['cause']}: {why['message']}")
            failed.add_row(*(Text(printable.plain(cell)) for cell in said))
    below = ("", failed) if failed.row_count else ()
    return Group(_table(_REVISIONS, rows, unbroken=_REVISIONS[:-1]), *below)


def _revision_row(one: Json, now: datetime) -> Mapping[str, Text]:
    age, traffic = _age(one["created"], now), f"{one['traffic']} %"
    cells = (one["revision"], one["release"] or "-", age, _state(one), traffic, ", ".join(_notes(one)))
    return {name: Text(printable.plain(cell)) for name, cell in zip(_REVISIONS, cells, strict=True)}


def _state(one: Json) -> str:
    """A revision's, in the platform's words where it runs."""
    if one["active"]:
        return f"{one['running']}, {one['health']}"
    return "inactive" if one["listed"] else "gone"


def _notes(one: Json) -> Iterator[str]:
    if one["wanted"]:
        yield "wanted"
    if (one["attempt"] or 1) > 1:
        yield f"attempt {one['attempt']}"
    if one["rejection"]:
        yield f"rejected: {one['rejection']}"


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
        parts.append(printable.plain(source["notice"]))
    return Text(f"{printable.plain(source['folder'])}: {'; '.join(parts)}" if parts else "", style="dim")


def leader_line(leader: Json | None, *, now: datetime | None = None) -> Text:
    """Which controller leads, where one is elected, and for how long; empty where none is."""
    if leader is None or leader["state"] == "single":
        return Text()
    age = _age(leader.get("since"), now or datetime.now(UTC))
    told = f"{printable.plain(leader['holder'])} leads" if leader.get("holder") else "nobody leads"
    told += f", for {age}" if age else ""
    return Text(told if leader["state"] == "leading" else f"standby; {told}", style="dim")


def settings_table(rows: Iterable[tuple[str, str, str]]) -> Table:
    """A row per setting: its name, its value and where that comes from."""
    table = Table("NAME", "VALUE", "FROM", box=None, pad_edge=False, header_style="bold")
    for name, value, origin in rows:
        table.add_row(
            Text(name),
            Text(printable.plain(value)),
            Text(printable.plain(origin), style="dim" if origin == "default" else ""),
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
        rows = [_row(status, self.now, views.glyphs(console)) for status in self.statuses.get("objects", ())]
        *all_but_message, message = _WIDE
        taken = Measurement.get(console, options.update(max_width=10_000), _table(all_but_message, rows)).maximum
        if taken + MESSAGE_ROOM <= options.max_width:
            yield _table([*all_but_message, message], rows, unbroken=all_but_message)
        else:
            yield _table(_NARROW, [_stacked(row) for row in rows], unbroken=("READY", "AGE"))


_WIDE = ("NAME", "KIND", "READY", "REASON", "RELEASE", "REVISION", "AGE", "ENDPOINT", "MESSAGE")
_NARROW = ("NAME", "READY", "AGE", "MESSAGE")
_REVISIONS = ("REVISION", "RELEASE", "AGE", "STATE", "TRAFFIC", "NOTE")


def _table(names: Sequence[str], rows: Iterable[Mapping[str, Text]], *, unbroken: Sequence[str] = ()) -> Table:
    columns = (Column(name, overflow="fold", no_wrap=name in unbroken) for name in names)
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _row(status: Json, now: datetime, glyphs: Mapping[str, str]) -> Mapping[str, Text]:
    told = {condition["type"]: condition for condition in status.get("conditions", ())}
    ready = told.get(conditions.READY, {})
    word, state = views.headline(told)
    return {
        "NAME": Text(printable.plain(status["name"])),
        "KIND": Text(printable.plain(status["kind"])),
        "READY": Text(f"{glyphs[state]} {word}", style=views.STYLES[state]),
        "REASON": Text(printable.plain(ready.get("reason", ""))),
        "RELEASE": Text(_short(status.get("release"))),
        "REVISION": Text(_revision(status)),
        "AGE": Text(_age(ready.get("lastTransitionTime"), now)),
        "ENDPOINT": Text(printable.plain(status.get("endpoint") or "")),
        "MESSAGE": Text(printable.plain(ready.get("message", ""))),
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


def _commit(commit: Json) -> str:
    return f'{_short(commit["sha"])} "{printable.plain(commit["subject"])}" by {printable.plain(commit["author"])}'


def _short(digest: str | None) -> str:
    """Long digests and commits by their first 12 characters, with what names their kind kept."""
    kind, colon, rest = printable.plain(digest or "").rpartition(":")
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
