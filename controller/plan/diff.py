"""Owned fields against live ones: what differs, and the value to send that keeps what others put there.

Only what `wanted` names is looked at. Lists of named things are compared by name and keep foreign entries, `env` is
compared by name and wholly ours; all other lists are compared and replaced whole. None asks for a field's absence, {}
for its presence.
The service's spelling is not a difference: see `same`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from controller.plan import actions

KEYED = {
    "containers": ("name",),
    "volumes": ("name",),
    "secrets": ("name",),
    "workloadProfiles": ("name",),
    "rules": ("name",),
    "probes": ("type",),
    "volumeMounts": ("mountPath", "volumeName"),
    "registries": ("server",),
}
"""Lists the service treats as a whole but people treat as sets of named things, and what names an entry: a live one
is found by the first name, else by the next, as a mount whose path was changed."""

WHOLE = {"env": "name"}
"""Lists that are compared entry by entry, but have no room for entries of others."""

CASED = ("mountPath",)
"""Names in which case counts; the service looks at all others without it."""

SERVER_SET: Mapping[str, Any] = {"imageType": "ContainerImage", "enableFips": False}
"""Defaults the service adds to entries of those lists; not sent back. Another value is somebody's and stays."""

OVERWRITTEN = ("ephemeralStorage",)
"""Fields the service computes whatever is sent."""

CASELESS = (
    "environmentId",
    "workloadProfileName",
    "activeRevisionsMode",
    "transport",
    "location",
    "type",
    "scheme",
    "identity",
)
"""Strings the service gives back in its own casing; so are all whose key ends in `Type`."""

DEFAULTS: Mapping[str, Any] = {
    "minReplicas": 0,
    "minimumCount": 0,
    "weight": 0,
    "workloadProfileName": "Consumption",
    "terminationGracePeriodSeconds": 30,
}
"""Values that the service may keep as null: zeros, the profile of an environment without profiles, and the grace period
(documented)."""

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)Gi")


@dataclass(frozen=True)
class Exactly:
    """Among wanted values: an object that takes the place of the live one, with whatever others put there. `before` and
    `after` say what the two are, for people."""

    value: Mapping[str, Any]
    before: str | None
    after: str

    def over(self, live: Mapping[str, Any] | None) -> dict[str, Any]:
        """The merge patch that puts it in the place of `live`."""
        return {**dict.fromkeys(live or {}), **self.value}


def changes(wanted: Mapping[str, Any], live: Mapping[str, Any], *, path: str = "") -> tuple[actions.Change, ...]:
    """Every owned field whose live value means something else."""
    found: list[actions.Change] = []
    for key, value in wanted.items():
        found += _differ(key, value, live.get(key), f"{path}.{key}" if path else key)
    return tuple(found)


def patch(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes `live` as wanted: of objects the members that differ, of arrays the whole."""
    body: dict[str, Any] = {}
    for key, value in wanted.items():
        there = live.get(key)
        if not _differ(key, value, there, key):
            continue
        if isinstance(value, Mapping):
            body[key] = patch(value, there if isinstance(there, Mapping) else {})
        elif isinstance(value, Exactly):
            body[key] = value.over(there)
        else:
            body[key] = merged(value, there, key=key)
    return body


def whole(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch of everything owned, whether it differs or not."""
    body: dict[str, Any] = {}
    for key, value in wanted.items():
        there = live.get(key)
        if isinstance(value, Exactly):
            body[key] = value.over(there)
        else:
            body[key] = whole(value, there or {}) if isinstance(value, Mapping) else merged(value, there, key=key)
    return body


def merged(wanted: Any, live: Any, *, key: str = "") -> Any:
    """`wanted` laid over `live`, to send where the service replaces the whole value."""
    if isinstance(wanted, Mapping):
        base = {name: value for name, value in live.items() if _ours(name, value)} if isinstance(live, Mapping) else {}
        laid = {name: merged(value, base.get(name), key=name) for name, value in wanted.items()}
        return {name: value for name, value in (base | laid).items() if wanted.get(name, "") is not None}
    if _keyed(key, wanted):
        return _merged_list(wanted, _list(live), names=KEYED[key])
    return wanted


def same(wanted: Any, live: Any, *, key: str = "") -> bool:
    """Whether two values mean the same to the service: null, absent, false, "" and [] are one; numbers and memory by
    amount; region names and enum words without case."""
    if _absent(wanted, key) or _absent(live, key):
        return _absent(wanted, key) and _absent(live, key)
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return wanted.keys() >= {k for k, v in live.items() if not _absent(v, k)} and not changes(wanted, live)
    if isinstance(wanted, (list, tuple)) and isinstance(live, (list, tuple)):
        return len(wanted) == len(live) and all(same(a, b) for a, b in zip(wanted, live, strict=True))
    return bool(_scalar(wanted, key) == _scalar(live, key))


def bare(value: Any) -> Any:
    """A value of the service's as it may be sent: without what it fills in or computes, and what is empty."""
    if isinstance(value, Mapping):
        kept = {name: bare(item) for name, item in value.items() if _ours(name, item)}
        return {name: item for name, item in kept.items() if item is not None and item != []}
    return [bare(item) for item in value] if isinstance(value, (list, tuple)) else value


def _differ(key: str, wanted: Any, live: Any, path: str) -> list[actions.Change]:
    if isinstance(wanted, Exactly):
        equal = same(bare(wanted.value), bare(live or {}))
        return [] if equal else [actions.Change(path, wanted.before, wanted.after)]
    if isinstance(wanted, (SecretStr, actions.Lookup)):
        return []  # the service never returns these; a new value comes under a new name
    if isinstance(wanted, Mapping) and not wanted and live is None:
        return [actions.Change(path, None, {})]
    if isinstance(wanted, Mapping):
        return list(changes(wanted, live if isinstance(live, Mapping) else {}, path=path))
    if _keyed(key, wanted):
        return list(_differ_keyed(wanted, _list(live), names=KEYED[key], path=path))
    if _named(wanted, WHOLE.get(key)) and _named(live or [], WHOLE.get(key)):
        return list(_differ_whole(wanted, live or [], name=WHOLE[key], path=path))
    return [] if same(wanted, live, key=key) else [actions.Change(path, _shown(live), _shown(wanted))]


def _differ_keyed(
    wanted: Sequence[Any], live: Sequence[Any], *, names: Sequence[str], path: str
) -> Iterator[actions.Change]:
    for item, (name, there) in zip(wanted, paired(wanted, live, names), strict=True):
        where = f"{path}[{item[names[0]]}]"
        if there is None:
            yield actions.Change(where, None, _shown(item))
        else:
            yield from changes({key: value for key, value in item.items() if key != name}, there, path=where)


def _differ_whole(wanted: Sequence[Any], live: Sequence[Any], *, name: str, path: str) -> Iterator[actions.Change]:
    ours = {item[name]: item for item in wanted}
    theirs = {item[name]: item for item in live}
    for one in dict.fromkeys([*ours, *theirs]):
        before, after = theirs.get(one), ours.get(one)
        if not same(after, before):
            yield actions.Change(f"{path}[{one}]", _entry(before, name), _entry(after, name))


def _merged_list(wanted: Sequence[Any], live: Sequence[Any], *, names: Sequence[str]) -> list[Any]:
    """Live entries in their order, then the new ones. A name keeps the casing it has."""
    partners = paired(wanted, live, names)
    laid = {
        id(there): {**merged(item, there), name: there[name]}
        for item, (name, there) in zip(wanted, partners, strict=True)
        if there is not None
    }
    kept = [laid.get(id(item)) or merged({}, item) if isinstance(item, Mapping) else item for item in live]
    return kept + [merged(item, {}) for item, (_, there) in zip(wanted, partners, strict=True) if there is None]


def paired(wanted: Sequence[Any], live: Sequence[Any], names: Sequence[str]) -> list[tuple[str, Any]]:
    """For each wanted entry the live one it is about, or None, and the name they share."""
    found: list[tuple[str, Any]] = [(names[0], None) for _ in wanted]
    left = [item for item in live if isinstance(item, Mapping)]
    for name in names:
        for index, item in enumerate(wanted):
            at = next((at for at, one in enumerate(left) if _namesakes(item, one, name)), None)
            if found[index][1] is None and at is not None:
                found[index] = (name, left.pop(at))
    return found


def _keyed(key: str, wanted: Any) -> bool:
    return key in KEYED and _named(wanted, KEYED[key][0])


def _named(items: Any, name: str | None) -> bool:
    """A list, each entry of which has the name."""
    return (
        name is not None
        and isinstance(items, (list, tuple))
        and all(isinstance(item, Mapping) and isinstance(item.get(name), str) for item in items)
    )


def _namesakes(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    names = one.get(name), other.get(name)
    if name not in CASED:
        names = str(names[0]).lower(), str(names[1]).lower()
    return name in one and names[0] == names[1]


def _list(live: Any) -> Sequence[Any]:
    return live if isinstance(live, (list, tuple)) else ()


def _ours(name: str, value: Any) -> bool:
    """Whether a live field is worth sending back."""
    return name not in OVERWRITTEN and (name not in SERVER_SET or value != SERVER_SET[name])


def _absent(value: Any, key: str) -> bool:
    if value is None or value is False or (key in DEFAULTS and value == DEFAULTS[key]):
        return True
    return isinstance(value, (str, list, tuple, Mapping)) and not value


def _scalar(value: Any, key: str) -> Any:
    if isinstance(value, bool):
        return bool, value
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and key == "memory" and (match := _MEMORY.fullmatch(value)):
        return float(match[1])
    if isinstance(value, str) and (key in CASELESS or key.endswith("Type")):
        return re.sub(r"[\s()]", "", value).lower() if key == "location" else value.lower()
    return value


def _entry(item: Mapping[str, Any] | None, name: str) -> Any:
    """What an entry says beside its name."""
    shown = {key: value for key, value in _shown(item or {}).items() if key != name}
    return shown.get("value") if shown.keys() <= {"value"} else shown


def _shown(value: Any) -> Any:
    """The value as a plan may show it: no secret, no value that was never meant to be read."""
    if isinstance(value, (SecretStr, actions.Lookup)):
        return "(secret)"
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    return value
