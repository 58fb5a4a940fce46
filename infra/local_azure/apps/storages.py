"""Environment storages: an Azure Files share, mountable by the environment's apps. Synchronous; owns their documents.

The account's key is stored, never answered and never checked at PUT; a mount with a wrong one fails later.
"""

from __future__ import annotations

import re
from typing import Any

from infra.local_azure import wire
from infra.local_azure.apps import bodies, context, environments
from infra.local_azure.apps.context import Document
from infra.local_azure.arm import tracked

_TYPE = "Microsoft.App/managedEnvironments/storages"
_PARENT = f"{context.GROUP}{context.PROVIDER}/managedEnvironments/{{environment}}"


class Storages:
    """The storages of every environment."""

    def __init__(self, rooms: context.Context, known: environments.Environments) -> None:
        self._rooms = rooms
        self._environments = known

    def routes(self) -> list[wire.Route]:
        one = f"{_PARENT}/storages/{{storage}}"
        return [
            wire.Route("PUT", one, self._put),
            wire.Route("GET", one, self._get),
            wire.Route("DELETE", one, self._delete),
            wire.Route("GET", f"{_PARENT}/storages", self._list),
        ]

    def find(self, environment_id: str, name: str) -> Document | None:
        return self._rooms.documents.get(f"{environment_id}/storages/{name}")

    async def _put(self, call: wire.Call) -> wire.Reply:
        """200. An existing storage keeps accountName, shareName and accessMode; only the key changes
        (recorded for accountName: envstorage-put-existing-accountname-ignored; the others likewise, assumed)."""
        environment = self._parent(call, "write")
        name = call.names["storage"]
        _require_name(name)
        sent = _azure_file(bodies.canonical(tracked.body(call)))
        existing = self.find(environment["id"], name)
        document = existing or {"id": f"{environment['id']}/storages/{name}", "name": name, **sent}
        document["accountKey"] = sent["accountKey"]
        self._rooms.documents.put(document["id"], context.STORAGES, document)
        return wire.Reply(200, _view(document))

    async def _get(self, call: wire.Call) -> wire.Reply:
        environment = self._parent(call, "read")
        document = self.find(environment["id"], call.names["storage"])
        if document is None:
            raise not_found(call.names["storage"], status=404)
        return wire.Reply(200, _view(document))

    async def _list(self, call: wire.Call) -> wire.Reply:
        environment = self._parent(call, "read")
        found = self._rooms.documents.list(context.STORAGES, under=environment["id"])
        return wire.Reply(200, {"value": [_view(item) for item in found]})

    async def _delete(self, call: wire.Call) -> wire.Reply:
        """200, or 204 when absent; 409 while an app's template names it (both assumed)."""
        environment = self._parent(call, "delete")
        name = call.names["storage"]
        user = self._used_by(environment["id"], name)
        if user is not None:
            raise wire.ArmError(
                409,
                "ManagedEnvironmentStorageInUse",
                f"ManagedEnvironment Storage '{name}' is still in use by container app '{user}'.",
            )
        deleted = self._rooms.documents.delete(f"{environment['id']}/storages/{name}")
        return wire.Reply(200 if deleted else 204)

    def _parent(self, call: wire.Call, verb: str) -> Document:
        document = self._environments.find(context.environment_id(call))
        if document is None:
            raise wire.parent_not_found(verb, _TYPE, context.environment_id(call))
        return document

    def _used_by(self, environment_id: str, name: str) -> str | None:
        for app in self._rooms.documents.list(context.APPS):
            if app["environment"].lower() == environment_id.lower():
                active = (r for r in self._rooms.documents.list(context.REVISIONS, under=app["id"]) if r["active"])
                templates = [app["template"], *(revision["template"] for revision in active)]
                if any(_names_storage(template, name) for template in templates):
                    return str(app["name"])
        return None


def not_found(name: str, *, status: int) -> wire.ArmError:
    """Recorded with 404 for the storage itself: envstorage-get-notfound."""
    return wire.ArmError(
        status, "ManagedEnvironmentStorageNotFound", f"ManagedEnvironment Storage '{name}' was not found."
    )


def _names_storage(template: Document, name: str) -> bool:
    return any((volume.get("storageName") or "").lower() == name.lower() for volume in template["volumes"] or ())


def _require_name(name: str) -> None:
    """Lower-case letters, digits and single hyphens, a letter first, at most 32 (public threads)."""
    if len(name) > 32 or not re.fullmatch(r"[a-z]([a-z0-9]|-(?=[a-z0-9]))*", name):
        raise wire.ArmError(
            400,
            "ManagedEnvironmentStorageInvalidName",
            f"Invalid storage name '{name}'. It must consist of lower case alphanumeric characters or '-', start with "
            "a letter, end with an alphanumeric character, not have '--' and be at most 32 characters long.",
        )


def _azure_file(body: Document) -> Document:
    sent: Any = (body.get("properties") or {}).get("azureFile")
    if not isinstance(sent, dict):
        raise _invalid("azureFile is required.")
    for name in ("accountName", "accountKey", "shareName", "accessMode"):
        if not sent.get(name):
            raise _invalid(f"azureFile.{name} is required.")
    modes = {"readonly": "ReadOnly", "readwrite": "ReadWrite"}
    mode = modes.get(str(sent["accessMode"]).lower())
    if mode is None:
        raise _invalid(f"azureFile.accessMode '{sent['accessMode']}' must be ReadOnly or ReadWrite.")
    return {name: sent[name] for name in ("accountName", "accountKey", "shareName")} | {"accessMode": mode}


def _invalid(message: str) -> wire.ArmError:
    """The service's words weren't recorded: assumed."""
    return wire.ArmError(400, "ManagedEnvironmentStorageInvalid", message)


def _view(document: Document) -> Document:
    """No key, no systemData, no provisioningState (recorded: envstorage-put-create)."""
    return {
        "id": document["id"],
        "name": document["name"],
        "type": "Microsoft.App/managedenvironments/storages",
        "properties": {
            "azureFile": {
                "accountName": document["accountName"],
                "shareName": document["shareName"],
                "accessMode": document["accessMode"],
            }
        },
    }
