"""Moments as everybody is told of them."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """In UTC, to the second: 2026-11-22T12:00:00Z. `moment` is aware."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
