"""`ignore`: the parts of a container app that are left to other writers.

An ignored part is sent when the app, or the entry it stands in, is created. Afterwards what is wanted there is whatever
is live, so that nothing is compared, and nothing is lost where the array around it is replaced. No digest counts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller.model import pointers
from controller.plan import diff

_ABSENT = object()
"""What isn't live."""

_REMOVED = object()
"""In the place of an ignored part: it isn't wanted. In a list it holds the place until all pointers are followed."""


def without(wanted: Mapping[str, Any], ignored: Sequence[pointers.Tokens]) -> Mapping[str, Any]:
    """`wanted`, a container app's body, without the ignored parts."""
    return _applied(wanted, _REMOVED, ignored)


def laid(wanted: Mapping[str, Any], live: Mapping[str, Any], ignored: Sequence[pointers.Tokens]) -> Mapping[str, Any]:
    """`wanted` with the ignored parts as `live` has them. In lists of named things a token is a name, or an index into
    the wanted list; a variable of the container's env, which is wholly ours, may be live alone."""
    return _applied(wanted, live, ignored)


def _applied(wanted: Mapping[str, Any], live: Any, ignored: Sequence[pointers.Tokens]) -> Mapping[str, Any]:
    if not ignored:
        return wanted
    body: Any = wanted
    for path in ignored:
        body = _followed(body, live, path, key="")
    swept: Mapping[str, Any] = _swept(body)
    return swept


def _followed(wanted: Any, live: Any, path: pointers.Tokens, *, key: str) -> Any:
    """`wanted`, a value below `key`, with what `path` leads to as `live` has it."""
    if not path:
        return _REMOVED if live is _ABSENT else live
    if isinstance(wanted, Mapping):
        return _in_object(wanted, live, path, key=key)
    if isinstance(wanted, list):
        return _in_list(wanted, live, path, key=key)
    return wanted


def _in_object(wanted: Mapping[str, Any], live: Any, path: pointers.Tokens, *, key: str) -> Mapping[str, Any]:
    """An object that isn't live is to be made, with all that is in it."""
    name = _spelled(path[0], wanted, caseless=key == "tags")
    if name is None or not (live is _REMOVED or isinstance(live, Mapping)):
        return wanted
    there = live.get(name, _ABSENT) if isinstance(live, Mapping) else _REMOVED
    return {**wanted, name: _followed(wanted[name], there, path[1:], key=name)}


def _in_list(wanted: list[Any], live: Any, path: pointers.Tokens, *, key: str) -> list[Any]:
    at = _position(wanted, path[0], key=key)
    if at is not None:
        there = _REMOVED if live is _REMOVED else _partner(wanted[at], live, at, key=key)
        rest = () if key in diff.WHOLE else path[1:]
        return [*wanted[:at], _followed(wanted[at], there, rest, key=""), *wanted[at + 1 :]]
    if key not in diff.WHOLE or not isinstance(live, list):
        return wanted
    return wanted + [item for item in live if item.get(diff.WHOLE[key]) == path[0]]


def _position(wanted: Sequence[Any], token: str, *, key: str) -> int | None:
    """Where the token's entry is in the list at `key`."""
    index = pointers.index(token)
    if index is not None:
        return index if index < len(wanted) else None
    names = _names(key)
    for at, item in enumerate(wanted):
        if isinstance(item, Mapping) and any(str(item.get(name)).lower() == token.lower() for name in names):
            return at
    return None


def _partner(item: Any, live: Any, at: int, *, key: str) -> Any:
    """The live entry that the wanted one, at position `at`, is about."""
    there = live if isinstance(live, list) else []
    if not isinstance(item, Mapping) or not _names(key):
        return there[at] if at < len(there) else _ABSENT
    ((_, found),) = diff.paired([item], there, _names(key))
    return _ABSENT if found is None else found


def _names(key: str) -> tuple[str, ...]:
    return diff.KEYED.get(key) or tuple(filter(None, [diff.WHOLE.get(key)]))


def _spelled(token: str, wanted: Mapping[str, Any], *, caseless: bool) -> str | None:
    """The member that the token names; Azure looks at tag names without case."""
    if caseless:
        return next((name for name in wanted if name.lower() == token.lower()), None)
    return token if token in wanted else None


def _swept(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _swept(item) for key, item in value.items() if item is not _REMOVED}
    if isinstance(value, list):
        return [_swept(item) for item in value if item is not _REMOVED]
    return value
