"""Which of an app's revisions leads, and which ones go: the latest ready one, the replaced, the surplus. Pure.

Documents in, documents out; changing and stopping them is the business of `revisions`.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.local_azure.apps import traffic
from infra.local_azure.apps.context import Document


def leads(ready: Document, before: Document | None) -> bool:
    """Whether a revision that became ready is the latest ready one from now on, if `before` was."""
    return before is None or ready["number"] >= before["number"] or not traffic.reachable(before)


def successor(revisions: Sequence[Document]) -> str | None:
    """The name of the latest ready one now that another isn't, if one is ready (assumed). Oldest first."""
    ready = [item["name"] for item in revisions if item["ready"] and traffic.reachable(item)]
    return ready[-1] if ready else None


def replaced(app: Document, revisions: Sequence[Document]) -> list[Document]:
    """Single mode, latest revision ready: every older one (recorded). None while the latest is inactive (assumed)."""
    latest = next((item for item in revisions if item["name"] == app["latest"]), None)
    single = app["configuration"]["activeRevisionsMode"] == "Single"
    if not single or latest is None or not (latest["ready"] and traffic.reachable(latest)):
        return []
    return [item for item in revisions if item["number"] < latest["number"]]


def surplus(app: Document, revisions: Sequence[Document]) -> list[Document]:
    """At most maxInactiveRevisions inactive ones are kept, the oldest go first (documented); never the latest
    (assumed). Oldest first."""
    inactive = [item for item in revisions if not item["active"] and item["name"] != app["latest"]]
    return inactive[: max(0, len(inactive) - app["configuration"]["maxInactiveRevisions"])]
