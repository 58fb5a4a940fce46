"""Workload profiles: the types there are, how an environment's list is normalised, what is in use.

Pure: documents in, wire JSON out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from infra.local_azure import wire


@dataclass(frozen=True)
class Type:
    """One profile type. `dedicated` ones have node counts; `cores` and `memory` (GiB) are a node's or an app's most."""

    name: str
    category: str
    cores: float
    memory: float
    gpus: int
    dedicated: bool
    listed: bool


def _dedicated(name: str, category: str, cores: int, memory: int, gpus: int = 0) -> Type:
    return Type(name, category, cores, memory, gpus, dedicated=True, listed=True)


# Recorded: location-workloadprofile-types-gpu. Serverless GPU types were never listed, yet are accepted.
TYPES = {
    kind.name.lower(): kind
    for kind in (
        _dedicated("D4", "GeneralPurpose", 4, 16),
        _dedicated("D8", "GeneralPurpose", 8, 32),
        _dedicated("D16", "GeneralPurpose", 16, 64),
        _dedicated("D32", "GeneralPurpose", 32, 128),
        _dedicated("E4", "MemoryOptimized", 4, 32),
        _dedicated("E8", "MemoryOptimized", 8, 64),
        _dedicated("E16", "MemoryOptimized", 16, 128),
        _dedicated("E32", "MemoryOptimized", 32, 256),
        Type("Consumption", "Consumption", 4, 8, 0, dedicated=False, listed=True),
        _dedicated("NC24-A100", "GPU-NC-A100", 24, 220, 1),
        _dedicated("NC48-A100", "GPU-NC-A100", 48, 440, 2),
        _dedicated("NC96-A100", "GPU-NC-A100", 96, 880, 4),
        Type("Consumption-GPU-NC8as-T4", "Consumption-GPU", 8, 56, 1, dedicated=False, listed=False),
        Type("Consumption-GPU-NC24-A100", "Consumption-GPU", 24, 220, 1, dedicated=False, listed=False),
    )
}

Profile = dict[str, Any]

CONSUMPTION = "Consumption"
DEDICATED_GPUS = "SubscriptionDedicatedNCA100Gpus"
# Names recorded: managedenv-usages. A serverless GPU counts against its environment's quota.
GPU_QUOTAS = {
    "Consumption-GPU-NC8as-T4": ("ManagedEnvironmentConsumptionT4Gpus", 5),
    "Consumption-GPU-NC24-A100": ("ManagedEnvironmentConsumptionNCA100Gpus", 2),
}


def of(profile: Profile) -> Type:
    return TYPES[profile["workloadProfileType"].lower()]


def find(profiles: Sequence[Profile] | None, name: str) -> Profile | None:
    """The profile of that name, whatever the casing (assumed)."""
    return next((item for item in profiles or () if item["name"].lower() == name.lower()), None)


def dedicated_gpus(profiles: Sequence[Profile] | None) -> int:
    """A100s the dedicated profiles may use at most."""
    return sum(of(item).gpus * int(item["maximumCount"]) for item in profiles or () if of(item).dedicated)


def normalised(sent: Any, *, exists: bool) -> list[Profile] | None:
    """The environment's profiles as Azure keeps them.

    Recorded: `Consumption` is appended when missing, `enableFips` false is added, the type's casing is
    repaired, consumption kinds carry no counts, and an environment with profiles can't lose them all.
    None (a consumption-only environment) is possible only at creation.
    """
    if not sent:
        if exists:
            raise wire.ArmError(400, "WorkloadProfileCannotRemoveAll", "At least 1 workload profile must be specified.")
        return None
    profiles = [_one(item) for item in sent]
    names = [item["name"].lower() for item in profiles]
    if len(set(names)) != len(names):
        raise _invalid("Workload profile names must be unique.")
    if not any(item["workloadProfileType"] == "Consumption" for item in profiles):
        profiles.append({"workloadProfileType": "Consumption", "name": "Consumption", "enableFips": False})
    return profiles


def _one(sent: Any) -> Profile:
    if not isinstance(sent, dict) or not sent.get("name") or not sent.get("workloadProfileType"):
        raise _invalid("A workload profile needs a name and a workloadProfileType.")
    kind = TYPES.get(str(sent["workloadProfileType"]).lower())
    if kind is None:
        raise _invalid(f"The workload profile type '{sent['workloadProfileType']}' is not supported.")
    if not re.fullmatch(r"[A-Za-z0-9-]{1,32}", str(sent["name"])):
        raise _invalid(f"The workload profile name '{sent['name']}' is not valid.")
    profile = {
        "workloadProfileType": kind.name,
        "name": sent["name"],
        "enableFips": bool(sent.get("enableFips") or False),
    }
    return profile | (_counts(sent) if kind.dedicated else {})


def _counts(sent: Profile) -> Profile:
    try:
        least, most = int(sent.get("minimumCount") or 0), int(sent.get("maximumCount") or 0)
    except (TypeError, ValueError):
        raise _invalid(f"The counts of workload profile '{sent['name']}' are not numbers.") from None
    if least < 0 or most < max(least, 1):
        raise _invalid(
            f"The maximumCount of workload profile '{sent['name']}' must be at least 1 and at least its minimumCount."
        )
    return {"minimumCount": least, "maximumCount": most}


def _invalid(message: str) -> wire.ArmError:
    """The service's words for a bad profile weren't recorded: assumed."""
    return wire.ArmError(400, "WorkloadProfileInvalid", message)


@dataclass(frozen=True)
class Load:
    """What one app's running replicas take of a profile."""

    profile: str
    cores: float
    replicas: int


def nodes(profile: Profile, loads: Iterable[Load]) -> int:
    """Nodes a dedicated profile runs: enough for its apps, a GPU for each replica, within its counts (assumed)."""
    kind, on = of(profile), [load for load in loads if load.profile.lower() == profile["name"].lower()]
    needed = math.ceil(sum(load.cores * load.replicas for load in on) / kind.cores)
    if kind.gpus:
        needed = max(needed, math.ceil(sum(load.replicas for load in on) / kind.gpus))
    return int(min(max(profile["minimumCount"], needed), profile["maximumCount"]))


def states(environment_id: str, profiles: Sequence[Profile] | None, loads: Sequence[Load]) -> list[dict[str, Any]]:
    """Answer of `workloadProfileStates` (recorded: managedenv-workloadprofilestates)."""
    return [
        {
            "id": f"{environment_id}/workloadProfileStates/{item['name']}",
            "name": item["name"],
            "type": item["workloadProfileType"],
            "properties": ({"currentCount": nodes(item, loads)} if of(item).dedicated else {}) | item,
        }
        for item in profiles or ()
    ]


def available(subscription: str, location: str) -> list[dict[str, Any]]:
    """Answer of `availableManagedEnvironmentsWorkloadProfileTypes` (recorded); ids lack the location."""
    kind = "Microsoft.App/availableManagedEnvironmentsWorkloadProfileTypes"
    return [
        {
            "location": location,
            "properties": {
                "displayName": f"Dedicated-{item.name}" if item.dedicated else item.name,
                "category": item.category,
                "cores": item.cores,
                "memoryGiB": item.memory,
            }
            | ({"gpus": item.gpus} if item.gpus else {}),
            "id": f"/subscriptions/{subscription}/providers/{kind}/{item.name}",
            "name": item.name,
            "type": kind,
        }
        for item in TYPES.values()
        if item.listed
    ]


def usages(profiles: Sequence[Profile] | None, loads: Sequence[Load]) -> list[dict[str, Any]]:
    """Answer of an environment's `usages`: names and limits as recorded (managedenv-usages), values counted."""
    used = {"Consumption": 0.0, "GeneralPurpose": 0.0, "MemoryOptimized": 0.0, "T4": 0.0, "A100": 0.0}
    for item in profiles or ():
        if of(item).dedicated and of(item).category in used:
            used[of(item).category] += nodes(item, loads) * of(item).cores
    for load in loads:
        profile = find(profiles, load.profile)
        if profile is None or of(profile).name == "Consumption":
            used["Consumption"] += load.cores * load.replicas
        elif not of(profile).dedicated:
            used["T4" if of(profile).name.endswith("T4") else "A100"] += of(profile).gpus * load.replicas
    counted = (
        ("ManagedEnvironmentGeneralPurposeCores", 500, used["GeneralPurpose"]),
        ("ManagedEnvironmentMemoryOptimizedCores", 500, used["MemoryOptimized"]),
        ("ManagedEnvironmentComputeOptimizedCores", 50, 0),
        ("ManagedEnvironmentConsumptionCores", 500, used["Consumption"]),
        (*GPU_QUOTAS["Consumption-GPU-NC24-A100"], used["A100"]),
        (*GPU_QUOTAS["Consumption-GPU-NC8as-T4"], used["T4"]),
        ("ManagedEnvironmentConfidentialGeneralPurposeCores", 50, 0),
        ("ManagedEnvironmentConfidentialMemoryOptimizedCores", 50, 0),
    )
    return [usage(name, current, limit) for name, limit, current in counted]


def usage(name: str, current: float, limit: int) -> dict[str, Any]:
    """One usage item. The text is the name with spaces, even `NCA 100 Gpus`; the SDK's required `unit` is missing
    on the wire too (recorded: managedenv-usages)."""
    value = int(current) if float(current).is_integer() else current
    text = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[0-9])|(?<=[0-9])(?=[A-Z])", " ", name)
    return {"name": {"value": name, "localizedValue": text}, "usage": value, "currentValue": value, "limit": limit}
