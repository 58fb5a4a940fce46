"""What the runtime was told to run of each revision, the scratch folders of that, and a later look at failed mounts.

It changes no document, and keeps nothing for the next start of the server.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra.local_azure import clock, replicas
from infra.local_azure.apps import addresses, context, storages, template
from infra.local_azure.apps.context import Document
from infra.local_azure.runtime import mounts


class Launches:
    """The launches of every revision. `look` is called, with a revision's key, a while after what keeps it from
    starting was found."""

    def __init__(self, rooms: context.Context, known: storages.Storages, look: Callable[[str], None]) -> None:
        self._rooms = rooms
        self._storages = known
        self._look = look
        self._started: dict[str, replicas.Revision] = {}
        self._scratch: dict[str, Path] = {}
        self._looks: dict[str, clock.Cancel] = {}

    def start(self, app: Document, revision: Document) -> None:
        """Run it, with secrets and mounts as they are now."""
        key, value = revision["key"], self._value(app, revision)
        self._started[key] = value
        self._rooms.runtime.start(value)
        self._forget_look(key)
        if value.problem is not None:
            self.look_later(key)

    def unchanged(self, app: Document, revision: Document) -> bool:
        """Whether it would be started now as it was last started."""
        return self._value(app, revision) == self._started.get(revision["key"])

    def look_later(self, key: str) -> None:
        self._looks[key] = self._rooms.time.later(mounts.RETRY, lambda: self._look_now(key))

    def forget(self, key: str) -> None:
        """It ended, or is gone; so are its scratch folders."""
        self._forget_look(key)
        self._started.pop(key, None)
        folder = self._scratch.pop(key, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        for key in {*self._started, *self._scratch, *self._looks}:
            self.forget(key)

    def _look_now(self, key: str) -> None:
        del self._looks[key]
        self._look(key)

    def _forget_look(self, key: str) -> None:
        if key in self._looks:
            self._looks.pop(key).cancel()

    def _value(self, app: Document, revision: Document) -> replicas.Revision:
        environment = self._rooms.documents.get(app["environment"])
        if environment is None:
            raise RuntimeError(f"{app['id']} lost its environment {app['environment']}")
        around = template.Surroundings(
            app=app,
            hostname=addresses.fqdn(self._rooms, app, revision["name"]),
            dns_suffix=addresses.domain(self._rooms, environment),
            scratch=lambda volume: self._folder(revision["key"], volume),
        )
        return template.revision(self._rooms, self._storages, revision, around)

    def _folder(self, key: str, volume: str) -> Path:
        """The revision's own folder for a volume that isn't a share, gone when the revision is."""
        if key not in self._scratch:
            self._scratch[key] = Path(tempfile.mkdtemp(prefix="local-azure-volumes-"))
        folder = self._scratch[key] / volume
        folder.mkdir(exist_ok=True)
        return folder
