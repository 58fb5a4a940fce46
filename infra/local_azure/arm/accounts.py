"""What a storage account's resource holds: its defaults, what may be set and what may never change. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.local_azure import wire
from infra.local_azure.arm import regions, tracked

TYPE = "Microsoft.Storage/storageAccounts"
NAME = re.compile(r"[a-z0-9]{3,24}")
NAME_RULE = (
    "Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only."
)
SKUS = (
    "Standard_LRS",
    "Standard_GRS",
    "Standard_RAGRS",
    "Standard_ZRS",
    "Premium_LRS",
    "Premium_ZRS",
    "Standard_GZRS",
    "Standard_RAGZRS",
    "StandardV2_LRS",
    "StandardV2_GRS",
    "StandardV2_ZRS",
    "StandardV2_GZRS",
    "PremiumV2_LRS",
    "PremiumV2_ZRS",
)
KINDS = ("Storage", "StorageV2", "BlobStorage", "FileStorage", "BlockBlobStorage")
# What an update may set; the rest of `properties` is the server's.
SETTABLE = (
    "accessTier",
    "allowBlobPublicAccess",
    "allowCrossTenantReplication",
    "allowSharedKeyAccess",
    "azureFilesIdentityBasedAuthentication",
    "customDomain",
    "defaultToOAuthAuthentication",
    "dnsEndpointType",
    "dualStackEndpointPreference",
    "encryption",
    "immutableStorageWithVersioning",
    "isHnsEnabled",
    "isLocalUserEnabled",
    "isNfsV3Enabled",
    "isSftpEnabled",
    "keyPolicy",
    "largeFileSharesState",
    "minimumTlsVersion",
    "networkAcls",
    "publicNetworkAccess",
    "routingPreference",
    "sasPolicy",
    "supportsHttpsTrafficOnly",
)
# Recorded: storageaccount-poll-done.
DEFAULTS: dict[str, Any] = {
    "allowCrossTenantDelegationSas": False,
    "allowCrossTenantReplication": False,
    "privateEndpointConnections": [],
    "minimumTlsVersion": "TLS1_2",
    "allowBlobPublicAccess": False,
    "networkAcls": {
        "ipv6Rules": [],
        "bypass": "AzureServices",
        "virtualNetworkRules": [],
        "ipRules": [],
        "defaultAction": "Allow",
    },
    "supportsHttpsTrafficOnly": True,
    "accessTier": "Hot",
}


def check_name(name: str) -> None:
    """Documented: AccountNameInvalid."""
    if not NAME.fullmatch(name):
        raise wire.ArmError(400, "AccountNameInvalid", f"{name} is not a valid storage account name. {NAME_RULE}")


def created(call: wire.Call, sent: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The resource as it is while being created, with the server's defaults; `now` as the wire writes it."""
    place = tracked.location(sent, TYPE)
    sku = _sku(sent)
    if sent.get("kind") not in KINDS:
        raise invalid("kind")
    name = call.names["account"]
    encrypted = {"keyType": "Account", "enabled": True, "lastEnabledTime": now}
    properties = {
        **DEFAULTS,
        "keyCreationTime": {"key1": now, "key2": now},
        "encryption": {"services": {"file": encrypted, "blob": encrypted}, "keySource": "Microsoft.Storage"},
        "provisioningState": "Creating",
        "creationTime": now,
        "primaryLocation": regions.code(place),
        "statusOfPrimary": "available",
    }
    return {
        "sku": sku,
        "kind": sent["kind"],
        "id": tracked.resource_id(call, TYPE, name),
        "name": name,
        "type": TYPE,
        "location": place,
        "tags": tracked.tags(sent),
        "properties": tracked.merged(properties, _settable(sent)),
    }


def _sku(sent: Mapping[str, Any]) -> dict[str, str]:
    """Names are repaired to the service's casing (assumed)."""
    wanted = str(tracked.member(sent, "sku").get("name") or "").lower()
    for name in SKUS:
        if name.lower() == wanted:
            return {"name": name, "tier": "Premium" if name.startswith("Premium") else "Standard"}
    raise invalid("sku.name")


def _settable(sent: Mapping[str, Any]) -> dict[str, Any]:
    properties = tracked.member(sent, "properties")
    return {name: value for name, value in properties.items() if name in SETTABLE}


def updated(resource: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The resource with what was sent; kind and performance tier can't change (documented)."""
    sku = _sku(sent) if sent.get("sku") is not None else resource["sku"]
    if sku["tier"] != resource["sku"]["tier"]:
        raise _immutable("sku")
    kind = sent.get("kind") or resource["kind"]
    if kind != resource["kind"] and (resource["kind"], kind) != ("Storage", "StorageV2"):
        raise _immutable("kind")
    properties = tracked.merged(resource["properties"], _settable(sent))
    return {**resource, "sku": sku, "kind": kind, "properties": properties}


def _immutable(name: str) -> wire.ArmError:
    message = f"The property '{name}' was specified in the input, but it cannot be updated."
    return wire.ArmError(409, "AccountPropertyCannotBeUpdated", message)


def invalid(name: str) -> wire.ArmError:
    """Documented: the storage provider's refusal of a value."""
    message = f"Values for request parameters are invalid: {name}."
    return wire.ArmError(400, "InvalidValuesForRequestParameters", message)
