"""Logging: structlog's configuration, and the redaction that every line passes on its way out.

Lines go to one stream: for people on a terminal, JSON elsewhere. It must not decide what is logged. Redaction is a net
below the rule that secrets are `SecretStr` from the moment they are read, not its replacement.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, Literal, TextIO, cast
from urllib.parse import quote

import structlog
from pydantic import SecretBytes, SecretStr

from controller.model import outcome
from controller.model.conditions import Reason

MASK = "**********"

KEPT_LINES = 100
"""Lines of an app's log that go into a status."""

KEPT_LENGTH = 1000
"""Characters of each."""

_TELLING = 8
"""Characters from which on a secret's value means nothing else."""

_NAMED = re.compile(
    r"(\b(?:password|passwd|pwd|api[-_]?key|secret|token)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]{6,}", re.IGNORECASE
)
"""A value under a secret's name, as apps print them."""

_LISTED = re.compile(r"[\s,;]+")
_ROOM = 48

Form = Literal["auto", "console", "json"]

_SECRET_NAME = re.compile(r"key|secret|token|password|authorization", re.IGNORECASE)
_SECRETS_IN_TEXT = (
    # 64 bytes in base64, as storage accounts and workspaces have them; also as a query would carry them.
    (re.compile(r"(?:[A-Za-z0-9+/]|%2[BF]){86}(?:==|%3D%3D)", re.IGNORECASE), MASK),
    (re.compile(r"(?<![A-Za-z0-9])(sig=)[^&\s\"'<>]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(client_secret=|client_assertion=|refresh_token=|access_token=)[^&\s\"']+", re.IGNORECASE),
     rf"\1{MASK}"),
    (re.compile(r"\b(Bearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(SharedKey(?:Lite)?\s+[^\s:\"']+:)[^\s\"',]+", re.IGNORECASE), rf"\1{MASK}"),
    # A password, or a token in its place, in an address.
    (re.compile(r"(?<=https://)[^/\s@\"']+(?=@)|(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)"), MASK),
    # Tokens that say by their first letters whose they are: Hugging Face, OpenAI, GitHub, GitLab, Slack.
    (re.compile(r"\b(?:hf_|sk-|gh[opsu]_|github_pat_|glpat-|xox[abp]-)[A-Za-z0-9_-]{16,}"), MASK),
    # A JSON web token where no scheme stands before it.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MASK),
)  # fmt: skip


def configure(*, level: str, form: Form, stream: TextIO, environ: Mapping[str, str]) -> None:
    """Send structlog's lines from `level` up, and the standard library's from WARNING up, to `stream`.

    `form` auto means console on a terminal, JSON elsewhere. Colours need a terminal and no NO_COLOR in `environ`.
    Raises ValueError for an unknown level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}")
    terminal = stream.isatty()
    console = form == "console" or (form == "auto" and terminal)
    # NO_COLOR counts where it isn't empty (no-color.org).
    rendered = [_short, _console(colors=terminal and not environ.get("NO_COLOR"))] if console else [_json()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks become text before redaction, so that it sees them; and without locals, which hold keys.
    last: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, redact, *rendered]
    structlog.configure(
        processors=[*shared, structlog.processors.StackInfoRenderer(), *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    _route_standard_library(shared, last, stream=stream)


def configure_stderr(*, level: str, form: Form, environ: Mapping[str, str]) -> None:
    """`configure` for a process of its own. Lines stand above a live display that took stderr over."""
    configure(level=level, form=form, stream=cast(TextIO, _Stderr()), environ=environ)


@contextmanager
def reconciling(kind: str, name: str) -> Iterator[str]:
    """Bind a fresh `reconcile_id`, the kind and the name to each line logged inside; gives the id."""
    reconcile_id = secrets.token_hex(4)
    with structlog.contextvars.bound_contextvars(reconcile_id=reconcile_id, kind=kind, name=name):
        yield reconcile_id


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: `event` without secrets, at any depth. What isn't plain data becomes masked text."""
    return {name: _field(name, value) for name, value in event.items()}


def unforeseen(event: str, error: Exception, **facts: str) -> outcome.Transient:
    """Log what nobody foresaw, with its traceback; what it comes to. To be called where it is handled."""
    structlog.get_logger().exception(event, **facts)
    return outcome.Transient(Reason.INTERNAL_ERROR, masked(f"{type(error).__name__}: {error}"))


def masked(text: str) -> str:
    """`text` with what looks like a storage key, SAS signature, bearer token or SharedKey signature masked."""
    for pattern, replacement in _SECRETS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def redacted(lines: Sequence[str], *, secrets: Iterable[SecretStr]) -> tuple[str, ...]:
    """The last `KEPT_LINES` of what somebody else printed, fit to be shown and kept: without `secrets` and what looks
    like one, each line at a bearable length."""
    forms = _forms(secrets)
    shown = (_NAMED.sub(rf"\1{MASK}", masked(_without(line, forms))) for line in lines[-KEPT_LINES:])
    return tuple(line if len(line) <= KEPT_LENGTH else f"{line[: KEPT_LENGTH - 1]}…" for line in shown)


def _forms(secrets: Iterable[SecretStr]) -> list[re.Pattern[str]]:
    """What each secret may look like in a line, the longest first: itself, as JSON and addresses write it, and each
    part of one that is a list of keys, or several lines. A short one is masked only where it stands by itself."""
    found: set[str] = set()
    for secret in secrets:
        value = secret.get_secret_value()
        for part in (value.strip(), *(part for part in _LISTED.split(value) if len(part) >= _TELLING)):
            found |= {part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], quote(part, safe="")}
    longest = sorted(filter(None, found), key=len, reverse=True)
    return [
        re.compile(re.escape(one) if len(one) >= _TELLING else rf"(?<!\w){re.escape(one)}(?!\w)") for one in longest
    ]


def _without(text: str, forms: Iterable[re.Pattern[str]]) -> str:
    for form in forms:
        text = form.sub(MASK, text)
    return text


class _Stderr:
    """What stderr is at each write: a live display puts its own in its place while it shows."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def _field(name: Any, value: Any) -> Any:
    # None and booleans are never secrets, and say whether there is one.
    if value is not None and not isinstance(value, bool) and _SECRET_NAME.search(str(name)):
        return MASK
    return _value(value)


def _value(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return masked(str(value))
        case SecretStr() | SecretBytes():
            return MASK
        case Mapping():
            return {masked(str(name)): _field(name, inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_value(inner) for inner in value]
        case bytes():
            return masked(value.decode(errors="replace"))
        case date():
            return value.isoformat()
        case BaseException():
            return masked(f"{type(value).__name__}: {value}")
    return masked(str(value))


def _short(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For people: of a resource its name, as the line says its kind; of what belongs together the part that differs."""
    named = str(event.get("resource", "")).rpartition("/")[2]
    if not named:
        return event
    return {**event, "resource": named if len(named) <= _ROOM else f"{named[:12]}…"}


def _console(*, colors: bool) -> structlog.typing.Processor:
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def _json() -> structlog.typing.Processor:
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _route_standard_library(
    shared: list[structlog.typing.Processor], last: list[structlog.typing.Processor], *, stream: TextIO
) -> None:
    """azure.* and aiohttp log through the standard library; their lines get the same shape and redaction."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
