"""Subscriptions, their regions and their registered providers. Read-only: nothing here can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.local_azure import wire
from infra.local_azure.arm import regions

# Providers' types and the api-versions clients send; the gateway doesn't insist on them.
PROVIDERS: dict[str, dict[str, list[str]]] = {
    "Microsoft.App": {
        name: ["2026-07-01", "2026-01-01", "2025-07-01", "2025-01-01", "2024-03-01", "2023-05-01"]
        for name in ("managedEnvironments", "managedEnvironments/storages", "containerApps", "operations")
    },
    "Microsoft.Storage": {
        name: ["2026-09-01", "2025-08-01", "2025-06-01", "2024-01-01", "2023-05-01"]
        for name in (
            "storageAccounts",
            "storageAccounts/fileServices",
            "storageAccounts/fileServices/shares",
            "checkNameAvailability",
        )
    },
    "Microsoft.OperationalInsights": {"workspaces": ["2025-07-01", "2025-02-01", "2023-09-01", "2020-08-01"]},
    "Microsoft.Resources": {"resourceGroups": ["2025-04-01", "2024-11-01", "2022-09-01"]},
}


class Subscriptions:
    """The subscriptions this server was started with. Every provider is registered."""

    def __init__(self, ids: Sequence[str], tenant: str) -> None:
        self._ids = tuple(ids)
        self._tenant = tenant

    def routes(self) -> list[wire.Route]:
        one = "/subscriptions/{subscription}"
        return [
            wire.Route("GET", "/subscriptions", self._list),
            wire.Route("GET", one, self._get),
            wire.Route("GET", f"{one}/locations", self._locations),
            wire.Route("GET", f"{one}/providers", self._providers),
            wire.Route("GET", f"{one}/providers/{{namespace}}", self._provider),
            wire.Route("POST", f"{one}/providers/{{namespace}}/register", self._provider),
            wire.Route("GET", "/tenants", self._tenants),
        ]

    async def _list(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, {"value": [self._subscription(each) for each in self._ids]})

    async def _get(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, self._subscription(call.names["subscription"].lower()))

    async def _tenants(self, call: wire.Call) -> wire.Reply:
        tenant = {"id": f"/tenants/{self._tenant}", "tenantId": self._tenant, "tenantCategory": "Home"}
        return wire.Reply(200, {"value": [tenant]})

    async def _locations(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(
            200, {"value": [_location(call.names["subscription"], *each) for each in regions.NAMES.items()]}
        )

    async def _providers(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, {"value": [_provider(call.names["subscription"], name) for name in PROVIDERS]})

    async def _provider(self, call: wire.Call) -> wire.Reply:
        """Both the read and the registration answer with the provider (documented)."""
        wanted = call.names["namespace"]
        for name in PROVIDERS:
            if name.lower() == wanted.lower():
                return wire.Reply(200, _provider(call.names["subscription"], name))
        raise wire.ArmError(
            404, "InvalidResourceNamespace", f"The resource namespace '{wanted}' is invalid.", gateway=True
        )

    def _subscription(self, subscription: str) -> dict[str, Any]:
        return {
            "id": f"/subscriptions/{subscription}",
            "authorizationSource": "RoleBased",
            "managedByTenants": [],
            "subscriptionId": subscription,
            "tenantId": self._tenant,
            "displayName": "Local Azure",
            "state": "Enabled",
            "subscriptionPolicies": {
                "locationPlacementId": "Public_2014-09-01",
                "quotaId": "PayAsYouGo_2014-09-01",
                "spendingLimit": "Off",
            },
        }


def _location(subscription: str, code: str, name: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{subscription}/locations/{code}",
        "name": code,
        "type": "Region",
        "displayName": name,
        "regionalDisplayName": name,
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
    }


def _provider(subscription: str, namespace: str) -> dict[str, Any]:
    places = list(regions.NAMES.values())
    types = [
        {"resourceType": name, "locations": places, "apiVersions": versions}
        for name, versions in PROVIDERS[namespace].items()
    ]
    return {
        "id": f"/subscriptions/{subscription}/providers/{namespace}",
        "namespace": namespace,
        "resourceTypes": types,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationRequired",
    }
