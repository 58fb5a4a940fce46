"""What reaches the log, in which shape, and what must not."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretBytes, SecretStr

from controller.telemetry import log

STORAGE_KEY = base64.b64encode(bytes(range(64))).decode()
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


class Stream(io.StringIO):
    """Text that may say it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Configuration is of the process; give it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def configured(
    *, terminal: bool = False, level: str = "info", form: log.Form = "auto", environ: dict[str, str] | None = None
) -> Stream:
    stream = Stream(terminal=terminal)
    log.configure(level=level, form=form, stream=stream, environ=environ or {})
    return stream


def test_lines_are_json_where_there_is_no_terminal() -> None:
    """One object a line, with level, an ISO time in UTC, and the values given."""
    stream = configured()
    structlog.get_logger().info("plan made", actions=3)
    [line] = stream.lines()
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() == datetime.now(UTC).utcoffset()
    assert line == {"event": "plan made", "level": "info", "actions": 3}


@pytest.mark.parametrize(
    ("terminal", "environ", "coloured"),
    [(True, {}, True), (True, {"NO_COLOR": "1"}, False), (True, {"NO_COLOR": ""}, True), (False, {}, False)],
)
def test_colours_need_a_terminal_and_no_no_color(terminal: bool, environ: dict[str, str], coloured: bool) -> None:
    """NO_COLOR counts where it isn't empty."""
    stream = configured(terminal=terminal, form="console", environ=environ)
    structlog.get_logger().info("plan made")
    assert "plan made" in stream.getvalue()
    assert ("\x1b[" in stream.getvalue()) == coloured


@pytest.mark.parametrize(("terminal", "form"), [(True, "json"), (False, "auto")])
def test_json_can_be_asked_for(terminal: bool, form: log.Form) -> None:
    """On a terminal too."""
    stream = configured(terminal=terminal, form=form)
    structlog.get_logger().info("plan made")
    assert stream.lines()[0]["event"] == "plan made"


def test_a_terminal_gets_text() -> None:
    """Auto means console there."""
    stream = configured(terminal=True, environ={"NO_COLOR": "1"})
    structlog.get_logger().info("plan made", actions=3)
    assert "plan made" in stream.getvalue()
    assert "actions=3" in stream.getvalue()


def test_people_get_a_resource_by_its_name() -> None:
    """Its whole id is for programs; a bundle's name is known by its beginning."""
    for name, shown in (("containerApps/chat-app", "chat-app"), (f"releases/{'0a' * 32}.tar.gz", "0a0a0a0a0a0a…")):
        stream = Stream(terminal=True)
        log.configure(level="info", form="auto", stream=stream, environ={"NO_COLOR": "1"})
        structlog.get_logger().info("begun", resource=f"/subscriptions/s/{name}")
        assert f"resource={shown}" in stream.getvalue()
        assert "/subscriptions/" not in stream.getvalue()


def test_lines_below_the_level_are_dropped() -> None:
    """And an unknown level is refused."""
    stream = configured(level="WARNING")
    structlog.get_logger().info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in stream.lines()] == ["yes"]
    with pytest.raises(ValueError, match="unknown log level 'loud'"):
        configured(level="loud")


def test_the_standard_library_comes_through_from_warning() -> None:
    """azure.* and aiohttp get the same shape and redaction; their chatter is dropped."""
    stream = configured()
    logger = logging.getLogger("azure.core.pipeline")
    logger.info("Request headers: …")
    logger.warning("retrying with %s", f"Bearer {JWT}")
    [line] = stream.lines()
    assert (line["event"], line["level"], line["logger"]) == (
        "retrying with Bearer **********",
        "warning",
        "azure.core.pipeline",
    )


def test_configuring_again_writes_each_line_once() -> None:
    """The last configuration holds alone."""
    first, second = configured(), configured()
    logging.getLogger("aiohttp").warning("w")
    structlog.get_logger().warning("w")
    assert first.getvalue() == ""
    assert len(second.lines()) == 2


def test_stderr_may_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live display that replaces stderr gets the lines, from both kinds of loggers, and gives it back."""
    own, display = Stream(terminal=False), Stream(terminal=False)
    monkeypatch.setattr("sys.stderr", own)
    log.configure_stderr(level="info", form="auto", environ={})
    structlog.get_logger().info("before")
    with monkeypatch.context() as taken:
        taken.setattr("sys.stderr", display)
        structlog.get_logger().info("during")
        logging.getLogger("azure").warning("during")
    structlog.get_logger().info("after")
    assert [line["event"] for line in own.lines()] == ["before", "after"]
    assert [line["event"] for line in display.lines()] == ["during", "during"]


def test_every_line_of_a_pass_carries_its_id() -> None:
    """A new id each time, with the object; gone afterwards. The standard library's lines have it too."""
    stream = configured()
    with log.reconciling("Environment", "gpu-west") as first:
        structlog.get_logger().info("in")
        logging.getLogger("azure").warning("in")
    with log.reconciling("Environment", "gpu-west") as second:
        pass
    structlog.get_logger().info("out")
    *inside, outside = stream.lines()
    assert [(line["reconcile_id"], line["kind"], line["name"]) for line in inside] == [
        (first, "Environment", "gpu-west")
    ] * 2
    assert first != second
    assert "reconcile_id" not in outside


@pytest.mark.parametrize(
    "name", ["key", "account_key", "apiKey", "API_KEYS", "clientSecret", "token", "Password", "Authorization"]
)
def test_values_under_secret_names_are_masked(name: str) -> None:
    """In any case, at any depth, whatever they look like."""
    given = {name: "plain", "outer": {"inner": [{name: 7}]}, "spoken": "plain"}
    assert log.redact(None, "info", given) == {
        name: log.MASK,
        "outer": {"inner": [{name: log.MASK}]},
        "spoken": "plain",
    }


def test_whether_there_is_a_secret_may_be_told() -> None:
    """None and booleans are shown."""
    given = {"token": None, "has_key": True}
    assert log.redact(None, "info", given) == given


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (f"AccountKey={STORAGE_KEY};EndpointSuffix=x", f"AccountKey={log.MASK};EndpointSuffix=x"),
        (f"key={STORAGE_KEY.replace('+', '%2B').replace('/', '%2f').replace('=', '%3D')}&x=1", f"key={log.MASK}&x=1"),
        ("https://h/f?sv=2024&sig=ab%2Fcd%3D&se=1", f"https://h/f?sv=2024&sig={log.MASK}&se=1"),
        ("sig=abc", f"sig={log.MASK}"),
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {log.MASK}"),
        ("authorization: bearer abc", f"authorization: bearer {log.MASK}"),
        ("SharedKey aistorage1:c2lnbmF0dXJl=", f"SharedKey aistorage1:{log.MASK}"),
        ("SharedKeyLite aistorage1:c2ln", f"SharedKeyLite aistorage1:{log.MASK}"),
        ("grant_type=x&client_secret=s3cr~t&scope=y", f"grant_type=x&client_secret={log.MASK}&scope=y"),
        (f"got {JWT}!", f"got {log.MASK}!"),
        ("https://ghp_abc@github.com/a/b", f"https://{log.MASK}@github.com/a/b"),
        ("ssh://git:pw@h/a and ssh://git@h/b", f"ssh://{log.MASK}@h/a and ssh://git@h/b"),
        ("design=2 sha256:0123abcd rG9/aa==", "design=2 sha256:0123abcd rG9/aa=="),
    ],
)
def test_secrets_inside_text_are_masked(text: str, safe: str) -> None:
    """Storage keys, SAS and SharedKey signatures, bearer tokens, passwords in addresses; digests and MD5s stay."""
    assert log.masked(text) == safe


def test_values_of_any_type_become_plain_and_safe() -> None:
    """SecretStr and SecretBytes always masked; what JSON doesn't know becomes masked text."""
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    given: dict[str, Any] = {
        "a": SecretStr("s"),
        "b": [SecretBytes(b"s"), (1, 2.5), {Path("/tmp")}],
        "c": b"Bearer abc",
        "d": moment,
        "e": ValueError("sig=abc"),
        "f": None,
        "g": True,
        STORAGE_KEY: {STORAGE_KEY: 1},
    }
    assert log.redact(None, "info", given) == {
        "a": log.MASK,
        "b": [log.MASK, [1, 2.5], ["/tmp"]],
        "c": f"Bearer {log.MASK}",
        "d": moment.isoformat(),
        "e": f"ValueError: sig={log.MASK}",
        "f": None,
        "g": True,
        STORAGE_KEY: {log.MASK: 1},
    }


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_are_masked_and_show_no_locals(form: log.Form) -> None:
    """An exception's text may quote a request; its frames hold keys."""
    stream = configured(form=form)
    hidden_local = "a value in a frame"
    try:
        raise ValueError(f"SharedKey acct:{STORAGE_KEY}")
    except ValueError:
        structlog.get_logger().exception("pass failed")
        logging.getLogger("aiohttp").exception("unhandled")
    shown = stream.getvalue()
    assert shown.count(f"ValueError: SharedKey acct:{log.MASK}") == 2
    assert STORAGE_KEY not in shown
    assert hidden_local not in shown.replace(f'hidden_local = "{hidden_local}"', "")


@pytest.mark.parametrize(
    ("value", "line", "safe"),
    [
        ("correct-horse", "said correct-horse, twice: correct-horse", f"said {log.MASK}, twice: {log.MASK}"),
        ("correct-horse\n", "said correct-horse", f"said {log.MASK}"),
        ("key-one-one,key-two-two", "GET /?k=key-two-two", f"GET /?k={log.MASK}"),
        ("-----BEGIN-----\nMIIEvQIBADAN\n-----END-----", "MIIEvQIBADAN", log.MASK),
        ('with "quotes" in it', '{"key": "with \\"quotes\\" in it"}', f'{{"key": "{log.MASK}"}}'),
        ("with/slash and+plus", "?sent=with%2Fslash%20and%2Bplus", f"?sent={log.MASK}"),
        ("schlüssel-wort", '"schl\\u00fcssel-wort"', f'"{log.MASK}"'),
        ("on", "moving on, monday: on", f"moving {log.MASK}, monday: {log.MASK}"),
        ("", "nothing", "nothing"),
        ("   ", "a   b", "a   b"),
    ],
)
def test_what_an_app_printed_is_shown_without_its_secrets(value: str, line: str, safe: str) -> None:
    """In whichever form they were printed; a short one only where it stands by itself."""
    assert log.redacted([line], secrets=[SecretStr(value)]) == (safe,)


@pytest.mark.parametrize(
    ("line", "safe"),
    [
        (f"AccountKey={STORAGE_KEY}", f"AccountKey={log.MASK}"),
        ("API_KEY=abcdef123", f"API_KEY={log.MASK}"),
        ('{"password": "abcdef123"}', f'{{"password": "{log.MASK}"}}'),
        ("pad_token_id: 32000, eos_token: </s>", "pad_token_id: 32000, eos_token: </s>"),
        (f"hf_{'a1' * 17}", log.MASK),
        ("task-oriented-and-very-long", "task-oriented-and-very-long"),
    ],
)
def test_what_looks_like_a_secret_is_masked_too(line: str, safe: str) -> None:
    """Nobody knows what an app was given by other ways."""
    assert log.redacted([line], secrets=[]) == (safe,)


def test_of_a_log_the_end_is_kept() -> None:
    """A hundred lines, none too long, and a secret at the cut is no longer there."""
    found = log.redacted([*map(str, range(150)), "x" * 995 + "correct-horse"], secrets=[SecretStr("correct-horse")])
    assert (len(found), found[0]) == (100, "51")
    assert found[-1] == f"{'x' * 995}{log.MASK[:4]}…"
