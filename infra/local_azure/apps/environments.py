"""Managed environments: create, update, delete, and what is asked about them. Owns their documents; what becomes of
an operation once begun is in `environment_operations`.

It knows the apps inside only as documents to count; it never starts or stops anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from infra.local_azure import wire
from infra.local_azure.apps import (
    bodies,
    context,
    environment_operations,
    environment_settings,
    environment_views,
    locations,
    profiles,
    tokens,
)
from infra.local_azure.apps.context import Document
from infra.local_azure.arm import tracked

_PATTERN = f"{context.GROUP}{context.PROVIDER}/managedEnvironments/{{environment}}"

# Medians of the recorded times from request to terminal poll, in seconds.
CREATE, REPLACE, PATCH, DELETE = 104.0, 69.0, 99.0, 986.0
# Recorded once for an environment with a dedicated GPU profile; used instead of CREATE when asked for.
CREATE_DEDICATED_GPU = 984.0


class Environments:
    """The environments of every resource group.

    `gpu_limit` is the A100s a subscription may use in dedicated profiles in one region (Azure's own default
    is 0); `slow_gpu` makes an environment with such a profile take the recorded 984 s instead of the median.
    `one_at_a_time` is whether an environment takes one operation at a time, those of its apps included.
    """

    def __init__(self, rooms: context.Context, *, gpu_limit: int, slow_gpu: bool, one_at_a_time: bool) -> None:
        self._rooms = rooms
        self._gpu_limit = gpu_limit
        self._slow_gpu = slow_gpu
        self._changes = environment_operations.Changes(rooms, one_at_a_time=one_at_a_time, forget=self.forget)

    def routes(self) -> list[wire.Route]:
        listing = f"{context.PROVIDER}/managedEnvironments"
        return [
            wire.Route("PUT", _PATTERN, self._put, bucket="resource-requests"),
            wire.Route("PATCH", _PATTERN, self._patch, bucket="resource-requests"),
            wire.Route("GET", _PATTERN, self._get),
            wire.Route("DELETE", _PATTERN, self._delete),
            wire.Route("GET", f"{context.GROUP}{listing}", self._list),
            wire.Route("GET", f"/subscriptions/{{subscription}}{listing}", self._list, needs_group=False),
            wire.Route("POST", f"{_PATTERN}/getAuthtoken", self._token),
            wire.Route("GET", f"{_PATTERN}/usages", self._usages),
            wire.Route("GET", f"{_PATTERN}/workloadProfileStates", self._states),
        ]

    # What the provider's other modules ask.

    def find(self, environment_id: str) -> Document | None:
        return self._rooms.documents.get(environment_id)

    def require(self, call: wire.Call) -> Document:
        """The environment in the URL; raises the gateway's 404 (recorded: managedenv-get-notfound)."""
        document = self.find(context.environment_id(call))
        if document is None:
            raise wire.not_found(environment_views.TYPE, call.names["environment"], call.names["group"])
        return document

    def provisioned(self, document: Document) -> bool:
        """Whether apps may be written: Succeeded, or Failed after an update (recorded: it stayed usable; assumed for
        Canceled)."""
        ended: bool = document["state"] in ("Succeeded", *environment_operations.ENDED_BADLY)
        return ended and bool(document["provisioned"])

    def refuse_busy(self, environment_id: str, *, but: str) -> None:
        """409 while an app of the environment, other than `but`, has an operation in progress."""
        self._changes.refuse_busy(environment_id, but=but)

    def loads(self, document: Document) -> list[profiles.Load]:
        """What the environment's running apps take, for usages and node counts."""
        found = []
        for app in self._rooms.documents.list(context.APPS):
            if app["environment"].lower() != document["id"].lower():
                continue
            for revision in self._rooms.documents.list(context.REVISIONS, under=app["id"]):
                cores = sum(item["resources"]["cpu"] for item in revision["template"]["containers"])
                count = sum(replica.placed for replica in self._rooms.runtime.replicas(revision["key"]))
                found.append(profiles.Load(app["profile"] or "Consumption", cores, count))
        return found

    def dedicated_gpus(self, subscription: str, location: str, *, but: str = "") -> int:
        """A100s promised to dedicated profiles of the region, leaving out the environment `but`."""
        return sum(
            profiles.dedicated_gpus(item["properties"]["workloadProfiles"])
            for item in self._rooms.documents.list(context.ENVIRONMENTS)
            if item["subscription"].lower() == subscription.lower()
            and item["location"] == location
            and item["id"].lower() != but.lower()
        )

    @property
    def gpu_limit(self) -> int:
        return self._gpu_limit

    def forget(self, document: Document) -> None:
        """Remove the environment and its storages."""
        for storage in self._rooms.documents.list(context.STORAGES, under=document["id"]):
            self._rooms.documents.delete(storage["id"])
        self._rooms.documents.delete(document["id"])

    # Requests.

    async def _put(self, call: wire.Call) -> wire.Reply:
        body = bodies.canonical(tracked.body(call))
        location = locations.require(body.get("location"), "managedEnvironments", call.api_version)
        document = self.find(context.environment_id(call))
        if document is None:
            return self._create(call, body, location=location)
        tracked.check_location(body, name=document["name"], group=document["group"], current=document["location"])
        self._changes.require_writable(document)
        wanted = environment_settings.settings(body.get("properties") or {}, kept=document["properties"])
        return self._change(call, document, wanted, tags=body.get("tags"), seconds=REPLACE)

    def _create(self, call: wire.Call, body: Document, *, location: str) -> wire.Reply:
        name = call.names["environment"]
        if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9-]{0,58}[A-Za-z0-9])?", name):
            raise wire.ArmError(400, "ManagedEnvironmentInvalidName", f"Invalid ManagedEnvironment name '{name}'.")
        settings = environment_settings.settings(body.get("properties") or {}, kept=None)
        self._require_quota(call.names["subscription"], location, settings, but="")
        document = {
            "id": context.environment_id(call),
            "name": name,
            "subscription": call.names["subscription"],
            "group": call.names["group"],
            "location": location,
            "tags": body.get("tags"),
            "system": context.created_by(call, self._rooms.time.now()),
            "properties": settings,
            "state": "Waiting",
            "errors": None,
            "provisioned": False,
            "granted": None,
            "domain": self._domain_label(context.environment_id(call), name.lower()),
        }
        return self._begin_put(call, document, seconds=self._create_seconds(settings))

    def _create_seconds(self, settings: Document) -> float:
        slow = self._slow_gpu and profiles.dedicated_gpus(settings["workloadProfiles"])
        return CREATE_DEDICATED_GPU if slow else CREATE

    def _domain_label(self, resource_id: str, name: str) -> str:
        taken = {item["domain"] for item in self._rooms.documents.list(context.ENVIRONMENTS)}
        if name not in taken:
            return name
        return f"{name}-{hashlib.sha256(resource_id.lower().encode()).hexdigest()[:5]}"

    async def _patch(self, call: wire.Call) -> wire.Reply:
        document = self.require(call)
        body = bodies.canonical(tracked.body(call))
        if body.get("location"):
            locations.require(body["location"], "managedEnvironments", call.api_version)
            tracked.check_location(body, name=document["name"], group=document["group"], current=document["location"])
        self._changes.require_writable(document)
        patched = bodies.merged({"properties": document["properties"], "tags": document["tags"]}, body)
        wanted = environment_settings.settings(patched.get("properties") or {}, kept=document["properties"])
        return self._change(call, document, wanted, tags=patched.get("tags"), seconds=PATCH)

    def _change(
        self, call: wire.Call, document: Document, wanted: Document, *, tags: Any, seconds: float
    ) -> wire.Reply:
        """200 when nothing changes; else PUT 201 or PATCH 202 with Location only (recorded header table).

        A failed creation or update is begun again by the next write, also by one that changes nothing (assumed).
        """
        same = _comparable(wanted) == _comparable(document["properties"])
        tagged = (tags or None) == (document["tags"] or None)
        if same and tagged and document["state"] not in environment_operations.ENDED_BADLY:
            return wire.Reply(200, self._view(document))
        self._require_quota(document["subscription"], document["location"], wanted, but=document["id"])
        exists = document["provisioned"]
        granted = document.get("granted", document["properties"]["workloadProfiles"])
        # A profile that was refused before is listed all the same.
        refused = exists and environment_settings.adds_dedicated_gpu(granted, wanted["workloadProfiles"])
        self._keep_used_profiles(document, wanted["workloadProfiles"])
        seconds = seconds if exists else self._create_seconds(wanted)
        changed = document | {
            "properties": wanted,
            "tags": tags,
            "state": "Updating" if exists else "Waiting",
            "errors": None,
            "system": context.modified_by(document["system"], call, self._rooms.time.now()),
        }
        if call.method == "PUT":
            return self._begin_put(call, changed, seconds=seconds, refused=refused)
        operation = self._changes.begin(call, changed, seconds=seconds, refused=refused)
        return wire.Reply(202, None, self._rooms.ops.headers(operation, call, status=False, result=True))

    def _begin_put(self, call: wire.Call, document: Document, *, seconds: float, refused: bool = False) -> wire.Reply:
        operation = self._changes.begin(call, document, seconds=seconds, refused=refused)
        headers = self._rooms.ops.headers(operation, call, status=True, result=False)
        return wire.Reply(201, self._view(document), headers | {"x-ms-async-operation-timeout": "PT15M"})

    async def _delete(self, call: wire.Call) -> wire.Reply:
        """202, or 204 when absent. With apps inside: 409 (assumed; the words are the connected twin's)."""
        document = self.find(context.environment_id(call))
        if document is None:
            return wire.Reply(204)
        inside = sum(
            app["environment"].lower() == document["id"].lower() for app in self._rooms.documents.list(context.APPS)
        )
        if inside:
            raise wire.ArmError(
                409,
                "ManagedEnvironmentNotEmpty",
                f"The environment '{document['name']}' cannot be deleted because it still contains {inside} "
                "active container apps.",
            )
        if document["state"] in ("Waiting", "Updating"):
            self._rooms.ops.cancel(document["operation"])
        document["state"] = "ScheduledForDelete"
        operation = self._changes.begin(call, document, seconds=DELETE, refused=False)
        return wire.Reply(202, None, self._rooms.ops.headers(operation, call, status=False, result=True))

    async def _get(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, self._view(self.require(call)))

    async def _list(self, call: wire.Call) -> wire.Reply:
        under = (
            context.group_id(call.names) if "group" in call.names else f"/subscriptions/{call.names['subscription']}"
        )
        found = self._rooms.documents.list(context.ENVIRONMENTS, under=under)
        return wire.Reply(200, {"value": [self._view(item) for item in found]})

    async def _token(self, call: wire.Call) -> wire.Reply:
        document = self.require(call)
        issued = tokens.issue(self._rooms, document["id"], location=document["location"])
        return wire.Reply(
            200,
            {
                "location": locations.display(document["location"]),
                "properties": {"token": issued.text, "expires": issued.expires},
                "id": document["id"],
                "name": document["name"],
                "type": "Microsoft.App/environments/accesstoken",
            },
        )

    async def _usages(self, call: wire.Call) -> wire.Reply:
        document = self.require(call)
        items = profiles.usages(document["properties"]["workloadProfiles"], self.loads(document))
        return wire.Reply(200, {"value": items})

    async def _states(self, call: wire.Call) -> wire.Reply:
        document = self.require(call)
        items = profiles.states(document["id"], document["properties"]["workloadProfiles"], self.loads(document))
        return wire.Reply(200, {"value": items})

    def _view(self, document: Document) -> Document:
        return environment_views.environment(self._rooms, document)

    # Rules.

    def _require_quota(self, subscription: str, location: str, settings: Document, *, but: str) -> None:
        """Dedicated A100s within the region's quota. The service's error wasn't recorded: assumed."""
        wanted = profiles.dedicated_gpus(settings["workloadProfiles"])
        used = self.dedicated_gpus(subscription, location, but=but)
        if wanted and used + wanted > self._gpu_limit:
            raise wire.ArmError(
                400,
                "QuotaExceeded",
                f"Operation could not be completed as it results in exceeding approved SubscriptionDedicatedNCA100Gpus "
                f"quota. Current limit: {self._gpu_limit}, current usage: {used}, additional requested: {wanted}.",
            )

    def _keep_used_profiles(self, document: Document, wanted: Sequence[profiles.Profile] | None) -> None:
        """A profile an app names can't be removed (assumed)."""
        for app in self._rooms.documents.list(context.APPS):
            named = app["profile"]
            if app["environment"].lower() == document["id"].lower() and named and not profiles.find(wanted, named):
                raise wire.ArmError(
                    400, "WorkloadProfileInUse", f"The workload profile '{named}' is in use by app '{app['name']}'."
                )


def _comparable(settings: Document) -> Document:
    """The settings without the order of the profiles, which Azure changes itself (recorded)."""
    return settings | {"workloadProfiles": {item["name"]: item for item in settings["workloadProfiles"] or ()}}
