"""The file service and the shares of a storage account, as ARM shows them, on top of the share store."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

from infra.local_azure import shares, store, wire
from infra.local_azure.arm import tracked

TYPE = "Microsoft.Storage/storageAccounts/fileServices"
KIND = TYPE.lower()
ACCOUNT = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts/{account}"
SERVICES = f"{ACCOUNT}/fileServices"
SERVICE = f"{SERVICES}/default"
SHARES = f"{SERVICE}/shares"
SHARE = f"{SHARES}/{{share}}"
NAME = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# In GiB. Documented: what a share has for which none is asked, and the most a standard account allows.
DEFAULT_QUOTA = 5120
MOST_QUOTA = 102400
# Recorded: fileservice-get-default.
DEFAULTS: dict[str, Any] = {
    "protocolSettings": {"smb": {}},
    "cors": {"corsRules": []},
    "shareDeleteRetentionPolicy": {"enabled": True, "days": 7},
}


class Provider:
    """File services keep what was set as a document; shares live in the share store alone."""

    def __init__(self, documents: store.Store, files: shares.Shares) -> None:
        self._documents = documents
        self._files = files

    def routes(self) -> list[wire.Route]:
        return [
            wire.Route("GET", SERVICES, self._list_services),
            wire.Route("GET", SERVICE, self._get_service),
            wire.Route("PUT", SERVICE, self._put_service),
            wire.Route("GET", SHARES, self._list),
            wire.Route("PUT", SHARE, self._put),
            wire.Route("GET", SHARE, self._get),
            wire.Route("PATCH", SHARE, self._patch),
            wire.Route("DELETE", SHARE, self._delete),
        ]

    def forget(self, account_id: str) -> None:
        """Drop what is kept beside the shares of an account that goes."""
        self._documents.delete(f"{account_id}/fileServices/default")

    async def _list_services(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, {"value": [self._service(self._account(call))]})

    async def _get_service(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, self._service(self._account(call)))

    async def _put_service(self, call: wire.Call) -> wire.Reply:
        """Answers what was sent and nothing else, not even defaults (recorded)."""
        account = self._account(call)
        sent = tracked.member(tracked.body(call), "properties")
        smb = tracked.member(tracked.member(sent, "protocolSettings"), "smb")
        if tracked.member(smb, "multichannel").get("enabled") and account["sku"]["tier"] == "Standard":
            message = "SMB Multichannel is not supported for the account."
            raise wire.ArmError(409, "FeatureNotSupportedForAccount", message)
        identity = _service_id(account)
        kept = self._documents.get(identity) or {"properties": {}}
        self._documents.put(identity, KIND, {"properties": tracked.merged(kept["properties"], sent)})
        if not sent:
            return wire.Reply(200, {"name": "default"})
        return wire.Reply(200, {"id": identity, "name": "default", "type": TYPE, "properties": sent})

    def _service(self, account: dict[str, Any]) -> dict[str, Any]:
        identity = _service_id(account)
        kept = self._documents.get(identity) or {"properties": {}}
        return {
            "sku": account["sku"],
            "id": identity,
            "name": "default",
            "type": TYPE,
            "properties": tracked.merged(DEFAULTS, kept["properties"]),
        }

    async def _list(self, call: wire.Call) -> wire.Reply:
        account = self._account(call)
        listed = {"accessTier": "TransactionOptimized", "enabledProtocols": "SMB"}
        found = [_shown(account, share, listed) for share in self._files.list(account["name"])]
        return wire.Reply(200, {"value": found})

    async def _put(self, call: wire.Call) -> wire.Reply:
        """201 with an echo; the etag is a header only (recorded: fileshare-arm-put-create). A share that is
        there is updated with a 200 (assumed)."""
        account = self._account(call)
        sent = tracked.member(tracked.body(call), "properties")
        name = _name(call)
        quota, metadata = _quota(sent), _metadata(sent)
        existing = self._files.get(account["name"], name)
        if existing is None:
            share = self._files.create(account["name"], name, quota=quota or DEFAULT_QUOTA, metadata=metadata or {})
        else:
            share = self._files.update(account["name"], name, quota=quota, metadata=metadata)
        echo = {key: value for key, value in sent.items() if value is not None}
        body = {**_head(account, name), **({"properties": echo} if echo else {})}
        return wire.Reply(201 if existing is None else 200, body, {"ETag": share.etag})

    async def _get(self, call: wire.Call) -> wire.Reply:
        account = self._account(call)
        share = self._share(call, account)
        return wire.Reply(200, _shown(account, share, {}), {"ETag": share.etag})

    async def _patch(self, call: wire.Call) -> wire.Reply:
        """Metadata is replaced as a whole (recorded)."""
        account = self._account(call)
        share = self._share(call, account)
        sent = tracked.member(tracked.body(call), "properties")
        share = self._files.update(account["name"], share.name, quota=_quota(sent), metadata=_metadata(sent))
        return wire.Reply(200, _shown(account, share, {}), {"ETag": share.etag})

    async def _delete(self, call: wire.Call) -> wire.Reply:
        """200 (recorded); 204 for one that isn't there (assumed)."""
        account = self._account(call)
        return wire.Reply(200 if self._files.delete(account["name"], _name(call)) else 204)

    def _share(self, call: wire.Call, account: dict[str, Any]) -> shares.Share:
        share = self._files.get(account["name"], _name(call))
        if share is None:
            raise _data_plane(404, "ShareNotFound", "The specified share does not exist.")
        return share

    def _account(self, call: wire.Call) -> dict[str, Any]:
        """The parent account; a missing one is the gateway's 404 (recorded), an unfinished one a 409."""
        parent = "/".join(call.path.split("/")[:9])
        document = self._documents.get(parent)
        if document is None:
            verb = {"GET": "read", "DELETE": "delete"}.get(call.method, "write")
            child = f"{TYPE}/shares" if "share" in call.names else TYPE
            raise wire.parent_not_found(verb, child, parent)
        resource: dict[str, Any] = document["resource"]
        if resource["properties"]["provisioningState"] != "Succeeded":
            raise not_provisioned()
        return resource


def not_provisioned() -> wire.ArmError:
    """Recorded: storageaccount-listkeys-notprovisioned."""
    message = "The storage account provisioning state must be 'Succeeded' before executing the operation."
    return wire.ArmError(409, "StorageAccountIsNotProvisioned", message)


def _service_id(account: dict[str, Any]) -> str:
    return f"{account['id']}/fileServices/default"


def _head(account: dict[str, Any], share: str) -> dict[str, Any]:
    return {"id": f"{_service_id(account)}/shares/{share}", "name": share, "type": f"{TYPE}/shares"}


def _shown(account: dict[str, Any], share: shares.Share, more: dict[str, Any]) -> dict[str, Any]:
    """Recorded: fileshare-arm-get. Lease words are lower case, unlike the SDK's enum."""
    properties = {
        "leaseStatus": share.lease_status,
        "leaseState": share.lease_state,
        "signedIdentifiers": [],
        "metadata": dict(share.metadata),
        "lastModifiedTime": share.last_modified.strftime("%Y-%m-%dT%H:%M:%S.0000000Z"),
        "shareQuota": share.quota,
        **more,
    }
    return {**_head(account, share.name), "etag": share.etag, "properties": properties}


def _name(call: wire.Call) -> str:
    name = call.names["share"]
    if not NAME.fullmatch(name):
        raise _data_plane(400, "InvalidResourceName", "The specifed resource name contains invalid characters.")
    return name


def _quota(sent: dict[str, Any]) -> int | None:
    """The quota sent, in GiB; None when absent."""
    quota = sent.get("shareQuota")
    if quota is None:
        return None
    if not isinstance(quota, int) or isinstance(quota, bool) or not 1 <= quota <= MOST_QUOTA:
        message = f"The value '{quota}' of property 'shareQuota' is invalid: it must be from 1 to {MOST_QUOTA}."
        raise wire.ArmError(400, "InvalidRequestPropertyValue", message)
    return quota


def _metadata(sent: dict[str, Any]) -> dict[str, str] | None:
    if sent.get("metadata") is None:
        return None
    return {name: str(value) for name, value in tracked.member(sent, "metadata").items()}


def _data_plane(status: int, code: str, message: str) -> wire.ArmError:
    """The file service's own error inside ARM's envelope (recorded: fileshare-arm-get-notfound)."""
    now = datetime.now(UTC)
    return wire.ArmError(status, code, f"{message}\nRequestId:{uuid.uuid4()}\nTime:{tracked.stamp(now)}")
