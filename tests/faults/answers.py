"""A cloud without a server: a set of answers, by kind. What is written to it is forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from tests.faults import scenarios

KEY = "A" * 86 + "=="


@dataclass
class Answers:
    """`port.Cloud` over what was seen; what is written is forgotten, and what is wrong of a body raises nothing."""

    bodies: Mapping[Kind, Any]
    revisions_: Sequence[Any]
    keys: Sequence[str] = (KEY, KEY)

    async def read(self, kind: Kind, resource_id: str) -> observed.Resource | None:
        body = self.bodies.get(kind)
        return observed.Resource(body) if isinstance(body, dict) else None

    async def listed(self, kind: Kind, scope: str) -> tuple[observed.Resource, ...]:
        found = await self.read(kind, scope)
        return (found,) if found else ()

    async def revisions(self, app_id: str) -> tuple[observed.Resource, ...]:
        return tuple(observed.Resource(one) for one in self.revisions_ if isinstance(one, dict))

    async def replicas(self, revision_id: str) -> tuple[observed.Resource, ...]:
        return await self.revisions(revision_id)

    async def account_keys(self, account_id: str) -> tuple[SecretStr, ...]:
        return tuple(map(SecretStr, self.keys))

    async def workspace_key(self, workspace_id: str) -> SecretStr:
        return SecretStr(KEY)

    async def app_secrets(self, app_id: str) -> Mapping[str, SecretStr]:
        return {}

    async def create(self, kind: Kind, resource_id: str, body: Mapping[str, Any]) -> None:
        pass

    update = create

    async def delete(self, kind: Kind, resource_id: str) -> None:
        pass

    async def register(self, namespace: str, subscription: str) -> None:
        pass

    async def check(self, url: str) -> observed.Check:
        return observed.Check(None, None, "nobody answers", conclusive=False)

    def share(self, account: observed.Resource, name: str) -> Any:
        raise outcome.OutcomeError(outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "no share here"))

    async def close(self) -> None:
        pass


def seen() -> tuple[Mapping[Kind, Any], Sequence[Any]]:
    """The bodies of a stack that is as wanted, by the shapes that Azure answers."""
    group = f"/subscriptions/{scenarios.SUBSCRIPTION}/resourceGroups/rg-one"
    environment = f"{group}/providers/Microsoft.App/managedEnvironments/env-one"
    template = {
        "containers": [
            {"name": "chat", "image": "x", "env": [{"name": "MODE", "value": "chat"}], "probes": [{"type": "Liveness"}]}
        ],
        "scale": {
            "minReplicas": 1,
            "maxReplicas": 1,
            "rules": [{"name": "http", "http": {"metadata": {"concurrentRequests": "10"}}}],
        },
        "volumes": [{"name": "modelsvolume", "storageType": "AzureFile", "storageName": "mount"}],
        "revisionSuffix": "",
    }
    system = {"createdAt": "2026-11-22T10:00:00.0000000Z", "lastModifiedAt": "2026-11-22T10:00:00.0000000Z"}
    ours = {
        "acaops-owner": "one/Environment/gpu-west",
        "acaops-origin": "created",
        "acaops-storage-key": "mount:0123456789abcdef",
    }
    ready = {"provisioningState": "Succeeded"}
    profile = {"name": "GPU", "workloadProfileType": "NC24-A100", "minimumCount": 0, "maximumCount": 2}
    configuration = {
        "ingress": {
            "fqdn": "chat.x.localhost",
            "external": True,
            "targetPort": 7860,
            "traffic": [{"latestRevision": True, "weight": 100}],
        },
        "activeRevisionsMode": "Single",
        "secrets": [{"name": "api-keys-01234567"}],
        "registries": [],
    }
    bodies = {
        Kind.GROUP: {"id": group, "name": "rg-one", "location": "westus3", "tags": {}, "properties": ready},
        Kind.ACCOUNT: {
            "id": f"{group}/providers/Microsoft.Storage/storageAccounts/accountone",
            "name": "accountone",
            "location": "westus3",
            "sku": {"name": "Standard_LRS"},
            "kind": "StorageV2",
            "tags": ours,
            "properties": {**ready, "primaryEndpoints": {"file": "https://127.0.0.1/accountone/"}},
        },
        Kind.FILE_SERVICE: {
            "id": "x",
            "name": "default",
            "properties": {"shareDeleteRetentionPolicy": {"enabled": True, "days": 7}},
        },
        Kind.SHARE: {
            "id": "x",
            "name": "models",
            "properties": {"shareQuota": 1024, "enabledProtocols": "SMB", "metadata": {}},
        },
        Kind.WORKSPACE: {
            "id": "x",
            "name": "logs-one",
            "location": "westus3",
            "tags": ours,
            "properties": {**ready, "customerId": "1"},
        },
        Kind.ENVIRONMENT: {
            "id": environment,
            "name": "env-one",
            "location": "West US 3",
            "tags": ours,
            "systemData": system,
            "properties": {
                **ready,
                "workloadProfiles": [profile],
                "staticIp": "10.0.0.1",
                "appLogsConfiguration": {"logAnalyticsConfiguration": {"customerId": "1"}},
            },
        },
        Kind.STORAGE: {
            "id": f"{environment}/storages/mount",
            "name": "mount",
            "properties": {
                "azureFile": {"accountName": "accountone", "shareName": "models", "accessMode": "ReadWrite"}
            },
        },
        Kind.APP: {
            "id": scenarios.CHAT,
            "name": "chat",
            "location": "West US 3",
            "systemData": system,
            "identity": {"type": "None"},
            "tags": {"acaops-owner": "one/InferenceApp/chat", "acaops-origin": "created", "acaops-applied": "0123"},
            "properties": {
                **ready,
                "environmentId": environment,
                "managedEnvironmentId": environment,
                "workloadProfileName": "GPU",
                "template": template,
                "configuration": configuration,
                "latestRevisionName": "chat--1",
                "latestReadyRevisionName": "chat--1",
            },
        },
    }
    revision = {
        "id": f"{scenarios.CHAT}/revisions/chat--1",
        "name": "chat--1",
        "properties": {
            **ready,
            "createdTime": "2026-11-22T10:00:00+00:00",
            "active": True,
            "healthState": "Healthy",
            "runningState": "Running",
            "provisioningState": "Provisioned",
            "template": template,
        },
    }
    return bodies, [revision]
