"""What Azure sends and answers, composed for these tests and cut to the fields that matter to them.

Every function returns a new body and names the behaviour of the service that it shows. Names, ids and times are our
own; which members are null, how words and ids are cased and what is filled in or left out is the service's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-phi3"
ACCOUNT = "aistorageokxj5"
SHARE = "aishareokxj5"
WORKSPACE = "ailogsokxj5"
CUSTOMER = "5f0e8d4c-3b2a-4190-8f7e-6d5c4b3a2910"
"""The workspace's customerId."""
ENVIRONMENT = "aienvokxj5"
STORAGE = "aimountokxj5"
APP = "aiacaappokxj5"
FIRST = f"{APP}--q8d3wtn"
"""The app's first revision: the service makes up its suffix."""
SECOND = f"{APP}--0000001"
"""Its second one: the service counts."""
CONTAINER = "aiacamountokxj5"
"""The cause of a crash is not to be read from it."""
DOMAIN = "kindpond-1a2b3c4d.westus3.azurecontainerapps.io"

CREATED = "2026-11-20T08:15:20.1234567"
CHANGED = "2026-11-20T08:15:59.7654321"
ENVIRONMENT_ID = f"{GROUP}/providers/Microsoft.App/managedEnvironments/{ENVIRONMENT}"


# The stack


def storage_account() -> Json:
    """An account as GET answers it once it is made: the sku with its tier, region and tags as sent, no tags an empty
    object, defaults filled in."""
    return {
        "sku": {"name": "Standard_LRS", "tier": "Standard"},
        "kind": "StorageV2",
        "id": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}",
        "name": ACCOUNT,
        "type": "Microsoft.Storage/storageAccounts",
        "location": "westus3",
        "tags": {},
        "properties": {
            "allowBlobPublicAccess": False,
            "creationTime": f"{CREATED}Z",
            "keyCreationTime": {"key1": f"{CREATED}Z", "key2": f"{CREATED}Z"},
            "minimumTlsVersion": "TLS1_2",
            "primaryEndpoints": {"file": f"https://{ACCOUNT}.file.core.windows.net/"},
            "primaryLocation": "westus3",
            "provisioningState": "Succeeded",
            "supportsHttpsTrafficOnly": True,
        },
    }


def file_share() -> Json:
    """A share as ARM's GET answers it: no provisioningState, and no enabledProtocols for the SMB it was asked for."""
    return {
        "id": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}/fileServices/default/shares/{SHARE}",
        "name": SHARE,
        "type": "Microsoft.Storage/storageAccounts/fileServices/shares",
        "properties": {
            "lastModifiedTime": "2026-11-20T08:15:31.0000000Z",
            "leaseState": "available",
            "leaseStatus": "unlocked",
            "shareQuota": 5,
        },
    }


def workspace_accepted() -> Json:
    """A workspace as its PUT answers it: still Creating, and its customerId is there already."""
    return {
        "properties": {
            "customerId": CUSTOMER,
            "provisioningState": "Creating",
            "sku": {"name": "PerGB2018", "lastSkuUpdate": f"{CREATED}Z"},
            "retentionInDays": 30,
            "workspaceCapping": {"dailyQuotaGb": -1.0},
        },
        "location": "westus3",
        "id": f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/{WORKSPACE}",
        "name": WORKSPACE,
        "type": "Microsoft.OperationalInsights/workspaces",
    }


def environment() -> Json:
    """An environment with a dedicated GPU profile as GET answers it: the region's display name, no tags at all, times
    without a zone, unset objects null, `Consumption` first and enableFips in every profile."""
    return {
        "id": ENVIRONMENT_ID,
        "name": ENVIRONMENT,
        "type": "Microsoft.App/managedEnvironments",
        "location": "West US 3",
        "systemData": {"createdAt": CREATED, "lastModifiedAt": CREATED},
        "properties": {
            "provisioningState": "Succeeded",
            "vnetConfiguration": None,
            "defaultDomain": DOMAIN,
            "staticIp": "203.0.113.15",
            "appLogsConfiguration": {"destination": None, "logAnalyticsConfiguration": None},
            "zoneRedundant": False,
            "workloadProfiles": [
                {"workloadProfileType": "Consumption", "name": "Consumption", "enableFips": False},
                {
                    "workloadProfileType": "NC24-A100",
                    "name": "gpu",
                    "enableFips": False,
                    "minimumCount": 1,
                    "maximumCount": 1,
                },
            ],
            "publicNetworkAccess": "Enabled",
        },
    }


def environment_failed() -> Json:
    """An environment after a PATCH that failed: the operation's result is 200 with this, the profile that was asked for
    is listed, and the reason is in deploymentErrors. Older answers have no enableFips."""
    body = environment()
    body["location"] = "East US"
    body["systemData"]["lastModifiedAt"] = CHANGED
    body["properties"] |= {
        "provisioningState": "Failed",
        "deploymentErrors": "ErrorCode: ManagedEnvironmentUpgradeError, Message: Update the managed environment failed.",
        "workloadProfiles": [
            {"workloadProfileType": "Consumption", "name": "Consumption"},
            {"workloadProfileType": "D8", "name": "cpu-d8", "minimumCount": 1, "maximumCount": 1},
        ],
    }
    return body


def environment_storage(*, account: str = ACCOUNT) -> Json:
    """A storage as PUT and GET answer it: a lower-case type, no key, no provisioningState. A PUT that names another
    account is answered 200 with the `account` that the storage was made with."""
    return {
        "id": f"{ENVIRONMENT_ID}/storages/{STORAGE}",
        "name": STORAGE,
        "type": "Microsoft.App/managedenvironments/storages",
        "properties": {"azureFile": {"accountName": account, "shareName": SHARE, "accessMode": "ReadWrite"}},
    }


# The app


def app_sent() -> Json:
    """A PUT as a client of the service sends it: every member that isn't set is null."""
    ingress = {
        "fqdn": None,
        "external": True,
        "targetPort": 8000,
        "exposedPort": None,
        "transport": "Auto",
        "traffic": [{"revisionName": None, "weight": 100, "latestRevision": True, "label": None}],
        "allowInsecure": True,
        **dict.fromkeys(_UNSET_INGRESS),
    }
    container = _container("old") | {"command": None, "args": None, "env": None, "probes": None}
    container["resources"] |= {"ephemeralStorage": "1Gi", "gpu": None}
    return {
        "location": "westus3",
        "tags": None,
        "identity": None,
        "properties": {
            "environmentId": ENVIRONMENT_ID,
            "configuration": {
                "secrets": None,
                "activeRevisionsMode": "Single",
                "targetLabel": None,
                "ingress": ingress,
                "identitySettings": None,
                "maxInactiveRevisions": None,
                **dict.fromkeys(_UNSET_CONFIGURATION),
            },
            "template": {
                "revisionSuffix": None,
                "containers": [container],
                "scale": None,
                "volumes": [{**_volume("0777"), "secrets": None}],
                **dict.fromkeys(_UNSET_TEMPLATE),
            },
            "workloadProfileName": None,
        },
    }


def app_accepted() -> Json:
    """A container app as its PUT answers it: InProgress and half filled, without names of revisions, scale and fqdn
    null, imageType CloudBuild; times end in Z."""
    body = app()
    properties = body["properties"]
    body["systemData"] = {"createdAt": f"{CREATED}Z", "lastModifiedAt": f"{CREATED}Z"}
    for later in ("runningStatus", "latestRevisionName", "latestReadyRevisionName", "latestRevisionFqdn"):
        del properties[later]
    properties["provisioningState"] = "InProgress"
    properties["configuration"]["targetLabel"] = None
    properties["configuration"]["ingress"] |= {"fqdn": None, "exposedPort": None}
    properties["template"] |= {"revisionSuffix": None, "scale": None}
    properties["template"]["containers"][0]["imageType"] = "CloudBuild"
    return body


def app() -> Json:
    """A container app as GET answers it once its operation succeeded: `containerapps` in lower case in its id, the
    region's display name, times without a zone; null members of the traffic dropped, empty text, 0 or a default for
    some nulls, ephemeral storage by the cpu and not as asked; what else wasn't set stays null."""
    return {
        "id": f"{GROUP}/providers/Microsoft.App/containerapps/{APP}",
        "name": APP,
        "type": "Microsoft.App/containerApps",
        "location": "West US 3",
        "systemData": {"createdAt": CREATED, "lastModifiedAt": CREATED},
        "properties": {
            "provisioningState": "Succeeded",
            "runningStatus": "Running",
            "managedEnvironmentId": ENVIRONMENT_ID,
            "environmentId": ENVIRONMENT_ID,
            "workloadProfileName": "Consumption",
            "latestRevisionName": FIRST,
            "latestReadyRevisionName": FIRST,
            "latestRevisionFqdn": f"{FIRST}.{DOMAIN}",
            "configuration": _configuration(),
            "template": _template("old", mode="0777"),
        },
        "identity": {"type": "None"},
    }


def app_patch() -> Json:
    """A PATCH: arrays go out whole for the one field in each that is new."""
    return {
        "properties": {
            "template": {
                "revisionSuffix": None,
                "containers": [_container("new")],
                "volumes": [_volume("0755")],
            }
        }
    }


def app_rolling_out() -> Json:
    """The app as GET answers it once that PATCH succeeded: the template is the new one, and latestReadyRevisionName
    still the old revision, since the new one isn't ready."""
    body = app()
    body["systemData"]["lastModifiedAt"] = CHANGED
    body["properties"] |= {
        "latestRevisionName": SECOND,
        "latestRevisionFqdn": f"{SECOND}.{DOMAIN}",
        "template": _template("new", mode="0755"),
    }
    return body


def app_expired() -> Json:
    """An app whose operation failed: still Running on the revision it has; the reason is in deploymentErrors."""
    body = app()
    body["properties"] |= {"provisioningState": "Failed", "deploymentErrors": "Operation expired"}
    return body


# Its revisions


def revisions_starting() -> list[Json]:
    """During a rollout, oldest first: the old revision runs without traffic; the new one has all of it while it is
    Activating and its health None."""
    return [
        _revision(FIRST, "old", mode="0777", created="2026-11-20T08:15:26+00:00")
        | {"properties": _running("old", mode="0777", created="2026-11-20T08:15:26+00:00")},
        _revision(SECOND, "new"),
    ]


def revisions_crashing() -> list[Json]:
    """Revisions whose container ends again and again: Failed, Unhealthy, Failed, and the reason in two members."""
    return []


def replicas() -> list[Json]:
    """Replicas whose container started and isn't ready: no details of their own; a time in words for the container."""
    return []
