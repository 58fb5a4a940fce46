"""What an app's request may not be. Judges the normalised form; raises `wire.ArmError`, changes nothing.

Where the service's code and words are known only from public threads or not at all, they are assumed and
the function says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from infra.local_azure import wire
from infra.local_azure.apps import profiles
from infra.local_azure.apps import scale as scales
from infra.local_azure.apps.context import Document

# The SDK documents 1 to 60 for the delay; 0 is its default (documented: azurerm provider) and is accepted.
_PROBE_LIMITS = {
    "initialDelaySeconds": (0, 60),
    "periodSeconds": (1, 240),
    "timeoutSeconds": (1, 240),
    "successThreshold": (1, 10),
}
# The service's own 400s, quoted in public threads (microsoft/azure-container-apps #1100, terraform-provider-azurerm
# #31980); the REST reference still says 10. Since which API version isn't known: assumed for all that are spoken here.
_MOST_FAILURES = {"Startup": 240, "Readiness": 48, "Liveness": 30}
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


def app_name(name: str) -> None:
    """2 to 32 lower-case letters, digits and hyphens, a letter first, no double hyphen (documented)."""
    if not 2 <= len(name) <= 32 or not _NAME.fullmatch(name) or "--" in name:
        raise wire.ArmError(
            400,
            "ContainerAppInvalidName",
            f"Invalid ContainerApp name '{name}'. A name must consist of lower case alphanumeric characters or '-', "
            "start with an alphabetic character, and end with an alphanumeric character and cannot have '--'. The "
            "length must not be more than 32 characters.",
        )


def secrets(items: Sequence[Document]) -> None:
    """Names and values. ContainerAppInvalidSecretName is from public threads, its status assumed; likewise
    ContainerAppSecretInvalid. There is no Key Vault here, so a reference to one can't be resolved."""
    for item in items:
        name = str(item.get("name") or "")
        if len(name) > 253 or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
            raise wire.ArmError(
                400,
                "ContainerAppInvalidSecretName",
                f"Secret name has an invalid value '{name}'. A value must consist of lower case alphanumeric "
                "characters, '-', and must start and end with an alphanumeric character. The length must not be more "
                "than 253 characters.",
            )
        if item.get("keyVaultUrl"):
            raise wire.ArmError(
                400,
                "ContainerAppSecretKeyVaultUrlInvalid",
                f"Unable to get value using Managed identity {item.get('identity') or 'system'} for secret {name}: "
                "the local Azure has no Key Vault.",
            )
        if not item.get("value"):
            raise wire.ArmError(
                400,
                "ContainerAppSecretInvalid",
                f"Invalid Request: Container app secret(s) with name(s) '{name}' are invalid: value or keyVaultUrl and "
                "identity should be provided.",
            )
    _unique((item["name"] for item in items), "configuration.secrets", "secret")


def identity(wanted: Document) -> None:
    """None, or one or both of the other two words; UserAssigned names its identities (documented; codes assumed)."""
    words = wanted["type"].split(", ")
    if words != ["None"] and not set(words) <= {"SystemAssigned", "UserAssigned"}:
        raise wire.ArmError(400, "InvalidIdentityType", f"The identity type '{wanted['type']}' is not valid.")
    if "UserAssigned" in words and not wanted.get("userAssignedIdentities"):
        raise wire.ArmError(400, "InvalidIdentityType", "UserAssigned needs at least one of userAssignedIdentities.")


def registries(items: Iterable[Document], *, secret_names: set[str], assigned: Document) -> None:
    """Each has a server, and its password or identity is the app's own (recorded for the password:
    ContainerAppRegistriesPasswordSecretRefNotFound; the rest is assumed)."""
    own = {name.lower() for name in assigned.get("userAssignedIdentities", ())}
    own |= {"system"} if "SystemAssigned" in assigned["type"] else set()
    for registry in items:
        if not registry["server"]:
            raise _invalid("configuration.registries.server", "is required")
        reference = registry["passwordSecretRef"]
        if reference and reference not in secret_names:
            raise wire.ArmError(
                400,
                "ContainerAppRegistriesPasswordSecretRefNotFound",
                f"Registry password secretRef '{reference}' not found.",
            )
        if registry["identity"] and registry["identity"].lower() not in own:
            raise _invalid(
                "configuration.registries.identity",
                f"the identity '{registry['identity']}' of registry '{registry['server']}' isn't assigned to the app",
            )


def configuration(settings: Document) -> None:
    mode = settings["activeRevisionsMode"]
    if mode not in ("Single", "Multiple"):
        raise _invalid("configuration.activeRevisionsMode", f"'{mode}' is not Single or Multiple")
    _within(settings["maxInactiveRevisions"], "configuration.maxInactiveRevisions", 0, 100)
    if settings["ingress"] is not None:
        _ingress(settings["ingress"], mode)


def _ingress(ingress: Document, mode: str) -> None:
    """Weights must come to 100 and sticky sessions need Single mode (both documented, answers assumed)."""
    _within(ingress["targetPort"], "configuration.ingress.targetPort", 0, 65535)
    if ingress["transport"] not in ("Auto", "Http", "Http2", "Tcp"):
        raise _invalid("configuration.ingress.transport", f"'{ingress['transport']}' is unknown")
    weights = [item["weight"] for item in ingress["traffic"]]
    for item in ingress["traffic"]:
        _within(item["weight"], "configuration.ingress.traffic.weight", 0, 100)
        if not item.get("latestRevision") and not item.get("revisionName"):
            raise _invalid("configuration.ingress.traffic", "needs a revisionName or latestRevision")
    if sum(weights) != 100:
        raise _invalid("configuration.ingress.traffic", f"the weights come to {sum(weights)}, not 100")
    if mode == "Multiple" and ((ingress["stickySessions"] or {}).get("affinity") or "none").lower() == "sticky":
        raise _invalid("configuration.ingress.stickySessions", "sticky sessions need the Single revision mode")


def template(
    wanted: Document, *, secret_names: set[str], profile: profiles.Type, storage_exists: Callable[[str], bool]
) -> None:
    """The template against its own parts, the app's secrets, its profile and the environment's storages."""
    containers = wanted["containers"]
    if not containers:
        raise wire.ArmError(400, "ContainerAppContainersRequired", "At least one container is required.")
    if wanted["initContainers"]:
        raise _invalid("template.initContainers", "init containers are not offered by the local Azure")
    _unique((item["name"] for item in containers), "template.containers", "container")
    volumes = wanted["volumes"] or ()
    _volumes(volumes, secret_names, storage_exists)
    for container in containers:
        _container(container, secret_names, {volume["name"] for volume in volumes})
    _resources(containers, profile)
    _scale(wanted["scale"])
    if wanted["terminationGracePeriodSeconds"] is not None:
        _within(wanted["terminationGracePeriodSeconds"], "template.terminationGracePeriodSeconds", 0, 600)


def suffix(app: str, text: str) -> None:
    """`<app>--<suffix>` of at most 54 characters, a letter first, no `--` (public thread; code assumed)."""
    if len(f"{app}--{text}") > 54 or not _NAME.fullmatch(text) or "--" in text:
        raise wire.ArmError(
            400,
            "ContainerAppInvalidRevisionSuffix",
            f"Invalid revision suffix '{text}'. '{app}--{text}' must be at most 54 characters; a suffix consists of "
            "lower case alphanumeric characters or '-', starts with a letter, ends with an alphanumeric character and "
            "cannot have '--'.",
        )


def _volumes(volumes: Iterable[Document], secret_names: set[str], storage_exists: Callable[[str], bool]) -> None:
    volumes = list(volumes)
    for volume in volumes:
        kind, name = volume["storageType"], volume.get("name")
        if not name:
            raise _invalid("template.volumes.name", "is required")
        if kind not in ("AzureFile", "EmptyDir", "Secret"):
            raise _invalid(f"template.volumes.{name}.storageType", f"'{kind}' is not offered by the local Azure")
        if kind == "AzureFile" and not storage_exists(str(volume.get("storageName") or "")):
            raise wire.ArmError(
                400,
                "ManagedEnvironmentStorageNotFound",
                f"ManagedEnvironment Storage '{volume.get('storageName') or ''}' was not found.",
            )
        for item in volume.get("secrets") or ():
            _secret_known(item.get("secretRef"), f"volume '{name}'", secret_names)
    _unique((volume["name"] for volume in volumes), "template.volumes", "volume")


def _container(container: Document, secret_names: set[str], volume_names: set[str]) -> None:
    name = str(container["name"] or "")
    if len(name) > 63 or not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        raise _invalid("template.containers.name", f"'{name}' is not a container name")
    if not isinstance(container["image"], str) or not container["image"].strip():
        raise _invalid(f"template.containers.{name}.image", "is required")
    for variable in container.get("env", ()):
        if not variable.get("name"):
            raise _invalid(f"template.containers.{name}.env.name", "is required")
        if "secretRef" in variable:
            _secret_known(variable["secretRef"], f"container '{name}'", secret_names)
    _unique((item["name"] for item in container.get("env", ())), f"template.containers.{name}.env", "variable")
    for mount in container.get("volumeMounts", ()):
        if mount.get("volumeName") not in volume_names:
            raise _invalid(
                f"template.containers.{name}.volumeMounts", f"no volume is named '{mount.get('volumeName')}'"
            )
        path = str(mount.get("mountPath") or "")
        if not path.startswith("/") or ":" in path:
            raise _invalid(f"template.containers.{name}.volumeMounts.mountPath", f"'{path}' is not an absolute path")
        if ".." in str(mount.get("subPath") or "").split("/"):
            raise _invalid(f"template.containers.{name}.volumeMounts.subPath", "may not contain '..'")
    _probes(name, container.get("probes", ()))


def _secret_known(reference: Any, user: str, names: set[str]) -> None:
    """The code is from public threads; the status is assumed."""
    if reference not in names:
        raise wire.ArmError(
            400, "ContainerAppSecretRefNotFound", f"SecretRef '{reference}' defined for {user} not found."
        )


def _probes(container: str, probes: Iterable[Document]) -> None:
    """At most one of each type, HTTP or TCP (documented), within the SDK's documented limits."""
    probes = list(probes)
    for probe in probes:
        place = f"template.containers.{container}.probes.{probe['type'] or '?'}"
        if probe["type"] not in ("Liveness", "Readiness", "Startup"):
            raise _invalid(place, "type must be Liveness, Readiness or Startup")
        target = probe.get("httpGet") or probe.get("tcpSocket")
        if not target or (probe.get("httpGet") and probe.get("tcpSocket")):
            raise _invalid(place, "needs one of httpGet and tcpSocket")
        _within(target.get("port"), f"{place}.port", 1, 65535)
        for name, (least, most) in _PROBE_LIMITS.items():
            if name in probe:
                _within(probe[name], f"{place}.{name}", least, most)
        if "failureThreshold" in probe:
            _within(probe["failureThreshold"], f"{place}.failureThreshold", 1, _MOST_FAILURES[probe["type"]])
        if probe["type"] != "Readiness" and probe.get("successThreshold", 1) != 1:
            raise _invalid(f"{place}.successThreshold", "must be 1 for liveness and startup probes")
    _unique((probe["type"] for probe in probes), f"template.containers.{container}.probes", "probe")


def _resources(containers: Sequence[Document], profile: profiles.Type) -> None:
    """The sum against the profile. On Consumption cpu and memory come in pairs of 1 core to 2 Gi, in steps of
    0.25 up to the profile's cores (documented); elsewhere up to a node (documented; errors from threads, assumed)."""
    for item in containers:
        cpu, memory = item["resources"]["cpu"], item["resources"]["memory"]
        if not isinstance(cpu, int | float) or cpu <= 0 or round(cpu, 2) != cpu:
            raise _invalid(f"template.containers.{item['name']}.resources.cpu", f"'{cpu}' is not valid")
        if not re.fullmatch(r"\d+(\.\d{1,2})?Gi", str(memory)) or memory == "0Gi":
            raise _invalid(f"template.containers.{item['name']}.resources.memory", f"'{memory}' is not valid")
    cpu = round(sum(item["resources"]["cpu"] for item in containers), 2)
    memory = round(sum(float(item["resources"]["memory"].removesuffix("Gi")) for item in containers), 2)
    pairs_rule = profile.name == "Consumption"
    if cpu > profile.cores or memory > profile.memory or (pairs_rule and (cpu % 0.25 or memory != 2 * cpu)):
        allowed = (
            "Total CPU and memory for all containers defined in a Container App must add up to one of the following "
            f"CPU - Memory combinations: {_pairs(profile)}"
            if pairs_rule
            else f"The workload profile type '{profile.name}' has {profile.cores} cores and {profile.memory}Gi memory."
        )
        raise wire.ArmError(
            400,
            "ContainerAppInvalidResourceTotal",
            f"The total requested CPU and memory resources for this application (CPU: {cpu}, memory: {memory}) is "
            f"invalid. {allowed}",
        )


def _pairs(profile: profiles.Type) -> str:
    steps = (step / 4 for step in range(1, int(profile.cores * 4) + 1))
    return "; ".join(f"[cpu: {cpu}, memory: {cpu * 2}Gi]" for cpu in steps)


def _scale(scale: Document) -> None:
    """0 to 1000 replicas (documented)."""
    least, most = scale["minReplicas"] or 0, scale["maxReplicas"]
    _within(least, "template.scale.minReplicas", 0, 1000)
    _within(most, "template.scale.maxReplicas", 1, 1000)
    if least > most:
        raise _invalid("template.scale", f"minReplicas {least} is more than maxReplicas {most}")
    _within(scale["cooldownPeriod"], "template.scale.cooldownPeriod", 0, 2**31 - 1)
    for rule in scale["rules"] or ():
        try:
            scales.concurrent_requests(rule)
        except ValueError as error:
            raise _invalid("template.scale.rules.http.metadata.concurrentRequests", str(error)) from None


def _unique(names: Iterable[str], place: str, what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _invalid(place, f"the {what} '{name}' is there twice")
        seen.add(name)


def _within(value: Any, place: str, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _invalid(place, f"'{value}' is not a whole number from {least} to {most}")


def _invalid(place: str, details: str) -> wire.ArmError:
    """A bad field. The code and the frame are from public threads, the details assumed."""
    return wire.ArmError(
        400,
        "InvalidParameterValueInContainerTemplate",
        f"The following field(s) are either invalid or missing. Field '{place}' is invalid with details: '{details}'.",
    )
