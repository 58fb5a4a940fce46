"""What the service allows a probe, by API version: a table, each row with its source, and what follows from it for the
longest start.

It must not know what acaops makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

API_VERSION = "2026-07-01"
"""The version of Microsoft.App that is spoken: the default of the SDK's release that is locked."""

STARTUP, READINESS, LIVENESS = "Startup", "Readiness", "Liveness"


@dataclass(frozen=True)
class Probes:
    """The most a probe may have, each at least 1 but for the delay. `failures` is by type. A startup or liveness probe
    succeeds at its first success. All but the failures are in seconds."""

    failures: Mapping[str, int]
    period: int = 240
    timeout: int = 240
    delay: int = 60


# Periods, timeouts, delays: documented, Container Apps REST API, ContainerAppProbe; that page still says 10 failures.
# By type: the service's own 400s, ContainerAppProbeFailureThresholdOutOfRange, as quoted in public threads
# (microsoft/azure-container-apps #1100 for liveness, hashicorp/terraform-provider-azurerm #31980 for all three). In
# which version it began isn't known: assumed to be the one that was newest at the first of these.
_PROBES = (
    ("2022-01-01", Probes({STARTUP: 10, READINESS: 10, LIVENESS: 10})),
    ("2023-05-01", Probes({STARTUP: 240, READINESS: 48, LIVENESS: 30})),
)


def probes(version: str = API_VERSION) -> Probes:
    """The limits of an API version, like 2026-07-01; one older than all that are known here has the oldest's."""
    known = [allowed for since, allowed in _PROBES if since <= version]
    return known[-1] if known else _PROBES[0][1]


def patience(allowed: Probes, *, period: int, failures: int) -> int:
    """Seconds until a startup probe gives up: at its last failure, the first being due after the delay. The delay is
    one period where that is allowed, so that this is period times failures (documented: Kubernetes' probes)."""
    return min(period, allowed.delay) + (failures - 1) * period


def longest_start(version: str = API_VERSION) -> int:
    """The seconds after which a container that doesn't listen is started anew in any case."""
    allowed = probes(version)
    return patience(allowed, period=allowed.period, failures=allowed.failures[STARTUP])
