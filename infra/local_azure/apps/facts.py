"""What is true of the apps at this moment, for a test that watches every change. Reads; changes and answers nothing."""

from __future__ import annotations

from collections.abc import Mapping

from infra.local_azure.apps import context, revisions, traffic
from infra.local_azure.apps.context import Document


class Facts:
    """Questions without a wire, cheap enough to be asked at every change."""

    def __init__(self, rooms: context.Context, known: revisions.Revisions) -> None:
        self._rooms = rooms
        self._revisions = known

    def serving(self, app_id: str) -> frozenset[str]:
        """The names of the app's revisions that have a ready replica and get requests: those its traffic goes to, or
        every active one of an app without ingress. Empty for an app that is stopped or isn't there."""
        app = self._rooms.documents.get(app_id)
        if app is None or not app["running"]:
            return frozenset()
        known = self._revisions.of(app)
        if app["configuration"]["ingress"] is None:
            chosen = {item["key"] for item in known if item["active"]}
        else:
            chosen = {target.key for target in traffic.targets(app, known)}
        return frozenset(item["name"] for item in known if item["key"] in chosen and self._ready(item))

    def storages(self) -> frozenset[str]:
        """The ids of every environment storage, in lower case."""
        return frozenset(item["id"].lower() for item in self._rooms.documents.list(context.STORAGES))

    def mounted(self) -> Mapping[str, frozenset[str]]:
        """The ids of the environment storages, in lower case, that each app and each active revision names, by the id
        of the app or revision."""
        found: dict[str, frozenset[str]] = {}
        for app in self._rooms.documents.list(context.APPS):
            found[app["id"].lower()] = _named(app, app["template"])
            for item in self._revisions.of(app):
                if item["active"]:
                    found[item["id"].lower()] = _named(app, item["template"])
        return found

    def _ready(self, revision: Document) -> bool:
        return any(replica.ready for replica in self._rooms.runtime.replicas(revision["key"]))


def _named(app: Document, template: Document) -> frozenset[str]:
    volumes = template["volumes"] or ()
    names = (volume.get("storageName") for volume in volumes)
    return frozenset(f"{app['environment']}/storages/{name}".lower() for name in names if name)
