"""Resource groups: created at once, deleted with all they hold after the time Azure takes.

Providers register what removes their resources from a group; this module doesn't know them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from infra.local_azure import operations, store, wire
from infra.local_azure.arm import gateway, regions, tracked

KIND = "microsoft.resources/resourcegroups"
ENVIRONMENTS = "microsoft.app/managedenvironments"
FAMILY = "group-delete"
PATTERN = "/subscriptions/{subscription}/resourcegroups/{group}"
# Recorded by azure-service-operator: about 21 minutes with an environment inside.
DELETE_SECONDS = 21 * 60.0
# Assumed for a group without an environment.
DELETE_LIGHT_SECONDS = 60.0
NAME = re.compile(r"[\w.()-]*[\w()-]")
LONGEST_NAME = 90

# Removes a provider's resources from (subscription, group).
DeleteGroup = Callable[[str, str], None]


class Groups:
    """The resource groups of every subscription."""

    def __init__(self, documents: store.Store, ops: operations.Operations) -> None:
        self._documents = documents
        self._ops = ops
        self._hooks: list[DeleteGroup] = []
        ops.register(
            operations.Family(
                name=FAMILY,
                namespace="",
                status_path=None,
                result_path="operationresults",
                finish=self._finish_delete,
                fail=self._fail_delete,
                result=_deleted,
            )
        )

    def on_delete(self, hook: DeleteGroup) -> None:
        """Have `hook` called when a group goes."""
        self._hooks.append(hook)

    def state(self, subscription: str, group: str) -> str | None:
        """The group's provisioningState, None when it isn't there."""
        document = self._documents.get(tracked.group_id(subscription, group))
        return None if document is None else str(document["properties"]["provisioningState"])

    def routes(self) -> list[wire.Route]:
        every = "/subscriptions/{subscription}/resourcegroups"
        return [
            wire.Route("GET", every, self._list),
            wire.Route("PUT", PATTERN, self._put, needs_group=False),
            wire.Route("GET", PATTERN, self._get),
            wire.Route("PATCH", PATTERN, self._patch),
            wire.Route("HEAD", PATTERN, self._head, needs_group=False),
            wire.Route("DELETE", PATTERN, self._delete),
        ]

    async def _list(self, call: wire.Call) -> wire.Reply:
        found = self._documents.list(KIND, under=f"/subscriptions/{call.names['subscription']}")
        return wire.Reply(200, {"value": [_shown(group) for group in found if tracked.matches_tag_filter(call, group)]})

    async def _put(self, call: wire.Call) -> wire.Reply:
        """201 when new, 200 when it exists; location as sent (recorded: resourcegroup-put-create)."""
        sent = tracked.body(call)
        _check_name(call.names["group"])
        existing = self._documents.get(call.path)
        location = _location(sent)
        if existing is None:
            return wire.Reply(201, self._create(call, sent, location))
        _check_stays(existing, location)
        if existing["properties"]["provisioningState"] == "Deleting":
            name = existing["name"]
            message = f"The resource group '{name}' is in deprovisioning state and cannot perform this operation."
            raise wire.ArmError(409, "ResourceGroupBeingDeleted", message, gateway=True)
        existing.pop("tags", None)
        return wire.Reply(200, self._write(existing | _tags(sent)))

    def _create(self, call: wire.Call, sent: dict[str, Any], location: str) -> dict[str, Any]:
        name = call.names["group"]
        return self._write(
            {
                "id": tracked.group_id(call.names["subscription"], name),
                "name": name,
                "type": "Microsoft.Resources/resourceGroups",
                "location": location,
                **_tags(sent),
                "properties": {"provisioningState": "Succeeded"},
            }
        )

    async def _get(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, _shown(self._existing(call)))

    async def _patch(self, call: wire.Call) -> wire.Reply:
        """Tags are replaced as a whole (documented)."""
        existing = self._existing(call)
        return wire.Reply(200, _shown(self._write(existing | _tags(tracked.body(call)))))

    async def _head(self, call: wire.Call) -> wire.Reply:
        """204 or 404, without a body (recorded)."""
        return wire.Reply(404 if self._documents.get(call.path) is None else 204)

    async def _delete(self, call: wire.Call) -> wire.Reply:
        """202 with a Location (recorded); a group on its way out answers with the same one (assumed)."""
        group = self._existing(call)
        operation = self._ops.get(group["operation"]) if "operation" in group else None
        if operation is None:
            operation = self._begin_delete(call, group)
        return wire.Reply(202, None, self._ops.headers(operation, call, status=False, result=True))

    def _begin_delete(self, call: wire.Call, group: store.Document) -> operations.Operation:
        heavy = any(True for _ in self._documents.list(ENVIRONMENTS, under=group["id"]))
        seconds = DELETE_SECONDS if heavy else DELETE_LIGHT_SECONDS
        operation = self._ops.begin(
            FAMILY, call, location=group["location"], resource_id=group["id"], seconds=seconds, data={}
        )
        self._write(group | {"properties": {"provisioningState": "Deleting"}, "operation": operation.id})
        return operation

    def _existing(self, call: wire.Call) -> store.Document:
        found = self._documents.get(call.path)
        if found is None:
            raise gateway.group_not_found(call.names["group"])
        return found

    def _write(self, group: store.Document) -> store.Document:
        self._documents.put(group["id"], KIND, group)
        return group

    def _finish_delete(self, operation: operations.Operation) -> None:
        _, _, subscription, _, group = operation.resource_id.split("/")
        for hook in self._hooks:
            hook(subscription, group)
        self._documents.delete(operation.resource_id)
        operation.status = "Succeeded"

    def _fail_delete(self, operation: operations.Operation) -> None:
        """The group and all in it stay (assumed)."""
        group = self._documents.get(operation.resource_id)
        if group is not None and group.get("operation") == operation.id:
            del group["operation"]
            self._write(group | {"properties": {"provisioningState": "Succeeded"}})


def _deleted(operation: operations.Operation) -> wire.Reply:
    """200, empty (recorded). For a delete that failed, an error (its code is documented, when it comes is assumed)."""
    if operation.status == "Succeeded":
        return wire.Reply(200)
    name = operation.resource_id.rpartition("/")[2]
    message = f"Deletion of resource group '{name}' failed as resources in it could not be deleted."
    raise wire.ArmError(409, "ResourceGroupDeletionBlocked", message)


def _shown(group: store.Document) -> store.Document:
    return {name: value for name, value in group.items() if name != "operation"}


def _tags(sent: dict[str, Any]) -> dict[str, Any]:
    """A group without tags has no such key (recorded: resourcegroup-put-create)."""
    return {"tags": tracked.tags(sent)} if sent.get("tags") is not None else {}


def _check_name(name: str) -> None:
    """Documented: 1 to 90 of letters, digits, `-._()`, not ending in a period."""
    if len(name) > LONGEST_NAME or not NAME.fullmatch(name):
        message = (
            f"The provided resource group name '{name}' is invalid. The name can only be a letter, digit, '-', '.', "
            "'(', ')' or '_', of at most 90 characters, and can't end with '.'."
        )
        raise wire.ArmError(400, "InvalidResourceGroup", message, gateway=True)


def _location(sent: dict[str, Any]) -> str:
    """Documented: the refusals of a missing or unknown location."""
    location = sent.get("location")
    if not isinstance(location, str) or not location.strip():
        message = "The location property is required for this definition."
        raise wire.ArmError(400, "LocationRequired", message, gateway=True)
    if not regions.known(location):
        message = (
            f"The provided location '{location}' is not available for resource group. "
            f"List of available regions is '{regions.listing()}'."
        )
        raise wire.ArmError(400, "LocationNotAvailableForResourceGroup", message, gateway=True)
    return location


def _check_stays(existing: store.Document, location: str) -> None:
    if regions.code(existing["location"]) != regions.code(location):
        message = (
            f"Invalid resource group location '{location}'. The Resource group already exists in location "
            f"'{existing['location']}'."
        )
        raise wire.ArmError(409, "InvalidResourceGroupLocation", message, gateway=True)
