"""The machines behind workload profiles: what one of them gives a replica, and which quota counts its GPUs.

A table, and what an app gets by it; it decides nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from controller.model import desired

DEDICATED_GPUS = "SubscriptionDedicatedNCA100Gpus"
"""The quota of a subscription in a region that dedicated GPU profiles count against (recorded: locations' usages)."""

_SLACK = 1e-9
"""Decimal fractions of a core aren't exact."""

_STEP = 0.25
"""Cores come in steps of it where they come in pairs with memory."""


@dataclass(frozen=True)
class Machine:
    """One node of a dedicated type, of which an environment has as many as its profile counts; of a serverless one the
    most a replica gets. `cores`, `memory` (GiB) and `gpus` are the whole machine's; `quota` names what counts its GPUs.

    `usual` is what a replica gets, in cores and GiB, whose app doesn't say; None: the whole machine. With `pairs`, an
    app's replica has twice as many GiB as cores, in steps of a quarter of a core.
    """

    type: str
    cores: float
    memory: float
    gpus: int = 0
    quota: str = ""
    serverless: bool = False
    usual: tuple[float, float] | None = None
    pairs: bool = False

    @property
    def said(self) -> str:
        """As people read it."""
        gpus = f", {self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else ""
        return f"{self.cores:g} cores, {self.memory:g} GiB{gpus}"

    @property
    def largest(self) -> str:
        """The most that one replica may ask for, as the YAML has it."""
        return f"{{cpu: {self.cores:g}, memory: {self.memory:g}Gi}}"

    @property
    def default(self) -> tuple[float, float]:
        """What a replica gets, in cores and GiB, whose app doesn't say."""
        return self.usual or (self.cores, self.memory)

    def replicas(self, cpu: float, memory: float) -> int:
        """How many replicas of `cpu` cores and `memory` GiB one machine holds."""
        fit = math.floor(min(self.cores / cpu, self.memory / memory) + _SLACK)
        return min(fit, self.gpus) if self.gpus else fit

    def pairable(self, cpu: float, memory: float) -> bool:
        """Whether an app whose only container asks for this is taken."""
        return not self.pairs or ((cpu / _STEP).is_integer() and memory == 2 * cpu)


def _gpu(name: str, cores: float, memory: float, quota: str) -> Machine:
    return Machine(name, cores, memory, gpus=1, quota=quota, serverless=True)


# documented: "Workload profiles in Azure Container Apps", and there the pairs of Consumption; sizes of the listed ones
# recorded: location-workloadprofile-types-gpu, names of the quotas recorded: managedenv-usages. What a replica gets on
# Consumption is the service's own default (recorded: containers without resources). A dedicated machine is paid for
# whole, and a GPU can't be shared by two apps' replicas: these get all of it.
_MACHINES = {
    machine.type.lower(): machine
    for machine in (
        *(Machine(f"D{cores}", cores, cores * 4) for cores in (4, 8, 16, 32)),
        *(Machine(f"E{cores}", cores, cores * 8) for cores in (4, 8, 16, 32)),
        Machine("NC24-A100", 24, 220, 1, DEDICATED_GPUS),
        Machine("NC48-A100", 48, 440, 2, DEDICATED_GPUS),
        Machine("NC96-A100", 96, 880, 4, DEDICATED_GPUS),
        Machine("Consumption", 4, 8, serverless=True, usual=(0.5, 1), pairs=True),
        _gpu("Consumption-GPU-NC8as-T4", 8, 56, "ManagedEnvironmentConsumptionT4Gpus"),
        _gpu("Consumption-GPU-NC24-A100", 24, 220, "ManagedEnvironmentConsumptionNCA100Gpus"),
    )
}


def find(kind: str) -> Machine | None:
    """The machine of a workload profile type, None for a type that isn't known here."""
    return _MACHINES.get(kind.lower())


def profile(app: desired.InferenceApp, environment: desired.Environment) -> desired.WorkloadProfile | None:
    """The Environment's profile that the app names; None for Consumption, which need not be listed."""
    name = app.spec.workload_profile_name
    return next((one for one in environment.spec.container_apps.workload_profiles if one.name == name), None)


def of(app: desired.InferenceApp, environment: desired.Environment) -> Machine | None:
    """What the app runs on, None for a type that isn't known here: then Azure has to judge."""
    listed = profile(app, environment)
    return find(listed.type if listed else desired.SERVERLESS)


def resources(app: desired.InferenceApp, environment: desired.Environment) -> tuple[float, str]:
    """The cores and the memory (like 220Gi) that one replica gets. Raises LookupError where the app doesn't say and its
    machine isn't known here; loading refuses that (see `problem`)."""
    if given := app.spec.resources:
        return given.cpu, given.memory
    machine = of(app, environment)
    if machine is None:
        raise LookupError(f"no default for workload profile {app.spec.workload_profile_name}")
    cpu, memory = machine.default
    # As in YAML that says it: a release's digest is over the text of both.
    return float(cpu), f"{memory:g}Gi"


def gib(memory: str) -> float:
    """220Gi -> 220.0."""
    return float(memory.removesuffix("Gi"))


def problem(app: desired.InferenceApp, environment: desired.Environment) -> str | None:
    """Why no machine of the app's profile can run one replica, as far as that is known."""
    machine, listed, given = of(app, environment), profile(app, environment), app.spec.resources
    said = f"workload profile {_said(app, listed)}"
    if machine is None:
        return None if given else f"spec.resources: set cpu and memory: what {said} has isn't known here"
    cpu, memory = resources(app, environment)
    if machine.replicas(cpu, gib(memory)) >= 1:
        return None
    asked = f"spec.resources: cpu {cpu:g}, memory {memory}"
    return (
        f"{asked}: don't fit {said}, whose machines have {machine.said}; set at most {machine.largest} or name a "
        "larger profile"
    )


def _said(app: desired.InferenceApp, listed: desired.WorkloadProfile | None) -> str:
    name = app.spec.workload_profile_name
    return name if listed is None or listed.type == name else f"{name} ({listed.type})"
