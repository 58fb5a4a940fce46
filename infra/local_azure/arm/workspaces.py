"""Log Analytics workspaces: what an environment needs of one, its id and keys. No logs are kept in it."""

from __future__ import annotations

import base64
import re
import secrets
import uuid
from datetime import timedelta
from typing import Any

from infra.local_azure import clock, operations, store, wire
from infra.local_azure.arm import regions, tracked

TYPE = "Microsoft.OperationalInsights/workspaces"
KIND = TYPE.lower()
FAMILY = "workspace-create"
LIST = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{TYPE}"
WORKSPACE = f"{LIST}/{{workspace}}"
# Recorded: about 12 s.
CREATE_SECONDS = 12.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]")
SKUS = ("PerGB2018", "CapacityReservation", "Free", "LACluster", "PerNode", "Premium", "Standalone", "Standard")
DEFAULT_SKU = "PerGB2018"
# Documented: interactive retention in days.
LEAST_RETENTION, MOST_RETENTION, DEFAULT_RETENTION = 4, 730, 30
SETTABLE = (
    "features",
    "forceCmkForQuery",
    "publicNetworkAccessForIngestion",
    "publicNetworkAccessForQuery",
    "retentionInDays",
    "workspaceCapping",
)
FEATURES = {"legacy": 0, "searchVersion": 1, "enableLogAccessUsingOnlyResourcePermissions": True}


class Provider:
    """Microsoft.OperationalInsights. A document is `{"resource": what the wire shows, "keys": …, "operation": id}`."""

    def __init__(self, documents: store.Store, time: clock.Clock, ops: operations.Operations) -> None:
        self._documents = documents
        self._time = time
        self._ops = ops
        ops.register(
            operations.Family(
                name=FAMILY,
                namespace="Microsoft.OperationalInsights",
                status_path="operationstatuses",
                status_query="api-version=2015-11-01-preview",
                result_path=None,
                finish=self._finish,
                fail=self._fail,
                result=lambda operation: wire.Reply(200),
                document=_status,
            )
        )

    def delete_group(self, subscription: str, group: str) -> None:
        for document in self._documents.list(KIND, under=tracked.group_id(subscription, group)):
            self._remove(document)

    def routes(self) -> list[wire.Route]:
        return [
            wire.Route("GET", f"/subscriptions/{{subscription}}/providers/{TYPE}", self._list),
            wire.Route("GET", LIST, self._list),
            wire.Route("PUT", WORKSPACE, self._put),
            wire.Route("GET", WORKSPACE, self._get),
            wire.Route("PATCH", WORKSPACE, self._patch),
            wire.Route("DELETE", WORKSPACE, self._delete),
            wire.Route("POST", f"{WORKSPACE}/sharedKeys", self._shared_keys),
        ]

    async def _list(self, call: wire.Call) -> wire.Reply:
        found = self._documents.list(KIND, under=call.path.partition("/providers/")[0])
        return wire.Reply(200, {"value": [document["resource"] for document in found]})

    async def _put(self, call: wire.Call) -> wire.Reply:
        """201 Creating with the customer id already set (recorded: loganalytics-put-create); 200 for a re-PUT. One
        whose creation failed is created anew (assumed)."""
        sent = tracked.body(call)
        existing = self._documents.get(call.path)
        if existing is None:
            return self._create(call, sent)
        resource = existing["resource"]
        if resource["properties"]["provisioningState"] in ("Failed", "Canceled"):
            return self._create(call, sent)
        tracked.check_location(sent, name=resource["name"], group=call.names["group"], current=resource["location"])
        # A workspace without tags has no such key (recorded).
        untagged = {name: value for name, value in resource.items() if name != "tags"}
        return wire.Reply(200, self._update(existing | {"resource": untagged}, sent))

    def _create(self, call: wire.Call, sent: dict[str, Any]) -> wire.Reply:
        name = call.names["workspace"]
        if not NAME.fullmatch(name):
            # The code is assumed, the rule is documented.
            message = (
                f"'name' value '{name}' is invalid: 4 to 63 letters, digits and '-', which can't be first or last."
            )
            raise wire.ArmError(400, "InvalidParameter", message)
        place = tracked.location(sent, TYPE)
        resource = self._new(call, sent, place)
        operation = self._ops.begin(
            FAMILY, call, location=regions.code(place), resource_id=resource["id"], seconds=CREATE_SECONDS, data={}
        )
        self._write({"resource": resource, "keys": _keys(), "operation": operation.id})
        headers = self._ops.headers(operation, call, status=True, result=False)
        # Recorded: the Location is the workspace itself, so a client that follows it sees a 200 at once.
        headers["Location"] = f"{call.base}{resource['id']}?api-version={call.api_version}"
        return wire.Reply(201, resource, headers)

    def _new(self, call: wire.Call, sent: dict[str, Any], place: str) -> dict[str, Any]:
        now = self._time.now()
        reset = now.replace(hour=14, minute=0, second=0, microsecond=0)
        properties = {
            "customerId": str(uuid.uuid4()),
            "provisioningState": "Creating",
            "sku": {"name": _sku(sent) or DEFAULT_SKU, "lastSkuUpdate": tracked.stamp(now)},
            "retentionInDays": DEFAULT_RETENTION,
            "features": FEATURES,
            "workspaceCapping": {
                "dailyQuotaGb": -1.0,
                "quotaNextResetTime": f"{reset if reset > now else reset + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
                "dataIngestionStatus": "RespectQuota",
            },
            "publicNetworkAccessForIngestion": "Enabled",
            "publicNetworkAccessForQuery": "Enabled",
            "createdDate": tracked.stamp(now),
            "modifiedDate": tracked.stamp(now),
        }
        return {
            "properties": tracked.merged(properties, _settable(sent)),
            "location": place,
            **({"tags": tracked.tags(sent)} if sent.get("tags") else {}),
            "id": tracked.resource_id(call, TYPE, call.names["workspace"]),
            "name": call.names["workspace"],
            "type": TYPE,
            "etag": _etag(),
        }

    def _update(self, existing: store.Document, sent: dict[str, Any]) -> dict[str, Any]:
        resource: dict[str, Any] = existing["resource"]
        properties = tracked.merged(resource["properties"], _settable(sent))
        sku = _sku(sent)
        now = tracked.stamp(self._time.now())
        if sku and sku != properties["sku"]["name"]:
            properties["sku"] = {"name": sku, "lastSkuUpdate": now}
        properties["modifiedDate"] = now
        changed = {**resource, "properties": properties, "etag": _etag()}
        if sent.get("tags") is not None:
            changed["tags"] = tracked.tags(sent)
        self._write(existing | {"resource": changed})
        return changed

    async def _get(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, self._existing(call)["resource"])

    async def _patch(self, call: wire.Call) -> wire.Reply:
        """Synchronous; tags are replaced as a whole (documented)."""
        return wire.Reply(200, self._update(self._existing(call), tracked.body(call)))

    async def _delete(self, call: wire.Call) -> wire.Reply:
        """200, gone at once (recorded); the 14 days in which Azure can bring it back are not modelled."""
        existing = self._documents.get(call.path)
        if existing is None:
            return wire.Reply(204)
        self._remove(existing)
        return wire.Reply(200)

    async def _shared_keys(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, self._existing(call)["keys"])

    def _existing(self, call: wire.Call) -> store.Document:
        found = self._documents.get("/".join(call.path.split("/")[:9]))
        if found is None:
            raise wire.not_found(TYPE, call.names["workspace"], call.names["group"])
        return found

    def _write(self, document: store.Document) -> None:
        self._documents.put(document["resource"]["id"], KIND, document)

    def _remove(self, document: store.Document) -> None:
        self._ops.cancel(document["operation"])
        self._documents.delete(document["resource"]["id"])

    def _finish(self, operation: operations.Operation) -> None:
        document = self._documents.get(operation.resource_id)
        if document is None:
            operation.status = "Failed"
            return
        document["resource"]["properties"]["provisioningState"] = "Succeeded"
        # Recorded: the etag changes by itself.
        document["resource"]["etag"] = _etag()
        self._write(document)
        operation.status = "Succeeded"

    def _fail(self, operation: operations.Operation) -> None:
        """The workspace is there, and says so (documented: its states; when is assumed)."""
        document = self._documents.get(operation.resource_id)
        if document is not None and document["operation"] == operation.id:
            document["resource"]["properties"]["provisioningState"] = operation.status
            self._write(document)


def _status(operation: operations.Operation, path: str) -> dict[str, Any]:
    """Recorded by env_logs_e2e: an ended operation also has endTime and empty properties."""
    document = operations.status_document(operation, path)
    if operation.status != operations.IN_PROGRESS:
        document |= {"endTime": operations.stamp(operation.due), "properties": {}}
    return document


def _keys() -> dict[str, str]:
    names = ("primarySharedKey", "secondarySharedKey")
    return {name: base64.b64encode(secrets.token_bytes(64)).decode() for name in names}


def _etag() -> str:
    return f'"{secrets.token_hex(4)}-0000-0100-0000-{secrets.token_hex(6)}"'


def _sku(sent: dict[str, Any]) -> str | None:
    wanted = tracked.member(tracked.member(sent, "properties"), "sku").get("name")
    if wanted is None:
        return None
    for name in SKUS:
        if name.lower() == str(wanted).lower():
            return name
    raise wire.ArmError(400, "InvalidParameter", f"'properties.sku.name' value '{wanted}' is invalid.")


def _settable(sent: dict[str, Any]) -> dict[str, Any]:
    properties = tracked.member(sent, "properties")
    days = properties.get("retentionInDays")
    if days is not None and not (isinstance(days, int) and LEAST_RETENTION <= days <= MOST_RETENTION):
        message = f"'RetentionInDays' property doesn't match the SKU limits: {LEAST_RETENTION} to {MOST_RETENTION}."
        raise wire.ArmError(400, "InvalidParameter", message)
    return {name: value for name, value in properties.items() if name in SETTABLE}
