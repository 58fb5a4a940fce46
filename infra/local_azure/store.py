"""The local Azure's memory: JSON documents by resource id, in one SQLite file that survives a kill.

Ids are matched without regard to case, as ARM does; the casing of the first write is kept in the
document by whoever wrote it. A document belongs to the provider that wrote it and may hold what the
wire never shows (keys, secret values).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class Store:
    """Documents by id. Every write is committed before the call returns; `changed` is told of each, and `version`
    differs after each."""

    def __init__(self, path: Path) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.version = 0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, isolation_level=None)
        path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, "
            "seq INTEGER NOT NULL)"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS by_kind ON documents (kind, id)")
        self._db.execute("CREATE INDEX IF NOT EXISTS by_seq ON documents (seq)")

    def get(self, resource_id: str) -> Document | None:
        """The document at `resource_id`, a fresh copy, or None."""
        row = self._db.execute("SELECT body FROM documents WHERE id = ?", (resource_id.lower(),)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, resource_id: str, kind: str, document: Document) -> None:
        """Write `document`; `kind` is the lower-case type used by `list`, e.g. `microsoft.app/containerapps`."""
        self._db.execute(
            "INSERT INTO documents (id, kind, body, seq) "
            "VALUES (?, ?, ?, (SELECT IFNULL(MAX(seq), 0) + 1 FROM documents)) "
            "ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, body = excluded.body",
            (resource_id.lower(), kind.lower(), json.dumps(document)),
        )
        self._changed()

    def delete(self, resource_id: str) -> bool:
        """Remove the document; True when there was one. Children are the caller's business."""
        deleted = self._db.execute("DELETE FROM documents WHERE id = ?", (resource_id.lower(),)).rowcount > 0
        if deleted:
            self._changed()
        return deleted

    def _changed(self) -> None:
        self.version += 1
        self.changed()

    def list(self, kind: str, *, under: str = "") -> Iterator[Document]:
        """Documents of `kind` whose id lies below the id `under`, oldest first."""
        query, values = "SELECT body FROM documents WHERE kind = ?", [kind.lower()]
        if under:
            # A range of ids, which the index answers: `0` is the character after `/`.
            query += " AND id > ? AND id < ?"
            values += [f"{under.lower()}/", f"{under.lower()}0"]
        rows = self._db.execute(f"{query} ORDER BY seq", values).fetchall()
        return (json.loads(body) for (body,) in rows)

    def close(self) -> None:
        self._db.close()
