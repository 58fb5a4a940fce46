"""Operations that an image holds open: one that made a revision whose image can't be pulled isn't over in time.

Reads documents and replicas, changes nothing.
"""

from __future__ import annotations

from infra.local_azure import operations, replicas, store
from infra.local_azure.apps import context
from infra.local_azure.runtime import wording


class Pulls:
    """Who is asked of every operation that is due."""

    def __init__(self, documents: store.Store, runtime: replicas.Runtime) -> None:
        self._documents = documents
        self._runtime = runtime

    def hold(self, operation: operations.Operation) -> bool:
        """Whether the operation's revision can't be pulled (public thread: such an operation stays open until it
        expires; when exactly it ends otherwise is assumed). A slow pull doesn't hold it (assumed)."""
        if operation.family != context.APP_OPERATIONS or operation.verb not in ("PUT", "PATCH"):
            return False
        app = self._documents.get(operation.resource_id)
        if app is None or app["operation"] != operation.id or not app["running"]:
            return False
        revision = self._documents.get(f"{app['id']}/revisions/{app['latest']}")
        return revision is not None and revision["operation"] == operation.id and self._unpulled(revision["key"])

    def _unpulled(self, key: str) -> bool:
        found = (status for replica in self._runtime.replicas(key) for status in replica.containers)
        return any(wording.UNPULLED in status.details for status in found)
