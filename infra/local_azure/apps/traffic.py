"""Which revision gets how much traffic: what an answer says, and where a request goes. Pure.

The two differ on purpose: the answer follows the names (recorded: a new revision shows 100 while it is still
Activating), a request goes only to what can serve it.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.local_azure import replicas
from infra.local_azure.apps.context import Document


def weight(app: Document, revision: Document) -> int:
    """`trafficWeight` of the revision. Single mode: all to the latest one, ready or not (recorded)."""
    if app["configuration"]["activeRevisionsMode"] == "Single" or app["configuration"]["ingress"] is None:
        return 100 if revision["name"] == app["latest"] else 0
    return sum(item["weight"] for item in _array(app) if _named(app, item) == revision["name"])


def labels(app: Document, revision: Document) -> list[str]:
    return [item["label"] for item in _array(app) if item.get("label") and _named(app, item) == revision["name"]]


def targets(app: Document, revisions: Sequence[Document]) -> tuple[replicas.Target, ...]:
    """Where requests to the app's own address go. `latestRevision` means the latest ready one (documented).

    A weight on an inactive revision reaches nobody: the others share its requests (recorded as accepted; the effect
    is assumed). Single mode: all go to the latest ready one, whatever else is active, and stay there when it crashes
    or is no longer ready: there is nobody then who answers (assumed).
    """
    running = {item["name"]: item for item in revisions if reachable(item)}
    latest = latest_ready(app, revisions)
    if app["configuration"]["activeRevisionsMode"] == "Single":
        return (replicas.Target(latest["key"], 100),) if latest else ()
    shares: dict[str, int] = {}
    for item in _array(app):
        chosen = latest if item.get("latestRevision") else running.get(item.get("revisionName", ""))
        if chosen is not None and item["weight"]:
            shares[chosen["key"]] = shares.get(chosen["key"], 0) + item["weight"]
    return tuple(replicas.Target(key, share) for key, share in shares.items())


def labelled(app: Document, revisions: Sequence[Document], label: str) -> Document | None:
    """The active revision that carries `label` (documented: `<app>---<label>` addresses)."""
    names = {_named(app, item) for item in _array(app) if item.get("label") == label}
    return next((item for item in revisions if reachable(item) and item["name"] in names), None)


def latest_ready(app: Document, revisions: Sequence[Document]) -> Document | None:
    """The one named so. If it was deactivated and no other is ready, the newest active one, which can't answer yet."""
    active = [item for item in revisions if reachable(item)]
    named = next((item for item in active if item["name"] == app["latestReady"]), None)
    return named or next(reversed(active), None)


def reachable(revision: Document) -> bool:
    """Whether requests may go to it: active, and not on its way out. What stops leaves the ingress first."""
    return bool(revision["active"] and (revision["phase"] != "Stopping" or revision["again"]))


def _array(app: Document) -> list[Document]:
    ingress = app["configuration"]["ingress"]
    return list(ingress["traffic"]) if ingress else []


def _named(app: Document, item: Document) -> str:
    return str(app["latest"] if item.get("latestRevision") else item.get("revisionName", ""))
