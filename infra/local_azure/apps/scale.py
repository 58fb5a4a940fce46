"""From a template's `scale` to the limits and the rule that a revision is scaled by. Pure."""

from __future__ import annotations

from infra.local_azure import replicas
from infra.local_azure.apps.context import Document

# Documented: learn.microsoft.com/azure/container-apps/scale-app, the default of an HTTP rule, and the rule of an app
# without any.
CONCURRENT_REQUESTS = 10


def of(template: Document) -> replicas.Scale:
    """No minimum is 0 (documented). The HTTP rule that asks for most counts (documented: any rule's condition is
    enough). What a rule of another kind would ask for isn't known here: it keeps one replica at least (assumed).

    The template's pollingInterval is for custom rules only (documented).
    """
    scale = template["scale"]
    rules = scale["rules"] or ()
    wanted = [concurrent_requests(rule) for rule in rules if rule.get("http")]
    others = len(wanted) < len(rules)
    least = int(scale["minReplicas"] or 0)
    return replicas.Scale(
        least=max(1, least) if others else least,
        most=scale["maxReplicas"],
        concurrent=min(wanted, default=None if others else CONCURRENT_REQUESTS),
        cooldown=float(scale["cooldownPeriod"]),
    )


def concurrent_requests(rule: Document) -> int:
    """Of an HTTP rule, or the default. Raises ValueError for what isn't a whole number of at least 1 (documented)."""
    sent = ((rule.get("http") or {}).get("metadata") or {}).get("concurrentRequests")
    number = CONCURRENT_REQUESTS if sent is None else int(str(sent))
    if number < 1:
        raise ValueError(f"'{sent}' is less than 1")
    return number
