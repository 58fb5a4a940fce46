"""JSON pointers (RFC 6901) into a container app as ARM has it, and which of them may be left to other writers.

Knows nothing of what is wanted or seen; `plan.ignoring` applies them.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from controller.model import fields

Tokens = tuple[str, ...]

TOPS = ("properties", "tags", "identity")
"""What of the body may be pointed into."""

NEEDED: tuple[Tokens, ...] = (
    ("properties", "environmentid"),
    ("properties", "managedenvironmentid"),
    ("properties", "configuration", "secrets"),
    ("properties", "template", "containers", "*", "name"),
    ("properties", "template", "containers", "*", "command"),
    ("properties", "template", "containers", "*", "env", "acaops_*"),
    ("tags", "acaops-*"),
)
"""What acaops can't do without, in lower case, with wildcards: where the app lies, the stored names of its secrets, and
what says which release it runs and whose it is."""

_MALFORMED = re.compile(r"~(?![01])")


def tokens(pointer: str) -> Tokens:
    """`/a/b~1c` -> ("a", "b/c")."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def checked(pointer: str) -> str:
    """`pointer`, if it is one and may be ignored; else the refusal, with what would be right."""
    if not pointer.startswith("/") or _MALFORMED.search(pointer):
        raise fields.refusal(f"{pointer!r} is no JSON pointer: write /a/b, with ~0 for ~ and ~1 for / in a name")
    path = tokens(pointer)
    if path[0] not in TOPS:
        tops = ", ".join(f"/{top}" for top in TOPS)
        says = "it points into the container app as Azure has it, like /properties/template/scale/maxReplicas"
        raise fields.refusal(f"{pointer!r} must begin with one of {tops}: {says}")
    for needed in NEEDED:
        if _meet(path, needed):
            raise fields.refusal(_needed(pointer, path, needed))
    return pointer


def index(token: str) -> int | None:
    """The position in a list that a token names, None for any other token."""
    return int(token) if re.fullmatch(r"0|[1-9][0-9]{0,8}", token) else None


def _needed(pointer: str, path: Tokens, needed: Tokens) -> str:
    if len(path) >= len(needed):
        return f"{pointer!r} can't be ignored: acaops itself depends on it"
    inside = "/".join(needed[len(path) :])
    return f"{pointer!r} can't be ignored as a whole: acaops depends on {inside} in it; point at single fields"


def _meet(path: Tokens, needed: Tokens) -> bool:
    """One is the other, holds it or lies in it."""
    return all(fnmatchcase(one.lower(), other) for one, other in zip(path, needed, strict=False))
