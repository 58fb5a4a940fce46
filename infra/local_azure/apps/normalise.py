"""An app's request as Azure keeps it: defaults filled in, words repaired, nothing judged.

Pure and idempotent: what comes out, sent again, comes out the same. That is what makes "the template is
unchanged" a plain comparison (recorded: re-sending server defaults makes no revision). Except where a
function says otherwise, sources are recorded pairs of request and GET.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from infra.local_azure.apps import bodies
from infra.local_azure.apps.context import Document

_TRANSPORTS = {"auto": "Auto", "http": "Http", "http2": "Http2", "tcp": "Tcp"}
_MODES = {"single": "Single", "multiple": "Multiple"}
_STORAGE_TYPES = {"azurefile": "AzureFile", "emptydir": "EmptyDir", "secret": "Secret", "nfsazurefile": "NfsAzureFile"}
_PROBES = {"liveness": "Liveness", "readiness": "Readiness", "startup": "Startup"}
_IDENTITIES = {"none": "None", "systemassigned": "SystemAssigned", "userassigned": "UserAssigned"}
_INGRESS_AS_SENT = (
    "customDomains",
    "ipSecurityRestrictions",
    "corsPolicy",
    "clientCertificateMode",
    "stickySessions",
    "additionalPortMappings",
    "targetPortHttpScheme",
)


def configuration(sent: Document) -> Document:
    """`properties.configuration`. Secrets keep their values here; no answer shows them."""
    ingress_sent = sent.get("ingress")
    mode = str(sent.get("activeRevisionsMode") or "Single")
    return {
        "secrets": [bodies.present(item) for item in sent.get("secrets") or []] or None,
        "activeRevisionsMode": _MODES.get(mode.lower(), mode),
        "targetLabel": sent.get("targetLabel") or "",
        "revisionTransitionThreshold": sent.get("revisionTransitionThreshold"),
        "ingress": ingress(ingress_sent) if ingress_sent else None,
        "registries": [_registry(item) for item in sent.get("registries") or []] or None,
        "identitySettings": sent.get("identitySettings") or [],
        "dapr": sent.get("dapr"),
        "runtime": sent.get("runtime"),
        "maxInactiveRevisions": _number(sent.get("maxInactiveRevisions"), 100),
        "service": sent.get("service"),
    }


def ingress(sent: Document) -> Document:
    transport = str(sent.get("transport") or "Auto")
    return {
        "external": bool(sent.get("external") or False),
        "targetPort": _number(sent.get("targetPort"), 0),
        "exposedPort": _number(sent.get("exposedPort"), 0),
        "transport": _TRANSPORTS.get(transport.lower(), transport),
        "traffic": traffic(sent.get("traffic")) or [{"weight": 100, "latestRevision": True}],
        "allowInsecure": bool(sent.get("allowInsecure") or False),
    } | {name: sent.get(name) for name in _INGRESS_AS_SENT}


def traffic(sent: Any) -> list[Document] | None:
    """As sent without falsy members, but for the weight, which is a number."""
    if not sent:
        return None
    return [
        {key: value for key, value in item.items() if value and key != "weight"}
        | {"weight": _number(item.get("weight"), 0)}
        for item in sent
    ]


def _registry(sent: Document) -> Document:
    return {name: sent.get(name) or "" for name in ("server", "username", "passwordSecretRef", "identity")}


def template(sent: Document) -> Document:
    """`properties.template`; `revisionSuffix` "" stands for none."""
    inits = [container(item) for item in sent.get("initContainers") or []]
    return {
        "revisionSuffix": sent.get("revisionSuffix") or "",
        "terminationGracePeriodSeconds": _number(sent.get("terminationGracePeriodSeconds"), None),
        "containers": [container(item) for item in sent.get("containers") or []],
        "initContainers": inits or None,
        "scale": scale(sent.get("scale") or {}),
        "volumes": [_volume(item) for item in sent.get("volumes") or []] or None,
        "serviceBinds": sent.get("serviceBinds") or None,
    }


def container(sent: Document) -> Document:
    """One container. Members that are null or empty are left out, as the service leaves them out."""
    kept = {name: list(sent[name]) for name in ("command", "args") if sent.get(name)}
    lists = {
        "env": [bodies.present(item) for item in sent.get("env") or []],
        "volumeMounts": [_falsy_dropped(item) for item in sent.get("volumeMounts") or []],
        "probes": [_probe(item) for item in sent.get("probes") or []],
    }
    return {
        "image": sent.get("image"),
        "name": sent.get("name"),
        **kept,
        "resources": resources(sent.get("resources") or {}),
        **{name: items for name, items in lists.items() if items},
    }


def resources(sent: Document) -> Document:
    cpu = _cpu(sent.get("cpu"))
    return {
        "cpu": cpu,
        "memory": memory(sent.get("memory") or "1Gi"),
        "ephemeralStorage": ephemeral_storage(cpu) if isinstance(cpu, int | float) else "",
    }


def memory(text: Any) -> Any:
    """`1.0Gi` is `1Gi`. What is no amount of Gi stays as it is, for validation to refuse."""
    found = re.fullmatch(r"(\d+)(?:\.(\d+))?Gi", str(text))
    if found is None:
        return text
    fraction = (found[2] or "").rstrip("0")
    return f"{int(found[1])}{'.' + fraction if fraction else ''}Gi"


def ephemeral_storage(cpu: float) -> str:
    """By cpu, whatever was sent."""
    if cpu <= 0.25:
        return "1Gi"
    if cpu <= 0.5:
        return "2Gi"
    return "4Gi" if cpu <= 1 else "8Gi"


def _cpu(sent: Any) -> Any:
    if sent is None:
        return 0.5
    value: Any = sent
    with contextlib.suppress(TypeError, ValueError):
        value = float(sent)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def scale(sent: Document) -> Document:
    return {
        "minReplicas": _number(sent.get("minReplicas"), None),
        "maxReplicas": _number(sent.get("maxReplicas"), 10),
        "cooldownPeriod": _number(sent.get("cooldownPeriod"), 300),
        "pollingInterval": _number(sent.get("pollingInterval"), 30),
        "rules": sent.get("rules") or None,
    }


def _volume(sent: Document) -> Document:
    """An absent storageType is EmptyDir (documented)."""
    kind = str(sent.get("storageType") or "EmptyDir")
    return _falsy_dropped(sent) | {"storageType": _STORAGE_TYPES.get(kind.lower(), kind)}


def _probe(sent: Document) -> Document:
    """Echoed as sent, without nulls; the type's casing repaired (assumed)."""
    kind = str(sent.get("type") or "")
    nested = {name: bodies.present(sent[name]) for name in ("httpGet", "tcpSocket") if isinstance(sent.get(name), dict)}
    return bodies.present(sent) | nested | {"type": _PROBES.get(kind.lower(), kind)}


def identity(sent: Document) -> Document:
    """`{type, userAssignedIdentities?}`; absent is None, and a combined type gets its space. Ids that differ in case
    only are one, and a type without UserAssigned has none (both assumed)."""
    kind = str(sent.get("type") or "None")
    parts = [_IDENTITIES.get(part.strip().lower(), part.strip()) for part in kind.split(",")]
    named: dict[str, str] = {}
    for key in sent.get("userAssignedIdentities") or ():
        named.setdefault(key.lower(), key)
    listed: Document = {key: {} for key in named.values()} if "UserAssigned" in parts else {}
    return {"type": ", ".join(sorted(parts))} | ({"userAssignedIdentities": listed} if listed else {})


def _falsy_dropped(item: Document) -> Document:
    return {key: value for key, value in item.items() if value}


def _number(sent: Any, default: int | None) -> Any:
    """`"80"` is 80; what is no number stays as it is, for validation to refuse."""
    if sent is None or sent == "":
        return default
    with contextlib.suppress(TypeError, ValueError):
        return int(sent)
    return sent
