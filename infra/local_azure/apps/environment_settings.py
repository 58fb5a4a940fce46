"""A managed environment's settable properties: what is sent, as Azure keeps it. Pure.

Sources are the recorded pairs managedenv-put-create-gpu and managedenv-get-succeeded-gpu where a function says
nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.local_azure import wire
from infra.local_azure.apps import bodies, profiles
from infra.local_azure.apps.context import Document


def adds_dedicated_gpu(before: Sequence[profiles.Profile] | None, after: Sequence[profiles.Profile] | None) -> bool:
    """Dedicated GPU profiles must be there at creation (documented). Adding one later is accepted and ends
    Failed, in the form recorded for a failed PATCH (that this is what it takes is assumed)."""
    added = (item for item in after or () if profiles.find(before, item["name"]) is None)
    return any(profiles.of(item).dedicated and profiles.of(item).gpus for item in added)


def settings(sent: Document, *, kept: Document | None) -> Document:
    """The settable properties with Azure's defaults; `kept` is what is stored, None at creation."""
    exists = kept is not None and kept["workloadProfiles"] is not None
    vnet = sent.get("vnetConfiguration")
    return {
        "daprAIInstrumentationKey": None,
        "daprAIConnectionString": None,
        "vnetConfiguration": _network(vnet) if vnet else None,
        "appLogsConfiguration": _logs(sent.get("appLogsConfiguration") or {}, kept),
        "openTelemetryConfiguration": sent.get("openTelemetryConfiguration"),
        "zoneRedundant": bool(sent.get("zoneRedundant") or False),
        "availabilityZones": sent.get("availabilityZones"),
        "ingressConfiguration": sent.get("ingressConfiguration"),
        "customDomainConfiguration": bodies.present(sent.get("customDomainConfiguration") or {}),
        "workloadProfiles": profiles.normalised(sent.get("workloadProfiles"), exists=exists),
        "appInsightsConfiguration": sent.get("appInsightsConfiguration"),
        "infrastructureResourceGroup": sent.get("infrastructureResourceGroup"),
        "peerAuthentication": {"mtls": {"enabled": _enabled(sent.get("peerAuthentication"), "mtls")}},
        "peerTrafficConfiguration": {
            "encryption": {"enabled": _enabled(sent.get("peerTrafficConfiguration"), "encryption")}
        },
        "publicNetworkAccess": sent.get("publicNetworkAccess") or "Enabled",
        "diskEncryptionConfiguration": sent.get("diskEncryptionConfiguration"),
    }


def _network(sent: Document) -> Document:
    """`internal` false is added, unset members are null (recorded: managedenv-patch-result-200-but-failed)."""
    names = ("infrastructureSubnetId", "dockerBridgeCidr", "platformReservedCidr", "platformReservedDnsIP")
    return {"internal": bool(sent.get("internal") or False)} | {name: sent.get(name) for name in names}


def _enabled(sent: Any, name: str) -> bool:
    return bool(((sent or {}).get(name) or {}).get("enabled") or False)


def _logs(sent: Document, kept: Document | None) -> Document:
    """customerId is kept and echoed, sharedKey kept and never shown; one left out keeps the old (assumed)."""
    analytics = bodies.present(sent.get("logAnalyticsConfiguration") or {})
    before = ((kept or {}).get("appLogsConfiguration") or {}).get("logAnalyticsConfiguration") or {}
    destination = sent.get("destination") or None
    if not analytics:
        if destination == "log-analytics":
            raise _logs_invalid()
        return {"destination": destination, "logAnalyticsConfiguration": None}
    if "sharedKey" not in analytics and before.get("customerId") == analytics.get("customerId"):
        analytics["sharedKey"] = before.get("sharedKey")
    if not analytics.get("customerId") or not analytics.get("sharedKey"):
        raise _logs_invalid()
    known = {"customerId": str(analytics["customerId"]), "sharedKey": analytics["sharedKey"]}
    return {"destination": destination, "logAnalyticsConfiguration": known}


def _logs_invalid() -> wire.ArmError:
    """Not recorded: assumed."""
    return wire.ArmError(
        400,
        "InvalidLogAnalyticsConfiguration",
        "The log analytics destination needs a logAnalyticsConfiguration with customerId and sharedKey.",
    )
