"""Subscriptions, their regions, and the resource providers registered in them. Only registering changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from infra.local_azure import clock, store, wire
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
REGISTRATIONS = "registrations"
# Assumed: no recording has a registration from its start to its end.
REGISTER_SECONDS = 30.0


class Subscriptions:
    """The subscriptions this server was started with. Providers are registered in each, but for those in
    `unregistered`, until somebody registers them."""

    def __init__(
        self,
        documents: store.Store,
        time: clock.Clock,
        ids: Sequence[str],
        tenant: str,
        *,
        unregistered: Iterable[str],
    ) -> None:
        self._documents = documents
        self._time = time
        self._ids = tuple(ids)
        self._tenant = tenant
        self._unregistered = frozenset(namespace.lower() for namespace in unregistered)

    def routes(self) -> list[wire.Route]:
        one = "/subscriptions/{subscription}"
        return [
            wire.Route("GET", "/subscriptions", self._list),
            wire.Route("GET", one, self._get),
            wire.Route("GET", f"{one}/locations", self._locations),
            wire.Route("GET", f"{one}/providers", self._providers),
            wire.Route("GET", f"{one}/providers/{{namespace}}", self._provider),
            wire.Route("POST", f"{one}/providers/{{namespace}}/register", self._register),
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
        return wire.Reply(200, {"value": [self._shown(call.names["subscription"], name) for name in PROVIDERS]})

    async def _provider(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, self._shown(call.names["subscription"], _namespace(call)))

    async def _register(self, call: wire.Call) -> wire.Reply:
        """200 with the provider, Registering unless it is registered already (documented)."""
        subscription, namespace = call.names["subscription"], _namespace(call)
        if self.registration(subscription, namespace) != "NotRegistered":
            return wire.Reply(200, self._shown(subscription, namespace))
        now = self._time.now().isoformat()
        self._documents.put(_key(subscription, namespace), REGISTRATIONS, {"since": now})
        return wire.Reply(200, self._shown(subscription, namespace) | {"registrationState": "Registering"})

    def registration(self, subscription: str, namespace: str) -> str:
        """NotRegistered, Registering or Registered."""
        if namespace.lower() not in self._unregistered:
            return "Registered"
        begun = self._documents.get(_key(subscription, namespace))
        if begun is None:
            return "NotRegistered"
        ready = datetime.fromisoformat(begun["since"]) + timedelta(seconds=self._time.real(REGISTER_SECONDS))
        return "Registered" if self._time.now() >= ready else "Registering"

    def _shown(self, subscription: str, namespace: str) -> dict[str, Any]:
        return _provider(subscription, namespace) | {"registrationState": self.registration(subscription, namespace)}

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


def _key(subscription: str, namespace: str) -> str:
    return f"/{REGISTRATIONS}/{subscription}/{namespace}"


def _namespace(call: wire.Call) -> str:
    """The provider's name in its own casing; 404 for one that Azure doesn't have."""
    wanted = call.names["namespace"]
    for name in PROVIDERS:
        if name.lower() == wanted.lower():
            return name
    raise wire.ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{wanted}' is invalid.", gateway=True)


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
        "registrationPolicy": "RegistrationRequired",
    }
