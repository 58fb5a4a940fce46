"""The machines behind workload profiles: what one of them gives a replica, and which quota counts its GPUs.

A table; it decides nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DEDICATED_GPUS = "SubscriptionDedicatedNCA100Gpus"
"""The quota of a subscription in a region that dedicated GPU profiles count against (recorded: locations' usages)."""

_SLACK = 1e-9
"""Decimal fractions of a core aren't exact."""


@dataclass(frozen=True)
class Machine:
    """One node of a dedicated type; of a serverless one the most a replica gets. `cores`, `memory` (GiB) and `gpus` are
    the whole machine's; `quota` names what counts its GPUs."""

    type: str
    cores: float
    memory: float
    gpus: int = 0
    quota: str = ""
    serverless: bool = False

    @property
    def said(self) -> str:
        """As people read it."""
        gpus = f", {self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else ""
        return f"{self.cores:g} cores, {self.memory:g} GiB{gpus}"

    def replicas(self, cpu: float, memory: float) -> int:
        """How many replicas of `cpu` cores and `memory` GiB one machine holds."""
        return math.floor(min(self.cores / cpu, self.memory / memory) + _SLACK)


def _serverless(name: str, cores: float, memory: float, quota: str) -> Machine:
    return Machine(name, cores, memory, gpus=1 if quota else 0, quota=quota, serverless=True)


# documented: "Workload profiles in Azure Container Apps"; sizes of the listed ones recorded:
# location-workloadprofile-types-gpu, names of the quotas recorded: managedenv-usages
_MACHINES = {
    machine.type.lower(): machine
    for machine in (
        *(Machine(f"D{cores}", cores, cores * 4) for cores in (4, 8, 16, 32)),
        *(Machine(f"E{cores}", cores, cores * 8) for cores in (4, 8, 16, 32)),
        Machine("NC24-A100", 24, 220, 1, DEDICATED_GPUS),
        Machine("NC48-A100", 48, 440, 2, DEDICATED_GPUS),
        Machine("NC96-A100", 96, 880, 4, DEDICATED_GPUS),
        _serverless("Consumption", 4, 8, ""),
        _serverless("Consumption-GPU-NC8as-T4", 8, 56, "ManagedEnvironmentConsumptionT4Gpus"),
        _serverless("Consumption-GPU-NC24-A100", 24, 220, "ManagedEnvironmentConsumptionNCA100Gpus"),
    )
}


def find(kind: str) -> Machine | None:
    """The machine of a workload profile type, None for a type that isn't known here."""
    return _MACHINES.get(kind.lower())
