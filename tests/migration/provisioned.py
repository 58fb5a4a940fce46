"""Stacks as AI Toolkit's provisioning makes them: through the SDK, with the properties its Bicep declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.model import identity
from tests.local_azure.conftest import Clients, Local, stock

GROUP = "rg-one"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
SUFFIX = identity.unique_string(identity.group_id(SUBSCRIPTION, GROUP))[:5]

COMMANDS = ("cd /mount", "pip install -r ./setup/requirements.txt", "cd /mount/inference", "python3 ./chat.py")


def names(prefix: str = "ai", **own: str) -> identity.Names:
    """The default names, with some `own` ones."""
    kinds = {
        "account": "storage",
        "share": "fileshare",
        "environment": "env",
        "storage": "envstorage",
        "workspace": "log",
    }
    return identity.Names(**{key: own.get(key, f"{prefix}{name}{SUFFIX}") for key, name in kinds.items()})


def ids(names: identity.Names) -> identity.Ids:
    return identity.Ids(identity.group_id(SUBSCRIPTION, GROUP), names)


@dataclass(frozen=True)
class Provisioned:
    """One app and all it stands on. `start` is the shell's text; `change` is made to the app's body before it goes."""

    names: identity.Names = field(default_factory=names)
    app: str = f"aiacaapp{SUFFIX}"
    start: str = "&& ".join(COMMANDS)
    image: str = "docker.io/pytorch/pytorch:2.3.0-cuda11.8-cudnn8-runtime"
    counts: Sequence[int] = (0, 2)
    startup_period: int = 120
    location: str = "westus3"
    logs_location: str = "westus3"
    change: Callable[[Any], None] = lambda body: None

    async def make(self, local: Local) -> None:
        async with stock(local) as sdk:
            await sdk.resources.resource_groups.create_or_update(GROUP, {"location": self.location})
            await self._storage(sdk)
            customer = await self._workspace(sdk)
            await self._environment(sdk, customer)
            body = self.app_body()
            self.change(body)
            await (await sdk.apps.container_apps.begin_create_or_update(GROUP, self.app, body)).result()

    async def _storage(self, sdk: Clients) -> None:
        account: Any = {
            "sku": {"name": "Standard_LRS"},
            "kind": "StorageV2",
            "location": self.location,
            "properties": {"largeFileSharesState": "Enabled"},
        }
        await (await sdk.storage.storage_accounts.begin_create(GROUP, self.names.account, account)).result()
        service: Any = {
            "properties": {
                "protocolSettings": {"smb": {}},
                "cors": {"corsRules": []},
                "shareDeleteRetentionPolicy": {"enabled": True, "days": 7},
            }
        }
        await sdk.storage.file_services.set_service_properties(GROUP, self.names.account, service)
        share: Any = {"properties": {"shareQuota": 1024}}
        await sdk.storage.file_shares.create(GROUP, self.names.account, self.names.share, share)

    async def _workspace(self, sdk: Clients) -> str:
        body: Any = {"location": self.logs_location, "properties": {"sku": {"name": "PerGB2018"}}}
        made = await (await sdk.logs.workspaces.begin_create_or_update(GROUP, self.names.workspace, body)).result()
        return str(made.customer_id)

    async def _environment(self, sdk: Clients, customer: str) -> None:
        logs = await sdk.logs.shared_keys.get_shared_keys(GROUP, self.names.workspace)
        least, most = self.counts
        body: Any = {
            "location": self.location,
            "properties": {
                "daprAIInstrumentationKey": None,
                "vnetConfiguration": None,
                "zoneRedundant": False,
                "appLogsConfiguration": {
                    "destination": "log-analytics",
                    "logAnalyticsConfiguration": {"customerId": customer, "sharedKey": logs.primary_shared_key},
                },
                "workloadProfiles": [
                    {"workloadProfileType": "Consumption", "name": "Consumption"},
                    {"workloadProfileType": "NC24-A100", "name": "GPU", "minimumCount": least, "maximumCount": most},
                ],
                "infrastructureResourceGroup": None,
                "peerAuthentication": {"mtls": {"enabled": False}},
            },
        }
        environments = sdk.apps.managed_environments
        await (await environments.begin_create_or_update(GROUP, self.names.environment, body)).result()
        keys = await sdk.storage.storage_accounts.list_keys(GROUP, self.names.account)
        mount: Any = {
            "properties": {
                "azureFile": {
                    "accountName": self.names.account,
                    "accountKey": keys.keys_property[0].value,
                    "shareName": self.names.share,
                    "accessMode": "ReadWrite",
                }
            }
        }
        storages = sdk.apps.managed_environments_storages
        await storages.create_or_update(GROUP, self.names.environment, self.names.storage, mount)

    def app_body(self) -> Any:
        return {
            "location": self.location,
            "identity": {"type": "None"},
            "properties": {
                "environmentId": ids(self.names).environment,
                "workloadProfileName": "GPU",
                "configuration": {
                    "secrets": None,
                    "activeRevisionsMode": "Single",
                    "ingress": {
                        "allowInsecure": False,
                        "exposedPort": 0,
                        "external": True,
                        "targetPort": 7860,
                        "traffic": [{"latestRevision": True, "weight": 100}],
                        "transport": "Auto",
                    },
                    "registries": None,
                    "dapr": None,
                    "maxInactiveRevisions": 100,
                    "service": None,
                },
                "template": {
                    "revisionSuffix": "",
                    "terminationGracePeriodSeconds": None,
                    "containers": [self.container()],
                    "initContainers": None,
                    "scale": {"minReplicas": 1, "maxReplicas": 1, "rules": None},
                    "volumes": [
                        {
                            "name": f"{self.names.share}volume",
                            "storageType": "AzureFile",
                            "storageName": self.names.storage,
                        }
                    ],
                    "serviceBinds": None,
                },
            },
        }

    def container(self) -> Any:
        asked = {"httpGet": {"path": "/", "port": 7860, "scheme": "HTTP"}, "initialDelaySeconds": 60}
        return {
            "image": self.image,
            "name": self.app,
            "command": ["/bin/bash", "-c", self.start],
            "resources": {"cpu": 24, "memory": "220Gi"},
            "probes": [
                {"type": "Liveness", **asked, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3},
                {"type": "Readiness", **asked, "periodSeconds": 10, "failureThreshold": 3},
                {"type": "Startup", **asked, "periodSeconds": self.startup_period, "failureThreshold": 10},
            ],
            "volumeMounts": [{"volumeName": f"{self.names.share}volume", "mountPath": "/mount"}],
        }
