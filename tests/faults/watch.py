"""What must hold at every single change in the local Azure, and what was made and removed in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from infra.local_azure import replicas, server
from infra.local_azure.apps import context, traffic
from tests.faults import shifts

RESOURCES = (
    "microsoft.resources/resourcegroups",
    "microsoft.storage/storageaccounts",
    "microsoft.operationalinsights/workspaces",
    context.ENVIRONMENTS,
    context.STORAGES,
    context.APPS,
    context.REVISIONS,
)


class Watch:
    """Looks at a server from its start on. `broken` says what was violated; `begin` starts it over. `shifts` looks at
    rollouts."""

    def __init__(
        self,
        local: server.Server,
        runtime: replicas.Runtime,
        *,
        ending: Collection[str] = (),
        pausing: Collection[str] = (),
    ) -> None:
        """`ending` names the apps that are meant to serve no more, `pausing` those that may stop for a while."""
        self.broken: list[str] = []
        self.made: Counter[str] = Counter()
        self.removed: Counter[str] = Counter()
        self._documents, self._shares, self._runtime = local._documents, local._shares, runtime
        self._keys, self._ending, self._pausing = local._storage.keys, frozenset(ending), frozenset(pausing)
        self.shifts = shifts.Shifts(local.settings.state / "shares", local._time.now)
        self._served: set[str] = set()
        self._on = False
        self._hook()

    def ended(self) -> list[str]:
        """What was violated, and what must not be at the end."""
        suffixes = [f"{app['name']} has a revision suffix" for app in self._apps() if app["template"]["revisionSuffix"]]
        idle = sorted(one for one in self._served if not self._meant(one) and one not in self._serving())
        silent = [f"{one} serves no more at the end" for one in idle]
        shifted = [line for app in self._apps() for line in self.shifts.ended(app, self._revisions(app))]
        return [*self.broken, *suffixes, *silent, *shifted, *self._dead_keys()]

    def _dead_keys(self) -> list[str]:
        """Environment storages that revisions mount and whose key the account doesn't have any more."""
        found = []
        for storage in self._documents.list(context.STORAGES):
            keys = self._keys(storage["accountName"]) or ()
            if storage["accountKey"] not in keys and self._users(storage["id"], active=True):
                found.append(f"environment storage {storage['name']} is mounted and its key is dead")
        return found

    def begin(self) -> None:
        self.broken.clear()
        self.made.clear()
        self.removed.clear()
        self._served = self._serving()
        self.shifts.begin()
        self._on = True
        self._look("the start")

    def _hook(self) -> None:
        put, delete = self._documents.put, self._documents.delete
        dropped, changed = self._shares.delete, self._runtime.changed

        def putting(resource_id: str, kind: str, document: dict[str, Any]) -> None:
            known = self._documents.get(resource_id)
            if known and kind == context.STORAGES and known["accountKey"] != document["accountKey"]:
                self._unmounted(resource_id, "was given another key")
            put(resource_id, kind, document)
            if known is None and kind in RESOURCES:
                self.made[kind.rpartition("/")[2]] += 1
            if kind in (context.APPS, context.REVISIONS):
                self._look(f"{kind.rpartition('/')[2]} {document.get('name')} was written")

        def deleting(resource_id: str) -> bool:
            kind = self._kind(resource_id)
            if kind == context.STORAGES:
                self._unmounted(resource_id, "was removed")
            gone = delete(resource_id)
            if gone and kind in RESOURCES:
                self.removed[kind.rpartition("/")[2]] += 1
                self._look(f"{resource_id} was removed")
            return gone

        def dropping(account: str, name: str) -> bool:
            for storage in self._documents.list(context.STORAGES):
                if (storage["accountName"], storage["shareName"]) == (account, name):
                    self._unmounted(storage["id"], "lost its share")
            gone = dropped(account, name)
            self.removed["shares"] += gone
            return gone

        def changing(key: str) -> None:
            changed(key)
            self._look(f"replicas of {key} changed")

        self._documents.put, self._documents.delete = putting, deleting  # type: ignore[method-assign]
        self._shares.delete = dropping  # type: ignore[method-assign]
        self._runtime.changed = changing

    def _kind(self, resource_id: str) -> str:
        row = self._documents._db.execute("SELECT kind FROM documents WHERE id = ?", (resource_id.lower(),)).fetchone()
        return str(row[0]) if row else ""

    def _apps(self) -> list[dict[str, Any]]:
        return list(self._documents.list(context.APPS))

    def _revisions(self, app: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self._documents.list(context.REVISIONS, under=app["id"]))

    def _serves(self, app: dict[str, Any]) -> bool:
        """Whether a request to the app's own address would reach a replica that is ready, or wake one."""
        revisions = self._revisions(app)
        resting = {one["key"] for one in revisions if one["ready"] and (one["count"] == 0 or one["waking"])}
        targets = [one.key for one in traffic.targets(app, revisions) if one.weight] if app["running"] else []
        return any(key in resting or any(each.ready for each in self._runtime.replicas(key)) for key in targets)

    def _look(self, after: str) -> None:
        if not self._on:
            return
        serving = self._serving()
        lost = sorted(one for one in self._served - serving if not self._meant(one) and not self._pauses(one))
        self.broken += [f"{one} serves no more, after {after}" for one in lost]
        self._served |= serving
        for app in self._apps():
            revisions = self._revisions(app)
            up = {one["id"] for one in revisions if any(each.ready for each in self._runtime.replicas(one["key"]))}
            self.broken += [f"{line}, after {after}" for line in self.shifts.look(app, revisions, up=up)]

    def _serving(self) -> set[str]:
        return {app["id"] for app in self._apps() if self._serves(app)}

    def _meant(self, app_id: str) -> bool:
        return app_id.rpartition("/")[2] in self._ending

    def _pauses(self, app_id: str) -> bool:
        return app_id.rpartition("/")[2] in self._pausing

    def _unmounted(self, storage_id: str, what: str) -> None:
        if self._on and (users := self._users(storage_id, active=False)):
            self.broken.append(f"{storage_id} {what} although {users} mount it")

    def _users(self, storage_id: str, *, active: bool) -> list[str]:
        """Listed revisions that mount the environment storage, or active ones only."""
        environment, _, name = storage_id.lower().partition("/storages/")
        return [
            revision["name"]
            for app in self._apps()
            if app["environment"].lower() == environment
            for revision in self._revisions(app)
            if revision["active"] or not active
            if any((one.get("storageName") or "").lower() == name for one in revision["template"]["volumes"] or ())
        ]
