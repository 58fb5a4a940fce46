"""The routes below an app: its revisions and their replicas. Translates; `revisions` acts."""

from __future__ import annotations

from infra.local_azure import wire
from infra.local_azure.apps import apps, context, revisions, views
from infra.local_azure.apps.context import Document

_TYPE = "Microsoft.App/containerApps/revisions"


class Children:
    """Revision and replica requests."""

    def __init__(self, rooms: context.Context, owners: apps.Apps, known: revisions.Revisions) -> None:
        self._rooms = rooms
        self._apps = owners
        self._revisions = known

    def routes(self) -> list[wire.Route]:
        one = f"{apps.PATTERN}/revisions/{{revision}}"
        return [
            wire.Route("GET", f"{apps.PATTERN}/revisions", self._list),
            wire.Route("GET", one, self._get),
            wire.Route("POST", f"{one}/activate", self._activate),
            wire.Route("POST", f"{one}/deactivate", self._deactivate),
            wire.Route("POST", f"{one}/restart", self._restart),
            wire.Route("GET", f"{one}/replicas", self._replicas),
            wire.Route("GET", f"{one}/replicas/{{replica}}", self._replica),
        ]

    async def _list(self, call: wire.Call) -> wire.Reply:
        """Oldest first (recorded: revisions-list-activating). `$filter` isn't offered."""
        app = self._app(call)
        found = self._revisions.of(app)
        return wire.Reply(200, {"value": [views.revision(self._rooms, app, item) for item in found]})

    async def _get(self, call: wire.Call) -> wire.Reply:
        app, revision = self._both(call)
        return wire.Reply(200, views.revision(self._rooms, app, revision))

    async def _activate(self, call: wire.Call) -> wire.Reply:
        """Acknowledged at once by a JSON string; the state lags (recorded). So for the other two."""
        app, revision = self._both(call)
        self._revisions.activate(app, revision)
        return wire.Reply(200, "Activate succeeded")

    async def _deactivate(self, call: wire.Call) -> wire.Reply:
        _, revision = self._both(call)
        self._revisions.deactivate(revision, f"Deactivating revision '{revision['name']}'")
        return wire.Reply(200, "Deactivate succeeded")

    async def _restart(self, call: wire.Call) -> wire.Reply:
        """Recorded: revision-restart."""
        app, revision = self._both(call)
        self._revisions.restart(app, revision)
        return wire.Reply(200, "Restart succeeded")

    async def _replicas(self, call: wire.Call) -> wire.Reply:
        app, revision = self._both(call)
        found = self._rooms.runtime.replicas(revision["key"])
        return wire.Reply(200, {"value": [views.replica(self._rooms, app, revision, item) for item in found]})

    async def _replica(self, call: wire.Call) -> wire.Reply:
        app, revision = self._both(call)
        name = call.names["replica"]
        found = next((item for item in self._rooms.runtime.replicas(revision["key"]) if item.name == name), None)
        if found is None:
            raise _not_found("Replica", name)
        return wire.Reply(200, views.replica(self._rooms, app, revision, found))

    def _app(self, call: wire.Call) -> Document:
        """Recorded for children of Microsoft.App: a missing parent is the gateway's 404."""
        document = self._apps.find(context.app_id(call))
        if document is None:
            verb = "read" if call.method == "GET" else "write"
            raise wire.parent_not_found(verb, _TYPE, context.app_id(call))
        return document

    def _both(self, call: wire.Call) -> tuple[Document, Document]:
        app = self._app(call)
        revision = self._revisions.find(app, call.names["revision"])
        if revision is None:
            raise _not_found("Revision", call.names["revision"])
        return app, revision


def _not_found(what: str, name: str) -> wire.ArmError:
    """Made by the provider, as for its other children; code and words are assumed."""
    return wire.ArmError(404, f"{what}NotFound", f"{what} '{name}' was not found.")
