"""An app's managed identities, and the registries it pulls from by them, as parts of the container app.

Both are added to what others assigned; what is there and isn't listed stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from controller.model import desired

Json = dict[str, Any]

NONE = "None"


def identity(wanted: desired.Identity, live: Mapping[str, Any] | None = None) -> Json:
    """The owned part of `identity`, laid over `live`; empty where the spec owns none. Types add up, and ids keep the
    casing they have (recorded: identity `SystemAssigned,UserAssigned` comes back with a blank)."""
    if wanted.type == NONE:
        return {}
    there = live or {}
    named = {one.lower(): one for one in there.get("userAssignedIdentities") or {}}
    assigned: Json = {named.get(one.lower(), one): {} for one in wanted.user_assigned}
    made: Json = {"type": _type(wanted.type, str(there.get("type") or NONE))}
    return made | ({"userAssignedIdentities": assigned} if assigned else {})


def registries(wanted: Iterable[desired.Registry]) -> list[Json]:
    """The owned entries of `configuration.registries`: an identity, and no user with a password beside it."""
    return [
        {"server": one.server, "identity": one.identity, "username": None, "passwordSecretRef": None} for one in wanted
    ]


def _type(wanted: str, live: str) -> str:
    """Both types together; as the service spells it, where it has them all."""
    ours, theirs = _words(wanted), _words(live)
    if {word.lower() for word in ours} <= {word.lower() for word in theirs}:
        return live
    known = {word.lower(): word for word in (*theirs, *ours) if word != NONE}
    return ",".join(sorted(known.values()))


def _words(text: str) -> list[str]:
    return re.split(r"\s*,\s*", text)
