"""Who answers at a host name: from `<name>[.internal].<environment>.localhost` to an app's or revision's targets.

Read-only. The index of names is made anew when an app or environment came or went; an answer is kept until something
stored changes, as the ingress asks for every request.
"""

from __future__ import annotations

from infra.local_azure import replicas
from infra.local_azure.apps import context, revisions, traffic
from infra.local_azure.apps.context import Document


class Sites:
    """`replicas.Sites` over the stored apps."""

    def __init__(self, rooms: context.Context, known: revisions.Revisions) -> None:
        self._rooms = rooms
        self._revisions = known
        self._index: dict[tuple[str, str], str] = {}
        self._kept: dict[str, replicas.Site | None] = {}
        self._version = -1

    def site(self, host: str) -> replicas.Site | None:
        """None for a name nobody has, or an app without ingress. `host` has no port and is lower case."""
        if self._version != self._rooms.documents.version:
            self._version = self._rooms.documents.version
            self._kept.clear()
        if host not in self._kept:
            self._kept[host] = self._site(host)
        return self._kept[host]

    def _site(self, host: str) -> replicas.Site | None:
        name, _, rest = host.removesuffix(".localhost").partition(".")
        internal = rest.startswith("internal.")
        app = self._app(rest.removeprefix("internal."), name.partition("--")[0])
        if app is None or app["configuration"]["ingress"] is None or not host.endswith(".localhost"):
            return None
        ingress = app["configuration"]["ingress"]
        targets = self._targets(app, name)
        if targets is None or internal == ingress["external"]:
            return None
        return replicas.Site(
            app=app["name"],
            external=ingress["external"],
            allow_insecure=ingress["allowInsecure"],
            sticky=((ingress["stickySessions"] or {}).get("affinity") or "none").lower() == "sticky",
            targets=targets if app["running"] else (),
        )

    def _targets(self, app: Document, name: str) -> tuple[replicas.Target, ...] | None:
        """The app's own targets, or the one of `<app>--<suffix>` or `<app>---<label>`; None for an unknown one."""
        if name == app["name"]:
            return traffic.targets(app, self._revisions.of(app))
        label = name.removeprefix(f"{app['name']}---")
        if label != name:
            found = traffic.labelled(app, self._revisions.of(app), label)
        else:
            found = self._revisions.find(app, name)
        if found is None:
            return None
        return (replicas.Target(found["key"], 100),) if traffic.reachable(found) else ()

    def _app(self, domain: str, name: str) -> Document | None:
        app_id = self._index.get((domain, name))
        app = self._rooms.documents.get(app_id) if app_id else None
        if app is None:
            self._rebuild()
            app_id = self._index.get((domain, name))
            app = self._rooms.documents.get(app_id) if app_id else None
        return app

    def _rebuild(self) -> None:
        domains = {item["id"].lower(): item["domain"] for item in self._rooms.documents.list(context.ENVIRONMENTS)}
        self._index = {
            (domains.get(app["environment"].lower(), ""), app["name"]): app["id"]
            for app in self._rooms.documents.list(context.APPS)
        }
