"""Quotas as the service tells them."""

from __future__ import annotations

from typing import Any


def usage(name: str, current: float, limit: float) -> dict[str, Any]:
    """As recorded: managedenv-usages."""
    return {"name": {"value": name, "localizedValue": name}, "usage": current, "currentValue": current, "limit": limit}
