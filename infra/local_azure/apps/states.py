"""How a revision is: the recorded triples of provisioning, health and running state, from its document and replicas.

Reads the runtime, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.local_azure import replicas
from infra.local_azure.apps import template
from infra.local_azure.apps.context import Document


@dataclass(frozen=True)
class State:
    """What a revision's answer says of its health; `error` and `details` only where something is wrong."""

    provisioning: str
    health: str
    running: str
    replicas: int
    error: str | None = None
    details: str | None = None


def state(runtime: replicas.Runtime, app: Document, revision: Document) -> State:
    """The recorded triples of provisioning, health and running state."""
    running = runtime.replicas(revision["key"])
    if revision["phase"] == "Stopping" and not revision["again"]:
        return State("Provisioned", _health(revision), "Deprovisioning", max(1, len(running)))
    if revision["phase"] == "Stopped" or not app["running"]:
        return State("Provisioned", _health(revision), "Stopped", len(running))
    if revision["count"] == 0:
        # Assumed: neither the word nor the health of a revision at zero is recorded.
        return State("Provisioned", "Healthy", "ScaledToZero", len(running))
    count = len(running) or template.wanted_replicas(revision["template"])
    crashing = runtime.crashing(revision["key"])
    if crashing:
        return _failed(runtime, revision, crashing, count)
    healthy = all_ready(revision, running)
    if app["state"] == "InProgress" and revision["operation"] == app["operation"]:
        return State("Provisioning", "Healthy" if healthy else "None", "Processing", count)
    if healthy:
        return State("Provisioned", "Healthy", _running(revision, running), count)
    if revision["waking"]:
        # Assumed: on its way up from zero it is as healthy as it was.
        return State("Provisioned", "Healthy", "Activating", count, details=_hint(runtime, revision))
    if revision["ready"]:
        # Was ready, isn't: the SDK's enum has Degraded; when the service says so is assumed.
        return State("Provisioned", "Unhealthy", "Degraded", count, details=_hint(runtime, revision))
    return State("Provisioned", "None", "Activating", count, details=_hint(runtime, revision))


def _failed(runtime: replicas.Runtime, revision: Document, crashing: tuple[str, ...], count: int) -> State:
    """Recorded: revisions-list-failed."""
    running = runtime.replicas(revision["key"])
    bad = sum(not item.ready for item in running) or count
    error = f"Container crashing: {', '.join(crashing)}"
    hint = _hint(runtime, revision)
    return State(
        "Failed", "Unhealthy", "Failed", count, error, f"{bad}/{count} {error}" + (f". {hint}" if hint else "")
    )


def _hint(runtime: replicas.Runtime, revision: Document) -> str | None:
    return runtime.hint(revision["key"]) or None


def all_ready(revision: Document, running: tuple[replicas.Replica, ...]) -> bool:
    """Whether as many replicas are ready as the template wants at least."""
    ready = sum(item.ready for item in running)
    return ready >= template.wanted_replicas(revision["template"])


def _running(revision: Document, running: tuple[replicas.Replica, ...]) -> str:
    """Documented as "Running (at max)"; the word is assumed, and that only a count which rose to the maximum says it:
    recorded revisions whose limits are equal don't."""
    most = int(revision["template"]["scale"]["maxReplicas"])
    risen = most > template.wanted_replicas(revision["template"])
    return "RunningAtMaxScale" if risen and sum(item.ready for item in running) >= most else "Running"


def _health(revision: Document) -> str:
    """Recorded for a stopped revision that had been healthy: Healthy; otherwise None (assumed)."""
    return "Healthy" if revision["ready"] else "None"
