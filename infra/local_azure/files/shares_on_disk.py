"""The shares of every account on the disk: `root/<account>/<share>/files/…`, and the facts beside them.

It owns the folder `root`: the shares' folders, the sidecar and what is on its way out. Files come and go
through `tree`, and through any process that has a share's folder as its mount.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.local_azure import clock, shares
from infra.local_azure.files import leases, moments, names, sidecar, tree

USUAL_QUOTA = 5120
"""GiB; documented: what a share has for which none is asked."""


_ASIDE = "deleted-"
"""No account's name has a hyphen."""


def never_held(path: Path) -> bool:
    """No file is held open: what a local process has open isn't known here."""
    return False


class SharesOnDisk:
    """Implements `shares.Shares`; may be used from any thread.

    `held` says whether an SMB client holds a file open, in which case it can be neither deleted nor renamed.
    """

    def __init__(self, root: Path, time: clock.Clock, *, held: Callable[[Path], bool] = never_held) -> None:
        self._root = root
        self._time = time
        self._held = held
        self._lock = threading.RLock()
        self._trees: dict[tuple[str, str], tree.Tree] = {}
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sidecar = sidecar.Sidecar(root / "facts.sqlite")
        # What a killed server had put aside is still waiting to go.
        for folder in root.glob(f"{_ASIDE}*"):
            _remove(folder)

    def close(self) -> None:
        """Let go of the sidecar; no call may follow."""
        self._sidecar.close()

    def create(self, account: str, name: str, *, quota: int, metadata: Mapping[str, str]) -> shares.Share:
        """Make the share; raises ShareExists, or ValueError for names that can't be."""
        if not names.is_account(account) or not names.is_share(name):
            raise ValueError(f"not an account and a share: {account!r}, {name!r}")
        with self._lock:
            if self._sidecar.share(account, name) is not None:
                raise shares.ShareExists(name)
            # Without the sidecar's word a folder is no share, but what a killed server left of one.
            self._discard(self._path(account, name).parent)
            self._path(account, name).mkdir(parents=True)
            document = {"quota": quota, "metadata": dict(metadata), "changed": self._now(), "lease": None}
            self._sidecar.put_share(account, name, document)
            return self._share(account, name, document)

    def get(self, account: str, name: str) -> shares.Share | None:
        document = self._sidecar.share(account, name)
        return None if document is None else self._share(account, name, document)

    def list(self, account: str) -> list[shares.Share]:
        """The account's shares, by name."""
        return [self._share(account, name, document) for name, document in self._sidecar.shares(account)]

    def update(self, account: str, name: str, *, quota: int | None, metadata: Mapping[str, str] | None) -> shares.Share:
        """Set what isn't None (metadata as a whole); raises KeyError for a missing share."""
        with self._lock:
            document = self._document(account, name)
            document["quota"] = document["quota"] if quota is None else quota
            document["metadata"] = document["metadata"] if metadata is None else dict(metadata)
            document["changed"] = max(self._now(), document["changed"] + 1)
            self._sidecar.put_share(account, name, document)
            return self._share(account, name, document)

    def delete(self, account: str, name: str) -> bool:
        """Remove the share and its files; False when it wasn't there. Its files go in the background."""
        with self._lock:
            if self._sidecar.share(account, name) is None:
                return False
            self._trees.pop((account, name), None)
            self._discard(self._path(account, name).parent)
            self._sidecar.drop_share(account, name)
            return True

    def delete_account(self, account: str) -> None:
        """Remove all of the account's shares."""
        for share in self.list(account):
            self.delete(account, share.name)

    def folder(self, account: str, name: str) -> Path:
        """Where the share's files lie; raises KeyError for a missing share."""
        self._document(account, name)
        return self._path(account, name)

    def tree(self, account: str, name: str) -> tree.Tree:
        """The share's files and directories; raises KeyError for a missing share."""
        with self._lock:
            self._document(account, name)
            key = (account, name)
            if key not in self._trees:
                memory = _Memory(self._sidecar, account, name)
                self._trees[key] = tree.Tree(self._path(account, name), memory, held=self._held)
            return self._trees[key]

    def lease(self, account: str, name: str) -> leases.Lease | None:
        """The lease on the share itself; raises KeyError for a missing share."""
        return _lease(self._document(account, name))

    def change_lease(
        self, account: str, name: str, change: Callable[[leases.Lease | None], leases.Lease | None]
    ) -> leases.Lease | None:
        """Put what `change` makes of the share's lease in its place; raises KeyError for a missing share."""
        with self._lock:
            document = self._document(account, name)
            lease = change(_lease(document))
            document["lease"] = None if lease is None else asdict(lease)
            self._sidecar.put_share(account, name, document)
            return lease

    def _now(self) -> int:
        return moments.ticks(self._time.now())

    def _path(self, account: str, name: str) -> Path:
        return self._root / account / name / "files"

    def _document(self, account: str, name: str) -> dict[str, Any]:
        document = self._sidecar.share(account, name)
        if document is None:
            raise KeyError(f"no share {name} in {account}")
        return document

    def _share(self, account: str, name: str, document: dict[str, Any]) -> shares.Share:
        lease, now = _lease(document), self._now()
        return shares.Share(
            account=account,
            name=name,
            quota=document["quota"],
            metadata=document["metadata"],
            etag=moments.etag(document["changed"]),
            last_modified=moments.moment(document["changed"]),
            lease_state=leases.state(lease, now),
            lease_status="locked" if leases.is_locked(lease, now) else "unlocked",
        )

    def _discard(self, folder: Path) -> None:
        aside = self._root / f"{_ASIDE}{uuid.uuid4().hex}"
        if folder.exists():
            folder.rename(aside)
            _remove(aside)


class _Memory:
    """The sidecar's facts of one share."""

    def __init__(self, facts: sidecar.Sidecar, account: str, name: str) -> None:
        self._facts = facts
        self._key = (account, name)

    def get(self, path: str) -> Mapping[str, Any] | None:
        return self._facts.get(*self._key, path)

    def put(self, path: str, document: Mapping[str, Any]) -> None:
        self._facts.put(*self._key, path, dict(document))

    def drop(self, path: str) -> None:
        self._facts.drop(*self._key, path)

    def move(self, old: str, new: str) -> None:
        self._facts.move(*self._key, old, new)


def _lease(document: Mapping[str, Any]) -> leases.Lease | None:
    return None if document["lease"] is None else leases.Lease(**document["lease"])


def _remove(folder: Path) -> None:
    # Not on the event loop, on which the storage provider deletes shares.
    threading.Thread(target=shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}).start()
