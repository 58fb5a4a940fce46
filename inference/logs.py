"""JSON log lines on standard output. Owns the format; no line has a prompt, an answer or a key in it.

Of an exception its type and its place are logged, not its message: that may quote what the exception choked on.
`event(logger, "name", key=value)` is how the app logs: a constant name and values beside it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

_LOG = logging.getLogger("inference.logs")
_FRAMES = 12
"""Innermost frames that are logged of one exception: frameworks put dozens around them."""
_FOREIGN = ("ContinuousBatchingLogger", "transformers", "huggingface_hub", "peft")


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, event, the event's own values, and a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage().strip(),
            **getattr(record, "values", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = _told(record.exc_info[1])
        return json.dumps(line, default=str, ensure_ascii=False)


def _told(error: BaseException) -> str:
    """Where it was raised and what it is, causes first, without messages."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{_told(cause)}\n" if cause is not None else ""
    parts = "".join(f"\n{_told(part)}" for part in error.exceptions) if isinstance(error, BaseExceptionGroup) else ""
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return f"{before}{''.join(traceback.format_tb(error.__traceback__, limit=-_FRAMES))}{kind}{parts}"


def configure(level: str) -> None:
    """Send everything the process logs, Python warnings and uncaught exceptions included, through one handler."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in ("httpx", "httpcore", "asyncio", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    threading.excepthook = lambda told: _uncaught(told.exc_type, told.exc_value, told.exc_traceback)
    # gradio prints what goes wrong behind the page by this, in plain text and with the user's words.
    traceback.print_exc = lambda *_, **__: _LOG.error("printed", exc_info=True)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    _LOG.critical("uncaught", exc_info=(kind, error or kind(), trace))


def of_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The event loop's handler of what nobody waited for: asyncio's own would log the exception's message."""
    _LOG.error(context["message"], exc_info=context.get("exception"))


def adopt_foreign() -> None:
    """Take over the loggers that install handlers of their own on import. Call it after those imports.

    The engine's logger prints token ids of a refused request at WARNING, so it speaks from ERROR on.
    """
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    # Deprecations inside pinned libraries tell an operator nothing.
    warnings.filterwarnings("ignore", category=FutureWarning)


def event(
    logger: logging.Logger, name: str, /, *, level: int = logging.INFO, trace: bool = False, **values: Any
) -> None:
    """Log `name` with `values`; `trace` adds the exception being handled."""
    logger.log(level, name, exc_info=trace, extra={"values": values})
