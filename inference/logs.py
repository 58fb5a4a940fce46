"""JSON log lines on standard output. Owns the format; never sees prompts or answers.

`event(logger, "name", key=value)` is how the app logs: a constant name and values beside it.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from datetime import UTC, datetime
from typing import Any

_FOREIGN = ("ContinuousBatchingLogger", "transformers", "huggingface_hub", "peft")


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, event, the event's own values, and a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "values", {}),
        }
        if record.exc_info:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Send everything the process logs, Python warnings included, through one handler."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in ("httpx", "httpcore", "asyncio", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)


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
