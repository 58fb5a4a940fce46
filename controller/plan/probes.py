"""The three probes of an app's container, from its startupBudget and its rollout's check. Pure.

Startup and liveness ask whether the port is open: nothing else is known to be there. Readiness asks the check's path,
if there is one. An app that opens its port early is past its startup probe then, and may stay unready for as long as it
likes: no probe ends that, the rollout's deadline does.
"""

from __future__ import annotations

import math
from typing import Any

from controller.model import desired, limits

Json = dict[str, Any]

WAITS = 5
"""The most seconds a check may take: by far more than a connection within a machine, less than people notice."""


def wanted(app: desired.InferenceApp) -> list[Json]:
    """The probes as they are sent. One asks in one way only, so the other is asked to be absent."""
    port, check = app.spec.ingress.target_port, app.spec.rollout.check
    opens: Json = {"tcpSocket": {"port": port}, "httpGet": None}
    answers: Json = opens
    if check is not None:
        answers = {"tcpSocket": None, "httpGet": {"path": check.path, "port": port, "scheme": "HTTP"}}
    return [
        {"type": limits.STARTUP, **opens, **startup(app.spec.startup_budget)},
        {"type": limits.READINESS, **answers, "periodSeconds": 5, "timeoutSeconds": WAITS, "failureThreshold": 3},
        {"type": limits.LIVENESS, **opens, "periodSeconds": 10, "timeoutSeconds": WAITS, "failureThreshold": 3},
    ]


def startup(budget: float, *, version: str = limits.API_VERSION) -> dict[str, int]:
    """The numbers of a startup probe that gives up after `budget` seconds, or as soon after it as they allow.

    The period is the shortest that the cap on failures allows, so that an app that listens is noticed soon; the
    failures are the fewest that cover the budget, so what is given beyond it is less than one period. The first check
    comes after one period, and none may outlast its period: else the last failure would come early, or late. Raises
    ValueError for a budget over `limits.longest_start(version)`.
    """
    allowed = limits.probes(version)
    most = allowed.failures[limits.STARTUP]
    periods = range(1, allowed.period + 1)
    period = next((one for one in periods if limits.patience(allowed, period=one, failures=most) >= budget), None)
    if period is None:
        raise ValueError(
            f"{budget:g} s is longer than {limits.longest_start(version)} s, the most a startup probe waits"
        )
    delay = min(period, allowed.delay)
    return {
        "initialDelaySeconds": delay,
        "periodSeconds": period,
        "timeoutSeconds": min(period, WAITS),
        "failureThreshold": 1 + max(0, math.ceil((budget - delay) / period)),
    }
