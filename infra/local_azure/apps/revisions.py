"""Revisions: made, started, replaced, stopped, pruned. Owns their documents and talks to the runtime.

It knows no wire. An app's own document belongs to `apps`; here only `latest`, `latestReady` and `counter` of
it are written, because they follow from revisions.

A revision's document: `active` as on the wire; `phase` is Running, Stopping or Stopped; `ready` that it has
been ready since it was last started; `again` that it starts anew once it has stopped; `count` the replicas that its
scale asks for, None until it is ready; `waking` that it was at zero and has no ready replica yet.
"""

from __future__ import annotations

import secrets
import shutil
import string
import tempfile
from pathlib import Path

from infra.local_azure import clock, replicas
from infra.local_azure.apps import addresses, context, environments, events, scale, states, storages, template, traffic
from infra.local_azure.apps.context import Document

# Kubernetes tries a failed mount again (documented); how often is assumed.
RETRY = 30.0


class Revisions:
    """The revisions of every app."""

    def __init__(
        self,
        rooms: context.Context,
        known: environments.Environments,
        mounts: storages.Storages,
        told: events.Events,
        scaler: replicas.Scaler,
    ) -> None:
        self._rooms = rooms
        self._environments = known
        self._storages = mounts
        self._events = told
        self._scaler = scaler
        self._started: dict[str, replicas.Revision] = {}
        self._scratch: dict[str, Path] = {}
        self._retries: dict[str, clock.Cancel] = {}
        self._crashing: set[str] = set()
        self._ids = {item["key"]: item["id"] for item in rooms.documents.list(context.REVISIONS)}

    # Reading.

    def of(self, app: Document) -> list[Document]:
        """The app's revisions, oldest first."""
        return list(self._rooms.documents.list(context.REVISIONS, under=app["id"]))

    def find(self, app: Document, name: str) -> Document | None:
        return self._rooms.documents.get(f"{app['id']}/revisions/{name}")

    def fqdn(self, app: Document, name: str) -> str:
        """`<name>.<domain>`, with `.internal` for an app that isn't external; "" without ingress (recorded)."""
        ingress = app["configuration"]["ingress"]
        environment = self._environments.find(app["environment"])
        if ingress is None or environment is None:
            return ""
        return f"{name}{'' if ingress['external'] else '.internal'}.{addresses.domain(self._rooms, environment)}"

    # Making.

    def create(self, app: Document) -> Document:
        """A new revision of the app's template, active and starting; `latest` follows.

        The first one is named as latest ready at once: recorded for an app none of whose revisions ever was.
        """
        name = self._new_name(app)
        app["counter"] += 1
        revision = {
            "id": f"{app['id']}/revisions/{name}",
            "name": name,
            "key": self._key(name),
            "app": app["id"],
            "number": app["counter"],
            "created": self._rooms.time.now().strftime("%Y-%m-%dT%H:%M:%S+00:00"),
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

    def _new_name(self, app: Document) -> str:
        """The suffix asked for; else random for the first, a counter for later ones (recorded)."""
        suffix = app["template"]["revisionSuffix"]
        if suffix:
            return f"{app['name']}--{suffix}"
        if not app["counter"]:
            letters = string.ascii_lowercase + string.digits
            return f"{app['name']}--{''.join(secrets.choice(letters) for _ in range(7))}"
        number = app["counter"]
        while self.find(app, f"{app['name']}--{number:07d}") is not None:
            number += 1
        return f"{app['name']}--{number:07d}"

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
        for key in {*self._started, *self._scratch, *self._retries}:
            self._clear(key)

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
        stays = revision["phase"] == "Running" or revision["again"]
        if not stays:
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
        wanted = self._value(app, revision)
        revision["ready"] = False
        if wanted == self._started.get(revision["key"]):
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
            if revision["phase"] != "Stopped":
                revision |= {"ready": False, "phase": "Running"}
                again = bool(self._rooms.runtime.replicas(revision["key"]))
                self._put(revision | ({"phase": "Stopping", "again": True} if again else {}))
                if not again:
                    self._start(app, revision)

    def forget(self, app: Document) -> None:
        """The app is gone: stop everything, remove every document."""
        for revision in self.of(app):
            self._remove(revision)
        self._events.forget(app["id"])

    def _start(self, app: Document, revision: Document) -> None:
        revision |= {"phase": "Running", "again": False, "ready": False, "count": None, "waking": False}
        self._put(revision)
        value = self._value(app, revision)
        self._started[revision["key"]] = value
        self._rooms.runtime.start(value)
        self._forget_retry(revision["key"])
        if value.problem is not None:
            self._retry_later(revision["key"])

    def _retry_later(self, key: str) -> None:
        self._retries[key] = self._rooms.time.later(RETRY, lambda: self._retry(key))

    def _forget_retry(self, key: str) -> None:
        if key in self._retries:
            self._retries.pop(key).cancel()

    def _retry(self, key: str) -> None:
        """Start anew once what kept the revision from starting is mended."""
        del self._retries[key]
        revision = self._rooms.documents.get(self._ids.get(key, ""))
        app = self._rooms.documents.get(revision["app"]) if revision else None
        if revision is None or app is None or revision["phase"] != "Running" or not app["running"]:
            return
        if self._value(app, revision) == self._started.get(key):
            self._retry_later(key)
        else:
            self.restart(app, revision)

    def _value(self, app: Document, revision: Document) -> replicas.Revision:
        environment = self._environments.find(app["environment"])
        if environment is None:
            raise RuntimeError(f"{app['id']} lost its environment {app['environment']}")
        around = template.Surroundings(
            app=app,
            hostname=self.fqdn(app, revision["name"]),
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
        self._forget_retry(key)
        self._started.pop(key, None)
        self._crashing.discard(key)
        folder = self._scratch.pop(key, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    # What follows from a change of replicas.

    def changed(self, key: str) -> None:
        """The runtime's word that replicas of `key` changed state."""
        revision = self._rooms.documents.get(self._ids.get(key, ""))
        app = self._rooms.documents.get(revision["app"]) if revision else None
        if revision is None or app is None:
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
        revision = self._rooms.documents.get(self._ids.get(key, ""))
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
        revision |= {
            "active": False,
            "phase": "Stopped",
            "again": False,
            "lastActive": self._rooms.time.now().strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        }
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
        before = self.find(app, app["latestReady"])
        if before is None or revision["number"] >= before["number"] or not traffic.reachable(before):
            app["latestReady"] = revision["name"]
            self._rooms.documents.put(app["id"], context.APPS, app)
        if revision["name"] == app["latest"]:
            self.settle(app)

    def _name_latest_ready(self, leaving: Document) -> None:
        """Another revision is the latest ready one from now on, if one is ready (assumed)."""
        app = self._rooms.documents.get(leaving["app"])
        if app is None or app["latestReady"] != leaving["name"]:
            return
        ready = [item["name"] for item in self.of(app) if item["ready"] and traffic.reachable(item)]
        if ready:
            app["latestReady"] = ready[-1]
            self._rooms.documents.put(app["id"], context.APPS, app)

    def settle(self, app: Document) -> None:
        """Single mode, latest revision ready: every older one that still runs goes (recorded). So it is at the end
        of every write to the app too, e.g. one that changed the mode; none goes while the latest is inactive (both
        assumed)."""
        latest = self.find(app, app["latest"])
        single = app["configuration"]["activeRevisionsMode"] == "Single"
        if not single or latest is None or not (latest["ready"] and traffic.reachable(latest)):
            return
        for revision in self.of(app):
            if revision["number"] < latest["number"]:
                self.deactivate(revision, f"Deactivating old revisions for ContainerApp '{app['name']}'")

    def prune(self, app: Document) -> None:
        """At most maxInactiveRevisions inactive ones are kept, the oldest go first (documented); never the latest
        (assumed)."""
        inactive = [item for item in self.of(app) if not item["active"] and item["name"] != app["latest"]]
        surplus = len(inactive) - app["configuration"]["maxInactiveRevisions"]
        for revision in inactive[: max(0, surplus)]:
            self._remove(revision)

    def _put(self, revision: Document) -> None:
        self._rooms.documents.put(revision["id"], context.REVISIONS, revision)

    def _tell(self, revision: Document, reason: str, message: str) -> None:
        self._events.tell(revision["app"], revision["name"], reason, message)
