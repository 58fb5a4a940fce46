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

# Members of a request and of an answer that are null here.
_UNSET_INGRESS = ("customDomains", "ipSecurityRestrictions", "corsPolicy", "stickySessions", "additionalPortMappings")
_UNSET_CONFIGURATION = ("registries", "dapr", "runtime", "revisionTransitionThreshold", "service")
_UNSET_TEMPLATE = ("terminationGracePeriodSeconds", "initContainers", "serviceBinds")
_UNSET_SCALE = ("minReplicas", "rules")
_STARTED_FIRST = "2026-11-20T08:15:26+00:00"
_STARTED_SECOND = "2026-11-20T08:16:05+00:00"


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
            "minimumTlsVersion": "TLS1_2",
            "primaryEndpoints": {"file": f"https://{ACCOUNT}.file.core.windows.net/"},
            "provisioningState": "Succeeded",
            "supportsHttpsTrafficOnly": True,
        },
    }


def file_share() -> Json:
    """A share as ARM's GET answers it: it has no provisioningState."""
    return {
        "id": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}/fileServices/default/shares/{SHARE}",
        "name": SHARE,
        "type": "Microsoft.Storage/storageAccounts/fileServices/shares",
        "properties": {"lastModifiedTime": "2026-11-20T08:15:31.0000000Z", "leaseState": "available", "shareQuota": 5},
    }


def workspace_accepted() -> Json:
    """A workspace as its PUT answers it: still Creating, and its customerId is there already."""
    return {
        "properties": {
            "customerId": CUSTOMER,
            "provisioningState": "Creating",
            "sku": {"name": "PerGB2018"},
            "retentionInDays": 30,
        },
        "location": "westus3",
        "id": f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/{WORKSPACE}",
        "name": WORKSPACE,
        "type": "Microsoft.OperationalInsights/workspaces",
    }


def environment() -> Json:
    """An environment with a dedicated GPU profile as GET answers it: the region's display name, no tags at all, times
    without a zone, unset objects null, `Consumption` first and enableFips in every profile."""
    one = {"minimumCount": 1, "maximumCount": 1}
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
            "appLogsConfiguration": {"destination": None, "logAnalyticsConfiguration": None},
            "zoneRedundant": False,
            "workloadProfiles": [
                {"workloadProfileType": "Consumption", "name": "Consumption", "enableFips": False},
                {"workloadProfileType": "NC24-A100", "name": "gpu", "enableFips": False, **one},
            ],
        },
    }


def environment_failed() -> Json:
    """An environment after a PATCH that failed: the operation's result is 200 with this, the profiles are listed as
    ever, and the reason is in deploymentErrors. Older answers have no enableFips."""
    error = "ErrorCode: ManagedEnvironmentUpgradeError, Message: Update the managed environment failed."
    body = environment()
    body["location"] = "East US"
    body["systemData"]["lastModifiedAt"] = CHANGED
    body["properties"] |= {
        "provisioningState": "Failed",
        "deploymentErrors": error,
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
    template = {"revisionSuffix": None, "containers": [_container("new")], "volumes": [_volume("0755")]}
    return {"properties": {"template": template}}


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
    running = {"trafficWeight": 0, "healthState": "Healthy", "provisioningState": "Provisioned"}
    starting = {"trafficWeight": 100, "healthState": "None", "provisioningState": "Provisioned"}
    return [
        _revision(FIRST, _STARTED_FIRST, {**running, "runningState": "Running"}),
        _revision(SECOND, _STARTED_SECOND, {**starting, "runningState": "Activating"}),
    ]


def revisions_crashing() -> list[Json]:
    """Revisions whose container ends again and again, the one before included: Failed in provisioning and in running,
    Unhealthy, and the reason in two members."""
    failed = {
        "provisioningError": f"Container crashing: {CONTAINER}",
        "healthState": "Unhealthy",
        "provisioningState": "Failed",
        "runningState": "Failed",
        "runningStateDetails": f"1/1 Container crashing: {CONTAINER}",
    }
    return [
        _revision(FIRST, _STARTED_FIRST, {"trafficWeight": 0, **failed}),
        _revision(SECOND, _STARTED_SECOND, {"trafficWeight": 100, **failed}),
    ]


def replicas() -> list[Json]:
    """Replicas whose container has started and isn't ready: their own details are empty, the container's tell a time in
    words."""
    return [_replica(f"{SECOND}-5c9d7f6b84-{suffix}") for suffix in ("x2kqp", "m7trd")]


def _configuration() -> Json:
    """An app's, in a GET."""
    return {
        "secrets": None,
        "activeRevisionsMode": "Single",
        "targetLabel": "",
        "ingress": {
            "fqdn": f"{APP}.{DOMAIN}",
            "external": True,
            "targetPort": 8000,
            "exposedPort": 0,
            "transport": "Auto",
            "traffic": [{"weight": 100, "latestRevision": True}],
            "allowInsecure": True,
            **dict.fromkeys(_UNSET_INGRESS),
        },
        "identitySettings": [],
        "maxInactiveRevisions": 100,
        **dict.fromkeys(_UNSET_CONFIGURATION),
    }


def _container(release: str) -> Json:
    """With the members that a request, a GET and a revision share."""
    return {
        "image": "docker.io/pytorch/pytorch:2.9.0",
        "name": CONTAINER,
        "resources": {"cpu": 1.0, "memory": "2Gi"},
        "volumeMounts": [{"volumeName": "content", "mountPath": "/mount", "subPath": f"releases/{release}"}],
    }


def _volume(mode: str) -> Json:
    options = f"dir_mode={mode},file_mode={mode}"
    return {"name": "content", "storageType": "AzureFile", "storageName": STORAGE, "mountOptions": options}


def _template(release: str, *, mode: str) -> Json:
    """An app's, in a GET."""
    container = _container(release) | {"imageType": "ContainerImage"}
    container["resources"] |= {"ephemeralStorage": "4Gi"}
    return {
        "revisionSuffix": "",
        "containers": [container],
        "scale": {"maxReplicas": 10, "cooldownPeriod": 300, "pollingInterval": 30} | dict.fromkeys(_UNSET_SCALE),
        "volumes": [_volume(mode)],
        **dict.fromkeys(_UNSET_TEMPLATE),
    }


def _revision(name: str, created: str, state: Mapping[str, Any]) -> Json:
    """`containerApps` in its id; an offset in its time; in its template no imageType and no ephemeral storage, an empty
    list for no probes, and null where a GET of the app has a default."""
    release, mode = ("old", "0777") if name == FIRST else ("new", "0755")
    template = {
        "revisionSuffix": None,
        "containers": [_container(release) | {"probes": []}],
        "scale": {"maxReplicas": 10, "cooldownPeriod": None, "pollingInterval": None} | dict.fromkeys(_UNSET_SCALE),
        "volumes": [_volume(mode)],
        **dict.fromkeys(_UNSET_TEMPLATE),
    }
    facts = {"createdTime": created, "fqdn": f"{name}.{DOMAIN}", "template": template, "active": True, "replicas": 1}
    return {
        "id": f"{GROUP}/providers/Microsoft.App/containerApps/{APP}/revisions/{name}",
        "name": name,
        "type": "Microsoft.App/containerapps/revisions",
        "properties": {**facts, **state},
    }


def _replica(name: str) -> Json:
    container = {
        "name": CONTAINER,
        "ready": False,
        "started": True,
        "restartCount": 0,
        "runningState": "Running",
        "runningStateDetails": "Container started at: 11/20/2026 8:16:12 AM.",
    }
    return {
        "id": f"{GROUP}/providers/Microsoft.App/containerApps/{APP}/revisions/{SECOND}/replicas/{name}",
        "name": name,
        "type": "Microsoft.App/containerapps/revisions/replicas",
        "properties": {
            "createdTime": "2026-11-20T08:16:08Z",
            "runningState": "Running",
            "runningStateDetails": "",
            "containers": [container],
            "initContainers": [],
        },
    }
