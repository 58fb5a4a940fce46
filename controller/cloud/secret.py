"""Secret values at the edge of the wire: revealed in a copy that lives as long as one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr


def revealed(body: Any) -> Any:
    """A deep copy of JSON-like `body` with the value of every SecretStr in its place."""
    if isinstance(body, SecretStr):
        return body.get_secret_value()
    if isinstance(body, Mapping):
        return {key: revealed(value) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [revealed(value) for value in body]
    return body


def values(body: Any) -> Iterator[str]:
    """The value of every SecretStr in `body`, to be blotted out of what is said about it."""
    if isinstance(body, SecretStr):
        yield body.get_secret_value()
    elif isinstance(body, Mapping):
        for value in body.values():
            yield from values(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from values(value)
