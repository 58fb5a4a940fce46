"""Storage accounts in ARM: creation in Azure's time, keys, and the name that is one for all subscriptions.

File services and shares below an account are in `fileshares`; the files themselves are no business of ARM.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any

from infra.local_azure import clock, operations, shares, store, wire
from infra.local_azure.arm import accounts, fileshares, regions, throttling, tracked

TYPE = accounts.TYPE
KIND = TYPE.lower()
NAMES = "storage-account-names"
FAMILY = "storage-account-create"
SUBSCRIPTION = "/subscriptions/{subscription}/providers/Microsoft.Storage"
LIST = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{TYPE}"
ACCOUNT = f"{LIST}/{{account}}"
# Assumed: no recording gives the time of a creation.
CREATE_SECONDS = 20.0
# Assumed: the part of a creation after which the state says ResolvingDns.
RESOLVING = 0.7


class Provider:
    """Microsoft.Storage. A document is `{"resource": what the wire shows, "keys": […], "operation": id}`."""

    def __init__(
        self,
        documents: store.Store,
        time: clock.Clock,
        ops: operations.Operations,
        files: shares.Shares,
        *,
        authority: Callable[[], str],
        taken: Collection[str],
    ) -> None:
        """`authority` gives the server's host and port, for the accounts' endpoints. `taken` are names that somebody
        else in Azure has."""
        self._documents = documents
        self._time = time
        self._ops = ops
        self._files = files
        self._authority = authority
        self._taken = frozenset(taken)
        self._fileshares = fileshares.Provider(documents, files)
        ops.register(
            operations.Family(
                name=FAMILY,
                namespace="Microsoft.Storage",
                status_path=None,
                result_path="asyncoperations",
                result_query="monitor=true&api-version={version}",
                finish=self._finish_create,
                fail=self._fail_create,
                result=self._created,
            )
        )

    def keys(self, account: str) -> Sequence[str] | None:
        """The keys, base64, of the account of that name in any subscription; None when there is none."""
        taken = self._documents.get(f"/{NAMES}/{account}")
        document = self._documents.get(taken["id"]) if taken else None
        if document is None or _state(document) != "Succeeded":
            return None
        return tuple(key["value"] for key in document["keys"])

    def delete_group(self, subscription: str, group: str) -> None:
        """Remove the accounts of a resource group with their files."""
        for document in self._documents.list(KIND, under=tracked.group_id(subscription, group)):
            self._remove(document)

    def routes(self) -> list[wire.Route]:
        check = f"{SUBSCRIPTION}/checkNameAvailability"
        return [
            wire.Route("POST", check, self._check_name),
            wire.Route("GET", f"{SUBSCRIPTION}/storageAccounts", self._list),
            wire.Route("GET", LIST, self._list),
            wire.Route("PUT", ACCOUNT, self._put),
            wire.Route("GET", ACCOUNT, self._get),
            wire.Route("PATCH", ACCOUNT, self._patch),
            wire.Route("DELETE", ACCOUNT, self._delete),
            wire.Route("POST", f"{ACCOUNT}/listKeys", self._list_keys, bucket=throttling.RESOURCE_REQUESTS),
            wire.Route("POST", f"{ACCOUNT}/regenerateKey", self._regenerate, bucket=throttling.RESOURCE_REQUESTS),
            *self._fileshares.routes(),
        ]

    async def _check_name(self, call: wire.Call) -> wire.Reply:
        """200 in both cases (recorded)."""
        sent = tracked.body(call)
        name = str(sent.get("name") or "")
        if str(sent.get("type", "")).lower() != KIND:
            raise accounts.invalid("type")
        if not accounts.NAME.fullmatch(name):
            refusal = {
                "reason": "AccountNameInvalid",
                "message": f"{name} is not a valid storage account name. {accounts.NAME_RULE}",
            }
        elif name in self._taken or self._documents.get(f"/{NAMES}/{name}"):
            refusal = {"reason": "AlreadyExists", "message": f"The storage account named {name} is already taken."}
        else:
            return wire.Reply(200, {"nameAvailable": True})
        return wire.Reply(200, {"nameAvailable": False, **refusal})

    async def _list(self, call: wire.Call) -> wire.Reply:
        under = call.path.partition("/providers/")[0]
        found = self._documents.list(KIND, under=under)
        return wire.Reply(200, {"value": [self._shown(document) for document in found]})

    async def _put(self, call: wire.Call) -> wire.Reply:
        sent = tracked.body(call)
        existing = self._documents.get(call.path)
        if existing is None:
            return self._create(call, sent)
        tracked.check_location(
            sent, name=existing["resource"]["name"], group=call.names["group"], current=existing["resource"]["location"]
        )
        changed = accounts.updated(existing["resource"], sent) | {"tags": tracked.tags(sent)}
        if _state(existing) != "Succeeded":
            return self._still_creating(call, existing, same=changed == existing["resource"])
        return wire.Reply(200, self._shown(self._write(existing | {"resource": changed})))

    def _create(self, call: wire.Call, sent: dict[str, Any]) -> wire.Reply:
        """202 with an empty body and a Location (recorded: storageaccount-put-create)."""
        name = call.names["account"]
        accounts.check_name(name)
        now = tracked.stamp(self._time.now())
        resource = accounts.created(call, sent, now)
        self._check_free(call)
        place = regions.code(resource["location"])
        operation = self._ops.begin(
            FAMILY, call, location=place, resource_id=resource["id"], seconds=CREATE_SECONDS, data={}
        )
        keys = [_key("key1", now), _key("key2", now)]
        self._write({"resource": resource, "keys": keys, "operation": operation.id})
        self._documents.put(f"/{NAMES}/{name}", NAMES, {"id": resource["id"]})
        return self._accepted(call, operation)

    def _accepted(self, call: wire.Call, operation: operations.Operation) -> wire.Reply:
        headers = self._ops.headers(operation, call, status=False, result=True)
        return wire.Reply(202, None, {"Content-Type": "text/plain; charset=utf-8", **headers})

    def _still_creating(self, call: wire.Call, existing: store.Document, *, same: bool) -> wire.Reply:
        """The same request again joins the creation under way; another one is refused (both assumed, the
        code is documented)."""
        operation = self._ops.get(existing["operation"])
        if same and operation is not None:
            return self._accepted(call, operation)
        message = "An operation is currently performing on this storage account that requires exclusive access."
        raise wire.ArmError(409, "StorageAccountOperationInProgress", message)

    def _check_free(self, call: wire.Call) -> None:
        """A name is taken once in all of Azure (assumed: both codes, as no recording has them)."""
        name = call.names["account"]
        taken = self._documents.get(f"/{NAMES}/{name}")
        if taken is None and name not in self._taken:
            return
        if taken is not None and taken["id"].split("/")[2].lower() == call.names["subscription"].lower():
            message = f"The account {name} is already in another resource group in this subscription."
            raise wire.ArmError(409, "StorageAccountInAnotherResourceGroup", message)
        raise wire.ArmError(409, "StorageAccountAlreadyTaken", f"The storage account named {name} is already taken.")

    def _finish_create(self, operation: operations.Operation) -> None:
        document = self._documents.get(operation.resource_id)
        if document is None:
            operation.status = "Failed"
            return
        document["resource"]["properties"]["provisioningState"] = "Succeeded"
        self._write(document)
        operation.status = "Succeeded"

    def _fail_create(self, operation: operations.Operation) -> None:
        """No account and no taken name are left (assumed: the states of an account know no failure)."""
        document = self._documents.get(operation.resource_id)
        if document is not None and document["operation"] == operation.id:
            self._remove(document)

    def _created(self, operation: operations.Operation) -> wire.Reply:
        """The poll of a creation that failed answers with an error (documented for polling a Location; which error is
        assumed)."""
        if operation.status != "Succeeded":
            raise wire.ArmError(500, "InternalServerError", "Encountered internal server error.")
        document = self._documents.get(operation.resource_id)
        if document is None:
            _, _, _, _, group, *_, name = operation.resource_id.split("/")
            raise wire.not_found(TYPE, name, group)
        return wire.Reply(200, self._shown(document))

    async def _get(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, self._shown(self._existing(call)))

    async def _patch(self, call: wire.Call) -> wire.Reply:
        """Synchronous; tags are replaced as a whole, properties are merged."""
        sent = tracked.body(call)
        existing = self._provisioned(call)
        changed = accounts.updated(existing["resource"], sent)
        if sent.get("tags") is not None:
            changed["tags"] = tracked.tags(sent)
        return wire.Reply(200, self._shown(self._write(existing | {"resource": changed})))

    async def _delete(self, call: wire.Call) -> wire.Reply:
        existing = self._documents.get(call.path)
        if existing is None:
            return wire.Reply(204)
        self._remove(existing)
        return wire.Reply(200)

    async def _list_keys(self, call: wire.Call) -> wire.Reply:
        """Recorded: storageaccount-listkeys."""
        return wire.Reply(200, {"keys": self._provisioned(call)["keys"]})

    async def _regenerate(self, call: wire.Call) -> wire.Reply:
        """A new value for one key; the other stays good (documented)."""
        document = self._provisioned(call)
        name = tracked.body(call).get("keyName")
        now = tracked.stamp(self._time.now())
        if name not in [key["keyName"] for key in document["keys"]]:
            raise accounts.invalid("keyName")
        document["keys"] = [_key(name, now) if key["keyName"] == name else key for key in document["keys"]]
        document["resource"]["properties"]["keyCreationTime"][name] = now
        return wire.Reply(200, {"keys": self._write(document)["keys"]})

    def _existing(self, call: wire.Call) -> store.Document:
        found = self._documents.get("/".join(call.path.split("/")[:9]))
        if found is None:
            raise wire.not_found(TYPE, call.names["account"], call.names["group"])
        return found

    def _provisioned(self, call: wire.Call) -> store.Document:
        """Recorded: storageaccount-listkeys-notprovisioned."""
        found = self._existing(call)
        if _state(found) != "Succeeded":
            raise fileshares.not_provisioned()
        return found

    def _write(self, document: store.Document) -> store.Document:
        self._documents.put(document["resource"]["id"], KIND, document)
        return document

    def _remove(self, document: store.Document) -> None:
        resource = document["resource"]
        self._ops.cancel(document["operation"])
        self._files.delete_account(resource["name"])
        self._fileshares.forget(resource["id"])
        self._documents.delete(f"/{NAMES}/{resource['name']}")
        self._documents.delete(resource["id"])

    def _shown(self, document: store.Document) -> dict[str, Any]:
        """The resource as of now: a creation's later part says ResolvingDns; endpoints come with success (assumed)."""
        resource: dict[str, Any] = document["resource"]
        properties = dict(resource["properties"])
        if properties["provisioningState"] == "Creating":
            properties["provisioningState"] = self._progress(document["operation"])
        else:
            properties["primaryEndpoints"] = self._endpoints(resource["name"])
        return {**resource, "properties": properties}

    def _progress(self, operation_id: str) -> str:
        operation = self._ops.get(operation_id)
        if operation is None or operation.due <= operation.started:
            return "Creating"
        part = (self._time.now() - operation.started) / (operation.due - operation.started)
        return "ResolvingDns" if part >= RESOLVING else "Creating"

    def _endpoints(self, account: str) -> dict[str, str]:
        """Only files are served here; a client must not be sent to an address outside for the rest."""
        return {"file": f"https://{self._authority()}/{account}/"}


def _state(document: store.Document) -> str:
    return str(document["resource"]["properties"]["provisioningState"])


def _key(name: str, created: str) -> dict[str, str]:
    value = base64.b64encode(secrets.token_bytes(64)).decode()
    return {"creationTime": created, "keyName": name, "value": value, "permissions": "FULL"}
