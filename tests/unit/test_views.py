"""What a person sees in the terminal."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from controller import tables, views

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ENDPOINT = "https://phi3.nicedune-1234.westus3.azurecontainerapps.io"
ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/aistorage12345"


class Stream(io.StringIO):
    """Text in an encoding of one's own that may say it is a terminal."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal = terminal
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich reads the environment; the tests' own must not count."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def told(ready: str, *, reason: str, message: str = "", also: str | None = None) -> list[dict[str, str]]:
    """Conditions as JSON, Ready changed at ten."""
    each = {"reason": reason, "message": message, "lastTransitionTime": "2026-11-22T10:00:00Z"}
    more = [{"type": also, "status": "True", **each}] if also else []
    return [{"type": "Ready", "status": ready, **each}, *more]


def status(name: str = "phi3-chat", **given: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "kind": "InferenceApp",
        "conditions": [],
        "sourceRevision": "sha256:0123456789abcdef",
        "release": "fedcba9876543210",
        "endpoint": ENDPOINT,
        "resources": [],
    }
    return {"name": name, **empty, **given}


def step(outcome: str, *, verb: str = "", reason: str = "", message: str = "") -> dict[str, Any]:
    return {
        "name": "storageAccount",
        "resource": ACCOUNT,
        "verb": verb,
        "outcome": outcome,
        "reason": reason,
        "message": message,
    }


READY = told("True", reason="Ready", message="revision phi3--1 serves")
RECONCILING = told("Unknown", reason="Provisioning", message="storageAccount: Creating", also="Reconciling")
STALLED = told("False", reason="QuotaExceeded", message="no quota for NC24-A100", also="Stalled")


def table(*statuses: dict[str, Any], width: int, encoding: str = "utf-8") -> str:
    stream = Stream(terminal=False, encoding=encoding)
    console = Console(file=stream, width=width, markup=False, highlight=False)
    console.print(tables.status_table({"objects": list(statuses)}, now=NOW))
    return stream.getvalue()


def test_a_wide_table_has_a_column_for_each_value() -> None:
    """One line an object; digests are short."""
    lines = table(
        status(conditions=READY), status("b", conditions=STALLED, sourceRevision="git:" + "c" * 40), width=220
    ).splitlines()
    assert lines[0].split() == ["NAME", "KIND", "READY", "REASON", "RELEASE", "REVISION", "AGE", "ENDPOINT", "MESSAGE"]
    assert [" ".join(line.split()) for line in lines[1:]] == [
        f"phi3-chat InferenceApp ✓ Ready Ready fedcba987654 sha256:0123456789ab 2h {ENDPOINT} revision phi3--1 serves",
        f"b InferenceApp ✗ Stalled QuotaExceeded fedcba987654 git:cccccccccccc 2h {ENDPOINT} no quota for NC24-A100",
    ]


def commit(letter: str, subject: str) -> dict[str, str]:
    return {"sha": letter * 40, "author": "Ann", "subject": subject, "time": "2026-11-22T09:00:00Z"}


def test_a_commit_that_is_not_applied_stands_beside_the_one_that_is() -> None:
    """Per object; the source's line says more of both, and what keeps a newer one from coming."""
    old, new = commit("a", "good"), commit("b", "bad")
    row = status(conditions=STALLED, sourceRevision=f"git:{new['sha']}", lastApplied=old, lastAttempted=new)
    assert "git:bbbbbbbbbbbb, applied aaaaaaaaaaaa" in table(row, width=260)
    same = status(conditions=READY, sourceRevision=f"git:{old['sha']}", lastApplied=old, lastAttempted=old)
    assert "applied" not in table(same, width=260)

    source = {"folder": "https://git.example/x (main, state)", "commit": old, "attempted": new, "fetchError": "away"}
    line = tables.source_line({**source, "fetchedAt": "2026-11-22T10:00:00Z", "notice": "rewritten"}, now=NOW)
    assert str(line) == (
        'https://git.example/x (main, state): loaded aaaaaaaaaaaa "good" by Ann, 3h old; attempted bbbbbbbbbbbb "bad" '
        "by Ann; last fetched 2h ago; rewritten"
    )
    assert not tables.source_line({"folder": "state", "commit": None})


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_table_loses_nothing(width: int) -> None:
    """No line is longer than the terminal, and every value is there whole, though it may be broken over lines."""
    shown = table(status(conditions=STALLED), width=width)
    assert max(len(line) for line in shown.splitlines()) <= width
    for value in ("QuotaExceeded", "no quota for", "fedcba987654", "sha256:0123456789ab"):
        assert value in " ".join(shown.split())
    assert ENDPOINT in "".join(shown.split())


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [(READY, "✓ Ready"), (RECONCILING, "↻ Reconciling"), (STALLED, "✗ Stalled"), ([], "· Unknown")],
)
def test_ready_in_a_word(conditions: list[dict[str, str]], shown: str) -> None:
    """The word stands beside its glyph, so that neither colour nor glyph is needed."""
    assert shown in table(status(conditions=conditions), width=220)


def test_consoles_without_the_glyphs_get_ascii() -> None:
    """An encoding that lacks them must not end the command."""
    assert "x Stalled" in table(status(conditions=STALLED), width=220, encoding="ascii")


@pytest.mark.parametrize(
    ("stamp", "age"),
    [
        ("2026-11-22T11:59:15Z", "45s"),
        ("2026-11-22T11:48:00Z", "12m"),
        ("2026-11-22T09:00:00+00:00", "3h"),
        ("2026-11-20T11:00:00Z", "2d"),
        ("2026-11-22T12:00:05Z", "0s"),
        (None, ""),
    ],
)
def test_ages_in_their_largest_unit(stamp: str | None, age: str) -> None:
    """As kubectl has them; a clock ahead of ours counts as now."""
    conditions = [{"type": "Ready", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": stamp}]
    shown = table(status(conditions=conditions, endpoint=None), width=220).splitlines()[1].split()
    assert shown[-2:] == ([age, "m"] if age else ["sha256:0123456789ab", "m"])


def test_text_from_azure_is_neither_markup_nor_control() -> None:
    """What an answer says is shown, and does nothing to the terminal."""
    hostile = "[bold]quota[/bold]\x1b[2J\x1b]0;title\x07\r!"
    shown = table(status(conditions=told("True", reason="R", message=hostile)), width=220)
    assert "[bold]quota[/bold]]0;title!" in shown
    assert not set(shown) & set("\x1b\x07\r")


def test_an_empty_folder_gives_the_header_alone() -> None:
    """No objects is no error."""
    assert len(table(width=220).splitlines()) == 1


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, None, True), (True, "1", False), (False, None, False)]
)
def test_colours_only_on_a_terminal_and_without_no_color(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str | None, coloured: bool
) -> None:
    """Pipes and people who don't want them get none."""
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    stream = Stream(terminal=terminal)
    views.console(stream).print(tables.status_table({"objects": [status(conditions=STALLED)]}, now=NOW))
    assert ("\x1b[31m" in stream.getvalue()) == coloured


def test_problems_are_never_broken() -> None:
    """`file:line:column` stays in one piece, and brackets stay."""
    stream = Stream(terminal=False)
    line = f"desired_state/{'deep/' * 60}a.yaml:3:4: unknown field [foo]"
    views.problems(Console(file=stream, width=40), [line, "b.yaml:1:1: no kind"])
    assert stream.getvalue() == f"error: {line}\nerror: b.yaml:1:1: no kind\n"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> Stream:
    return Stream(terminal=False)


@pytest.fixture
def progress(clock: Clock, stream: Stream) -> Iterator[views.Progress]:
    """Progress without a terminal."""
    with views.Progress(views.console(stream), clock) as shown:
        yield shown


def test_without_a_terminal_each_change_is_a_line(progress: views.Progress, clock: Clock, stream: Stream) -> None:
    """Seconds since the start, the object, the step, its state and what it is about; the same twice is one line."""
    working = status(conditions=RECONCILING, resources=[step("InProgress", verb="Create", reason="Provisioning")])
    progress.update(working)
    progress.update(working)
    clock.now += 12.3
    progress.update(status(conditions=RECONCILING, resources=[step("InProgress", reason="Provisioning")]))
    progress.note("the share is\x1b[2J there")
    progress.update(status(conditions=READY, resources=[step("Done")]))
    progress.update(status(conditions=READY, resources=[step("Done")]))
    assert stream.getvalue().splitlines() == [
        "   0.0s  InferenceApp/phi3-chat  storageAccount  creating  aistorage12345",
        "   0.0s  InferenceApp/phi3-chat  Reconciling  storageAccount: Creating",
        "  12.3s  the share is there",
        "  12.3s  InferenceApp/phi3-chat  storageAccount  created  aistorage12345",
        "  12.3s  InferenceApp/phi3-chat  Ready  revision phi3--1 serves",
    ]


@pytest.mark.parametrize(
    ("reported", "word"),
    [
        (step("InProgress", verb="Update"), "updating"),
        (step("Done", verb="Upload"), "uploaded"),
        (step("Done", verb="Mirror"), "mirrored"),
        (step("InProgress"), "working"),
        (step("Done"), "ready"),
        (step("Waiting"), "waiting"),
        (step("Transient", verb="Update"), "retrying"),
        (step("Stalled", verb="Update"), "failed"),
    ],
)
def test_states_in_a_word(progress: views.Progress, stream: Stream, reported: dict[str, Any], word: str) -> None:
    """Made of the verb where there is one."""
    progress.update(status(resources=[reported]))
    assert stream.getvalue().splitlines()[0].split()[3] == word


def test_a_new_reason_is_a_change(progress: views.Progress, stream: Stream) -> None:
    """Waiting for something else is told; a message of many lines stays one."""
    progress.update(status(resources=[step("Waiting", reason="Conflict", message="waits\nfor the group")]))
    progress.update(status(resources=[step("Waiting", reason="Throttled", message="429, again in 3 s")]))
    waits = [line for line in stream.getvalue().splitlines() if "storageAccount" in line]
    assert [line.split("waiting  ")[1] for line in waits] == ["waits for the group", "429, again in 3 s"]


def test_waiting_for_another_step_is_no_news(progress: views.Progress, stream: Stream) -> None:
    """At the start nearly every step waits for another: they are told when they begin."""
    progress.update(status(resources=[step("Waiting", reason="DependencyNotReady", message="waits")]))
    assert "storageAccount" not in stream.getvalue()


def frames(clock: Clock, *updates: tuple[float, dict[str, Any]]) -> str:
    """All that a terminal got, with the clock moved on by so many seconds before each update."""
    stream = Stream(terminal=True)
    console = Console(file=stream, width=120, height=40, color_system=None)
    with views.Progress(console, clock) as progress:
        for seconds, update in updates:
            clock.now += seconds
            progress.update(update)
        clock.now += 100
        progress.note("the share is there")
    return stream.getvalue()


def last_frame(shown: str) -> list[str]:
    """The rows that stay when the display ends."""
    rows = shown[shown.rindex("OBJECT") :].splitlines()
    return [" ".join(row.split()) for row in rows[1:] if row.strip(os.linesep + "\x1b[?25h ")]


def test_on_a_terminal_the_table_is_drawn_again(clock: Clock) -> None:
    """Object, then steps with glyph, state and seconds: running on while work goes on, standing when it ended."""
    created = step("InProgress", verb="Create")
    first = status(conditions=RECONCILING, resources=[created, {**created, "name": "share", "resource": "/x/share"}])
    second = status(conditions=RECONCILING, resources=[step("Done"), first["resources"][1]])
    shown = frames(clock, (0.0, first), (42.0, second), (5.0, second))
    assert "the share is there" in shown
    assert last_frame(shown) == [
        "InferenceApp/phi3-chat ↻ Reconciling 147s storageAccount: Creating",
        "storageAccount ✓ created 42s aistorage12345",
        "share ↻ creating 147s share",
    ]


def test_on_a_terminal_waiting_and_failed_steps_have_their_glyphs(clock: Clock) -> None:
    """A step that waits shows no seconds; one that failed at work shows how long that took; new work counts anew."""
    waiting = {**step("Waiting", message="waits"), "name": "share", "resource": "/x/share"}
    again = status(resources=[step("InProgress"), waiting])
    failed = status(resources=[step("Stalled", message="400"), waiting])
    shown = frames(clock, (0.0, again), (3.0, failed), (4.0, failed))
    assert last_frame(shown)[1:] == ["storageAccount ✗ failed 3s 400", "share · waiting waits"]
    shown = frames(clock, (0.0, again), (3.0, failed), (4.0, again), (1.0, status(resources=[step("Waiting")])))
    assert last_frame(shown)[1:] == ["storageAccount · waiting aistorage12345"]
    shown = frames(clock, (0.0, again), (3.0, failed), (4.0, again))
    assert last_frame(shown)[1] == "storageAccount ↻ working 100s aistorage12345"


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """One that can't move its cursor is written to as a pipe is."""
    monkeypatch.setenv("TERM", "dumb")
    stream = Stream(terminal=True)
    with views.Progress(views.console(stream), clock) as progress:
        progress.update(status(conditions=READY))
    assert stream.getvalue() == "   0.0s  InferenceApp/phi3-chat  Ready  revision phi3--1 serves\n"


@pytest.mark.parametrize(
    ("leader", "told"),
    [
        (None, ""),
        ({"state": "single", "holder": None, "since": None}, ""),
        ({"state": "leading", "holder": "one:1:a", "since": "2026-11-22T11:55:00Z"}, "one:1:a leads, for 5m"),
        ({"state": "standby", "holder": "one:1:a", "since": None}, "standby; one:1:a leads"),
        ({"state": "standby", "holder": None, "since": None}, "standby; nobody leads"),
    ],
)
def test_who_leads(leader: dict[str, str | None] | None, told: str) -> None:
    """Only where one is elected."""
    assert tables.leader_line(leader, now=datetime(2026, 11, 22, 12, tzinfo=UTC)).plain == told
