"""AI Toolkit's JSON files: their values, and where each stands. It knows none of their fields."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.migration.migrated import Told
from controller.sources import document

At = tuple[str, ...]


@dataclass(frozen=True)
class File:
    """One JSON object; empty where there is no such file. `shown` is its path for people."""

    shown: str
    data: dict[str, Any]
    places: document.Document | None = None

    def __bool__(self) -> bool:
        return bool(self.data)

    def get(self, *at: str) -> Any:
        """The value there; None where there is none."""
        value: Any = self.data
        for key in at:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def place(self, *at: str) -> str:
        """`file:line:column` of the value, or of the nearest thing around it."""
        if self.places is None:
            return f"{self.shown}:1:1"
        found = self.places.problem(at, "")
        return f"{found.file}:{found.line}:{found.column}"


def read(path: Path, told: Told) -> File:
    """A file that can't be read as a JSON object is a problem, one that isn't there is not."""
    shown = document.shown(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text)
    except FileNotFoundError:
        return File(shown, {})
    except json.JSONDecodeError as error:
        told.refuse_at(f"{shown}:{error.lineno}:{error.colno}", f"not JSON: {error.msg}")
        return File(shown, {})
    except (OSError, ValueError, RecursionError) as error:
        told.refuse_at(f"{shown}:1:1", f"can't be read: {error}")
        return File(shown, {})
    if not isinstance(data, dict):
        told.refuse_at(f"{shown}:1:1", "must be a JSON object")
        return File(shown, {})
    return File(shown, data, _places(text, shown, told))


def _places(text: str, shown: str, told: Told) -> document.Document | None:
    """JSON is YAML, as far as places go; what isn't has none. A key that is there twice would count once only."""
    documents, problems = document.parse(text.encode(errors="replace"), file=shown)
    told.problems += [str(problem) for problem in problems if problem.message.startswith("duplicate key")]
    return documents[0] if len(documents) == 1 else None
