"""What a file system can't keep: facts about shares, directories and files, as JSON in one SQLite file.

It lies outside every share's folder, survives a kill of the process, and may be used from any thread. It
knows nothing of the files: whoever reads a fact checks that it still speaks of the file that is there.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shares (account TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY (account, name));
CREATE TABLE IF NOT EXISTS facts (
    account TEXT, share TEXT, path TEXT, body TEXT NOT NULL, PRIMARY KEY (account, share, path)
) WITHOUT ROWID;
"""


class Sidecar:
    """Facts by account, share and path (`dir/sub/file`). Every write is committed before the call returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing without syncs; only a machine that loses power could.
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file; no call may follow."""
        with self._lock:
            self._db.close()

    def share(self, account: str, name: str) -> Document | None:
        rows = self._run("SELECT body FROM shares WHERE account = ? AND name = ?", account, name)
        return json.loads(rows[0][0]) if rows else None

    def shares(self, account: str) -> list[tuple[str, Document]]:
        """Name and facts of the account's shares, by name."""
        rows = self._run("SELECT name, body FROM shares WHERE account = ? ORDER BY name", account)
        return [(name, json.loads(body)) for name, body in rows]

    def put_share(self, account: str, name: str, document: Document) -> None:
        self._run("INSERT OR REPLACE INTO shares VALUES (?, ?, ?)", account, name, json.dumps(document))

    def drop_share(self, account: str, name: str) -> None:
        """Forget the share and all that is in it."""
        self._run("DELETE FROM facts WHERE account = ? AND share = ?", account, name)
        self._run("DELETE FROM shares WHERE account = ? AND name = ?", account, name)

    def get(self, account: str, share: str, path: str) -> Document | None:
        rows = self._run("SELECT body FROM facts WHERE account = ? AND share = ? AND path = ?", account, share, path)
        return json.loads(rows[0][0]) if rows else None

    def put(self, account: str, share: str, path: str, document: Document) -> None:
        self._run("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", account, share, path, json.dumps(document))

    def drop(self, account: str, share: str, path: str) -> None:
        """Forget `path` and all below it."""
        self._run(
            "DELETE FROM facts WHERE account = ? AND share = ? AND (path = ? OR (path > ? AND path < ?))",
            account,
            share,
            path,
            *_below(path),
        )

    def move(self, account: str, share: str, old: str, new: str) -> None:
        """Let the facts of `old` and all below it be those of `new`; what `new` had is forgotten."""
        self.drop(account, share, new)
        self._run(
            "UPDATE facts SET path = ? || substr(path, ?) "
            "WHERE account = ? AND share = ? AND (path = ? OR (path > ? AND path < ?))",
            new,
            len(old) + 1,
            account,
            share,
            old,
            *_below(old),
        )

    def _run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()


def _below(path: str) -> tuple[str, str]:
    # "0" is the character after "/".
    return f"{path}/", f"{path}0"
