"""Everything in a local Azure as one flat mapping, so that two ways to the same end can be compared.

What differs between two undisturbed runs is learned and left out; what is drawn by chance is named by its order.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from controller.cloud import files
from infra.local_azure import server
from infra.local_azure.apps import context

Picture = Mapping[str, str]

PASSING = ("operations",)
"""Kinds of documents that are no resources."""

TOLD = ("failures.json",)
"""Files for people to read, which tell of the way."""

_CHANCE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[0-9.]*(Z|\+00:00)?"), "<time>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<authority>"),
    (re.compile(r"(?<=-)[0-9a-f]{8}(?=$|[/\":])"), "<drawn>"),
)


def taken(local: server.Server) -> Picture:
    """Each field of each document, and each file of each share."""
    rows = local._documents._db.execute("SELECT id, kind, body FROM documents ORDER BY seq").fetchall()
    documents = [(name, json.loads(body)) for name, kind, body in rows if kind not in PASSING]
    named = _ordinals(
        [body for (_, kind, _), (_, body) in zip(_kept(rows), documents, strict=True) if kind == context.REVISIONS]
    )
    found: dict[str, str] = {}
    for name, body in documents:
        where = _plain(name, named)
        found |= {f"{where}{path}": _plain(value, named) for path, value in _flat(body)}
    return found | dict(_files(local))


def flat(value: Any) -> Picture:
    """Each field of a JSON value by its path."""
    return {path: _plain(inner, {}) for path, inner in _flat(value)}


def masked(first: Picture, second: Picture) -> frozenset[str]:
    """The paths in which two undisturbed runs differ."""
    return frozenset(path for path in {*first, *second} if first.get(path) != second.get(path))


def differences(wanted: Picture, found: Picture, *, mask: frozenset[str]) -> list[str]:
    """What differs outside of the mask, one line each."""
    paths = sorted(path for path in {*wanted, *found} - mask if wanted.get(path) != found.get(path))
    return [f"{path}: {wanted.get(path, 'nothing')} became {found.get(path, 'nothing')}" for path in paths]


def left_aside(local: server.Server) -> int:
    """Files on shares that uploads left there which were killed: a later upload removes them, an hour on."""
    return sum(files.is_temporary(path.name) for path in _every_file(local))


def _kept(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [row for row in rows if row[1] not in PASSING]


def _ordinals(revisions: list[Mapping[str, Any]]) -> Mapping[str, str]:
    """The names of revisions, by their number: the first one's is drawn by chance."""
    return {str(one["name"]): f"{str(one['name']).partition('--')[0]}--#{one['number']}" for one in revisions}


def _plain(text: str, named: Mapping[str, str]) -> str:
    for name, ordinal in named.items():
        text = text.replace(name, ordinal)
    for pattern, instead in _CHANCE:
        text = pattern.sub(instead, text)
    return text


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, json.dumps(value)


def _files(local: server.Server) -> Iterator[tuple[str, str]]:
    root = local.settings.state / "shares"
    for path in _every_file(local):
        if not files.is_temporary(path.name) and path.name not in TOLD:
            data = path.read_bytes()
            shown = hashlib.sha256(data).hexdigest() if path.suffix == ".gz" else data.decode(errors="replace")
            yield f"file {path.relative_to(root).as_posix()}", shown


def _every_file(local: server.Server) -> list[Any]:
    root = local.settings.state / "shares"
    return [path for path in sorted(root.glob("*/*/files/**/*")) if path.is_file()]
