"""Owned fields against live ones: what differs, and the value to send that keeps what others put there.

Only what `wanted` names is looked at. Lists of named things are compared by name and keep foreign entries;
all other lists are compared and replaced whole. The service's spelling is not a difference: see `same`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from controller.plan import actions

KEYED = {
    "containers": "name",
    "volumes": "name",
    "secrets": "name",
    "workloadProfiles": "name",
    "volumeMounts": "volumeName",
    "probes": "type",
    "rules": "name",
}
"""Lists the service treats as a whole but people treat as sets of named things."""

SERVER_SET = ("ephemeralStorage", "imageType", "enableFips")
"""Fields inside those lists that the service adds and overwrites; never sent back."""

CASELESS = ("environmentId", "workloadProfileName", "activeRevisionsMode", "transport", "location", "type", "scheme")
"""Strings the service gives back in its own casing; so are all whose key ends in `Type`."""

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)Gi")


def changes(wanted: Mapping[str, Any], live: Mapping[str, Any], *, path: str = "") -> tuple[actions.Change, ...]:
    """Every owned field whose live value means something else."""
    found: list[actions.Change] = []
    for key, value in wanted.items():
        found += _differ(key, value, live.get(key), f"{path}.{key}" if path else key)
    return tuple(found)


def merged(wanted: Any, live: Any, *, key: str = "") -> Any:
    """`wanted` laid over `live`, to send where the service replaces the whole value."""
    if isinstance(wanted, Mapping):
        base = {name: value for name, value in live.items() if name not in SERVER_SET} if _mapping(live) else {}
        return base | {name: merged(value, base.get(name), key=name) for name, value in wanted.items()}
    if key in KEYED and isinstance(wanted, Sequence):
        return _merged_list(wanted, live if isinstance(live, Sequence) else [], name=KEYED[key])
    return wanted


def same(wanted: Any, live: Any, *, key: str = "") -> bool:
    """Whether two values mean the same to the service: null, absent, "" and [] are one; numbers and memory by
    amount; region names and enum words without case."""
    if _empty(wanted) or _empty(live):
        return _empty(wanted) and _empty(live)
    if isinstance(wanted, Mapping) and _mapping(live):
        return wanted.keys() >= {k for k, v in live.items() if not _empty(v)} and not changes(wanted, live)
    if isinstance(wanted, (list, tuple)) and isinstance(live, (list, tuple)):
        return len(wanted) == len(live) and all(same(a, b) for a, b in zip(wanted, live, strict=True))
    return bool(_scalar(wanted, key) == _scalar(live, key))


def _differ(key: str, wanted: Any, live: Any, path: str) -> list[actions.Change]:
    if isinstance(wanted, (SecretStr, actions.Lookup)):
        return []  # the service never returns these; a new value comes under a new name
    if isinstance(wanted, Mapping):
        return list(changes(wanted, live if _mapping(live) else {}, path=path))
    if key in KEYED and isinstance(wanted, (list, tuple)):
        return _differ_keyed(wanted, live or [], name=KEYED[key], path=path)
    return [] if same(wanted, live, key=key) else [actions.Change(path, _shown(live), _shown(wanted))]


def _differ_keyed(wanted: Sequence[Any], live: Sequence[Any], *, name: str, path: str) -> list[actions.Change]:
    there = {_name(item, name): item for item in live}
    found: list[actions.Change] = []
    for item in wanted:
        where = f"{path}[{item[name]}]"
        if _name(item, name) not in there:
            found.append(actions.Change(where, None, _shown(item)))
        else:
            found += changes(item, there[_name(item, name)], path=where)
    return found


def _merged_list(wanted: Sequence[Any], live: Sequence[Any], *, name: str) -> list[Any]:
    ours = {_name(item, name): item for item in wanted}
    kept = [merged(ours.pop(_name(item, name), {}), item) for item in live]
    return kept + [merged(item, {}) for item in ours.values()]


def _name(item: Mapping[str, Any], key: str) -> str:
    return str(item.get(key, "")).lower()


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, list, tuple, dict)) and not value)


def _scalar(value: Any, key: str) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and key == "memory" and (match := _MEMORY.fullmatch(value)):
        return float(match[1])
    if isinstance(value, str) and (key in CASELESS or key.endswith("Type")):
        return re.sub(r"[\s()]", "", value).lower() if key == "location" else value.lower()
    return value


def _shown(value: Any) -> Any:
    """The value as a plan may show it: no secret, no value that was never meant to be read."""
    if isinstance(value, (SecretStr, actions.Lookup)):
        return "(secret)"
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    return value
