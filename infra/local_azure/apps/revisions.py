"""Revisions: made, started, replaced, stopped, pruned. Owns their documents and has the runtime follow them.

It knows no wire. What a start needs is `launches`', which revision leads and which go `succession`'s business. An app's
own document belongs to `apps`; here only `latest`, `latestReady` and `counter` of it are written, because they follow
from revisions.

A revision's document: `active` as on the wire; `phase` is Running, Stopping or Stopped; `ready` that it has
been ready since it was last started; `again` that it starts anew once it has stopped; `count` the replicas that its
scale asks for, None until it is ready; `waking` that it was at zero and has no ready replica yet.
"""

from __future__ import annotations

import secrets

from infra.local_azure import replicas
from infra.local_azure.apps import addresses, context, events, launches, scale, states, storages, succession, template
from infra.local_azure.apps.context import Document


class Revisions:
    """The revisions of every app."""

    def __init__(
        self, rooms: context.Context, mounts: storages.Storages, told: events.Events, scaler: replicas.Scaler
    ) -> None:
        self._rooms = rooms
        self._events = told
        self._scaler = scaler
        self._launches = launches.Launches(rooms, mounts, self._look)
        self._crashing: set[str] = set()
        self._ids = {item["key"]: item["id"] for item in rooms.documents.list(context.REVISIONS)}

    # Reading.

    def of(self, app: Document) -> list[Document]:
        """The app's revisions, oldest first."""
        return list(self._rooms.documents.list(context.REVISIONS, under=app["id"]))

    def find(self, app: Document, name: str) -> Document | None:
        return self._rooms.documents.get(f"{app['id']}/revisions/{name}")

    # Making.

    def create(self, app: Document) -> Document:
        """A new revision of the app's template, active and starting; `latest` follows.

        The first one is named as latest ready at once: recorded for an app none of whose revisions ever was.
        """
        name = addresses.new_revision(app, lambda name: self.find(app, name) is not None)
        app["counter"] += 1
        revision = {
            "id": f"{app['id']}/revisions/{name}",
            "name": name,
            "key": self._key(name),
            "app": app["id"],
            "number": app["counter"],
            "created": self._now(),
            "template": app["template"],
            "operation": app["operation"],
            "active": True,
            "phase": "Running",
            "ready": False,
            "again": False,
            "count": None,
            "waking": False,
            "lastActive": None,
        }
        app["latest"] = name
        app["latestReady"] = app["latestReady"] or name
        self._ids[revision["key"]] = revision["id"]
        self._put(revision)
        self._rooms.documents.put(app["id"], context.APPS, app)
        self._tell(revision, "RevisionCreation", f"Creating new revision: {name}")
        if app["running"]:
            self._start(app, revision)
        return revision

    def _key(self, name: str) -> str:
        """The name, unless an app of the same name in another group has such a revision. What precedes a slash
        isn't shown in replica names."""
        return name if name not in self._ids else f"{secrets.token_hex(4)}/{name}"

    # Starting and stopping.

    def resume(self) -> None:
        """Run again what ran before the server stopped."""
        for app in list(self._rooms.documents.list(context.APPS)):
            for revision in self.of(app):
                if revision["phase"] == "Stopping" and not revision["again"]:
                    self._stopped(app, revision)
                elif revision["phase"] != "Stopped" and app["running"] and app["state"] != "Deleting":
                    self._start(app, revision)

    def stop(self) -> None:
        """The server ends: nothing starts any more, nothing stays in memory or in scratch folders."""
        self._rooms.runtime.changed = lambda key: None
        self._launches.close()

    def activate(self, app: Document, revision: Document) -> None:
        if revision["phase"] == "Stopping":
            revision |= {"active": True, "again": True}
            self._put(revision)
        elif not revision["active"]:
            revision |= {"active": True, "phase": "Running", "ready": False}
            self._put(revision)
            if app["running"]:
                self._start(app, revision)

    def deactivate(self, revision: Document, reason: str) -> None:
        """Stop it for good: Deprovisioning until its replicas ended, then inactive and Stopped (recorded)."""
        if revision["phase"] != "Running" and not revision["again"]:
            return
        revision |= {"phase": "Stopping", "again": False}
        self._put(revision)
        self._tell(revision, "RevisionDeactivating", reason)
        self._name_latest_ready(revision)
        self._stop(revision)

    def restart(self, app: Document, revision: Document) -> None:
        """New processes; secrets and mounts are looked up anew (documented: a restart is how new secret values
        take effect)."""
        if revision["phase"] != "Running" or not app["running"]:
            return
        revision["ready"] = False
        if self._launches.unchanged(app, revision):
            self._put(revision)
            self._rooms.runtime.restart(revision["key"])
            return
        revision |= {"phase": "Stopping", "again": True}
        self._put(revision)
        self._stop(revision)

    def stop_all(self, app: Document) -> None:
        """The app was stopped: nothing runs, activity is kept (assumed)."""
        for revision in self.of(app):
            self._scaler.forget(revision["key"])
            self._rooms.runtime.stop(revision["key"])

    def start_all(self, app: Document) -> None:
        for revision in self.of(app):
            if revision["phase"] == "Stopped":
                continue
            if self._rooms.runtime.replicas(revision["key"]):
                self._put(revision | {"ready": False, "phase": "Stopping", "again": True})
            else:
                self._start(app, revision)

    def forget(self, app: Document) -> None:
        """The app is gone: stop everything, remove every document."""
        for revision in self.of(app):
            self._remove(revision)
        self._events.forget(app["id"])

    def _start(self, app: Document, revision: Document) -> None:
        revision |= {"phase": "Running", "again": False, "ready": False, "count": None, "waking": False}
        self._put(revision)
        self._launches.start(app, revision)

    def _look(self, key: str) -> None:
        """Start anew once what kept the revision from starting is mended."""
        app, revision = self._both(key)
        if app is None or revision is None or revision["phase"] != "Running" or not app["running"]:
            return
        if self._launches.unchanged(app, revision):
            self._launches.look_later(key)
        else:
            self.restart(app, revision)

    def _stop(self, revision: Document) -> None:
        """Tell the runtime; when nothing ran, there is no change to wait for."""
        idle = not self._rooms.runtime.replicas(revision["key"])
        self._scaler.forget(revision["key"])
        self._rooms.runtime.stop(revision["key"])
        if idle:
            self.changed(revision["key"])

    def _remove(self, revision: Document) -> None:
        key = revision["key"]
        self._ids.pop(key, None)
        self._rooms.runtime.stop(key)
        self._rooms.documents.delete(revision["id"])
        self._clear(key)

    def _clear(self, key: str) -> None:
        """Forget everything that isn't in the revision's document."""
        self._scaler.forget(key)
        self._launches.forget(key)
        self._crashing.discard(key)

    # What follows from a change of replicas.

    def changed(self, key: str) -> None:
        """The runtime's word that replicas of `key` changed state."""
        app, revision = self._both(key)
        if app is None or revision is None:
            return
        running = self._rooms.runtime.replicas(key)
        if revision["phase"] == "Stopping":
            if not running:
                self._stopped(app, revision)
            return
        self._note_crash(revision)
        self._note_awake(revision, running)
        if app["running"] and not revision["ready"] and states.all_ready(revision, running):
            self._became_ready(app, revision)

    def _note_crash(self, revision: Document) -> None:
        names = self._rooms.runtime.crashing(revision["key"])
        if names and revision["key"] not in self._crashing:
            self._crashing.add(revision["key"])
            self._tell(revision, "ContainerCrashing", f"Container crashing: {', '.join(names)}")
        elif not names:
            self._crashing.discard(revision["key"])

    def _note_awake(self, revision: Document, running: tuple[replicas.Replica, ...]) -> None:
        ready = any(item.ready for item in running)
        if ready and revision["waking"]:
            revision["waking"] = False
            self._put(revision)
        self._scaler.noted(revision["key"], ready=ready)

    def scaled(self, key: str, count: int) -> None:
        """The scaler's word that `key` is to have `count` replicas. The events are named as KEDA's (assumed)."""
        _, revision = self._both(key)
        if revision is None or revision["phase"] != "Running":
            return
        asleep = revision["count"] == 0
        revision |= {"count": count, "waking": count > 0 and (asleep or revision["waking"])}
        self._put(revision)
        if asleep:
            self._tell(revision, "KEDAScaleTargetActivated", f"Scaled {revision['name']} from 0 to {count}")
        elif count == 0:
            self._tell(revision, "KEDAScaleTargetDeactivated", f"Deactivated {revision['name']}, now at 0 replicas")
        self._rooms.runtime.scale(key, count)

    def _stopped(self, app: Document, revision: Document) -> None:
        if revision["again"]:
            revision |= {"phase": "Running", "again": False}
            self._put(revision)
            if app["running"]:
                self._start(app, revision)
            return
        revision |= {"active": False, "phase": "Stopped", "lastActive": self._now()}
        self._put(revision)
        self._clear(revision["key"])
        self.prune(app)

    def _became_ready(self, app: Document, revision: Document) -> None:
        revision["ready"] = True
        if revision["count"] is None:
            revision["count"] = template.wanted_replicas(revision["template"])
            self._scaler.watch(revision["key"], scale.of(revision["template"]))
        self._put(revision)
        self._tell(revision, "RevisionReady", f"Successfully provisioned revision '{revision['name']}'")
        if succession.leads(revision, self.find(app, app["latestReady"])):
            app["latestReady"] = revision["name"]
            self._rooms.documents.put(app["id"], context.APPS, app)
        if revision["name"] == app["latest"]:
            self.settle(app)

    def _name_latest_ready(self, leaving: Document) -> None:
        """Another revision is the latest ready one from now on, if there is one."""
        app = self._rooms.documents.get(leaving["app"])
        if app is None or app["latestReady"] != leaving["name"]:
            return
        name = succession.successor(self.of(app))
        if name is not None:
            app["latestReady"] = name
            self._rooms.documents.put(app["id"], context.APPS, app)

    def settle(self, app: Document) -> None:
        """Whatever is replaced goes. So it is at the end of every write to the app too, e.g. one that changed the mode
        (assumed)."""
        for revision in succession.replaced(app, self.of(app)):
            self.deactivate(revision, f"Deactivating old revisions for ContainerApp '{app['name']}'")

    def prune(self, app: Document) -> None:
        """Remove the inactive ones that are too many."""
        for revision in succession.surplus(app, self.of(app)):
            self._remove(revision)

    def _both(self, key: str) -> tuple[Document | None, Document | None]:
        """The app and the revision of `key`, as far as they are there."""
        revision = self._rooms.documents.get(self._ids.get(key, ""))
        return (self._rooms.documents.get(revision["app"]) if revision else None), revision

    def _now(self) -> str:
        return self._rooms.time.now().strftime("%Y-%m-%dT%H:%M:%S+00:00")

    def _put(self, revision: Document) -> None:
        self._rooms.documents.put(revision["id"], context.REVISIONS, revision)

    def _tell(self, revision: Document, reason: str, message: str) -> None:
        self._events.tell(revision["app"], revision["name"], reason, message)
