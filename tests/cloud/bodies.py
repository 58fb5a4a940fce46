"""A whole stack for tests that aren't about making one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from controller.cloud import azure as adapter
from controller.model.kinds import Kind

if TYPE_CHECKING:
    from tests.cloud.conftest import Names

WEST = {"location": "westus3"}
ACCOUNT = {**WEST, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}}
WORKSPACE = {**WEST, "properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30}}
PROFILES = [{"name": "Consumption", "workloadProfileType": "Consumption"}]
ENVIRONMENT = {**WEST, "properties": {"workloadProfiles": PROFILES}}
STORAGE = {
    "properties": {
        "azureFile": {
            "accountName": "accountone",
            "shareName": "share-one",
            "accessMode": "ReadWrite",
            "accountKey": "a2V5",
        }
    }
}


def app(names: Names) -> dict[str, Any]:
    """One that mounts the storage."""
    mounted = [{"volumeName": "code", "mountPath": "/mnt/code"}]
    resources = {"cpu": 0.5, "memory": "1Gi"}
    container = {"name": "app", "image": "python:3.12-slim", "resources": resources, "volumeMounts": mounted}
    volume = {"name": "code", "storageType": "AzureFile", "storageName": "storage-one"}
    template = {"containers": [container], "volumes": [volume], "scale": {"minReplicas": 1, "maxReplicas": 1}}
    return {**WEST, "properties": {"environmentId": names.environment, "template": template}}


async def make(cloud: adapter.Azure, names: Names, *, passing: Callable[[float], None] = lambda _: None) -> None:
    """Group, account with share, workspace, environment with storage, app. `passing` lets ten minutes go by."""
    for kind, resource_id, body in (
        (Kind.GROUP, names.group, WEST),
        (Kind.ACCOUNT, names.account, ACCOUNT),
        (Kind.WORKSPACE, names.workspace, WORKSPACE),
        (Kind.ENVIRONMENT, names.environment, ENVIRONMENT),
        (Kind.SHARE, names.share, {"properties": {"shareQuota": 5}}),
        (Kind.STORAGE, names.storage, STORAGE),
        (Kind.APP, names.app, app(names)),
    ):
        if kind in (Kind.SHARE, Kind.APP):
            passing(600)
        await cloud.create(kind, resource_id, body)
    passing(600)
