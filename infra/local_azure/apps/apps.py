"""Container apps: create, update, delete, start, stop, secrets. Owns their documents and operations.

Which revision runs is `revisions`' business; this module decides only whether a new one is needed.

An app's document: `configuration` and `template` normalised (secrets with their values), `state` the
provisioningState, `running` False once stopped, `latest` and `latestReady` revision names, `counter` the
revisions made so far, `roll` that the operation under way owes a new revision, `operation` its id.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from infra.local_azure import operations, wire
from infra.local_azure.apps import (
    bodies,
    context,
    environments,
    locations,
    normalise,
    profiles,
    revisions,
    storages,
    tokens,
    validate,
    views,
)
from infra.local_azure.apps.context import Document
from infra.local_azure.arm import tracked

PATTERN = f"{context.GROUP}{context.PROVIDER}/containerApps/{{app}}"

# Medians of the recorded times from request to terminal poll, in seconds; start and stop are assumed.
PUT, PATCH, DELETE, POWER = 12.0, 15.0, 18.0, 15.0
# Recorded: the new revision's createdTime is about 6 s after the request.
ROLL = 6.0


class Apps:
    """The container apps of every resource group."""

    def __init__(
        self,
        rooms: context.Context,
        known: environments.Environments,
        mounts: storages.Storages,
        rolled: revisions.Revisions,
    ) -> None:
        self._rooms = rooms
        self._environments = known
        self._storages = mounts
        self._revisions = rolled
        rooms.ops.register(
            operations.Family(
                name=context.APP_OPERATIONS,
                namespace="Microsoft.App",
                status_path="containerappOperationStatuses",
                result_path="containerappOperationResults",
                finish=self._finish,
                result=self._result,
            )
        )

    def routes(self) -> list[wire.Route]:
        listing = f"{context.PROVIDER}/containerApps"
        return [
            wire.Route("PUT", PATTERN, self._put, bucket="resource-requests"),
            wire.Route("PATCH", PATTERN, self._patch, bucket="resource-requests"),
            wire.Route("GET", PATTERN, self._get),
            wire.Route("DELETE", PATTERN, self._delete),
            wire.Route("GET", f"{context.GROUP}{listing}", self._list),
            wire.Route("GET", f"/subscriptions/{{subscription}}{listing}", self._list, needs_group=False),
            wire.Route("POST", f"{PATTERN}/listSecrets", self._list_secrets),
            wire.Route("POST", f"{PATTERN}/getAuthtoken", self._token),
            wire.Route("POST", f"{PATTERN}/start", self._power),
            wire.Route("POST", f"{PATTERN}/stop", self._power),
        ]

    def find(self, app_id: str) -> Document | None:
        return self._rooms.documents.get(app_id)

    def require(self, call: wire.Call) -> Document:
        document = self.find(context.app_id(call))
        if document is None:
            raise wire.not_found(views.TYPE, call.names["app"], call.names["group"])
        return document

    def forget(self, document: Document) -> None:
        self._revisions.forget(document)
        self._rooms.documents.delete(document["id"])

    def refuse_busy(self, document: Document) -> None:
        """One operation at a time: 409 with a bare body (recorded: containerapp-patch-409-in-progress)."""
        if document["state"] in ("InProgress", "Deleting"):
            raise wire.ArmError(
                409,
                "ContainerAppOperationInProgress",
                f"Cannot modify a container app '{document['name']}' because there is an active provisioning operation "
                f"in progress. OperationId: '{document['operation']}'.",
                bare=True,
            )

    # Requests.

    async def _put(self, call: wire.Call) -> wire.Reply:
        """201 for a new and for an existing app, even for the same content (recorded: never 200)."""
        validate.app_name(call.names["app"])
        body = bodies.canonical(tracked.body(call))
        existing = self.find(context.app_id(call))
        if existing is not None:
            self.refuse_busy(existing)
            tracked.check_location(body, name=existing["name"], group=existing["group"], current=existing["location"])
        location = locations.require(body.get("location"), "containerApps", call.api_version)
        document = self._document(call, body, existing, location=location)
        operation = self._begin(call, document, seconds=PUT)
        headers = self._rooms.ops.headers(operation, call, status=True, result=False)
        echo = views.echo(document, body.get("properties") or {})
        return wire.Reply(201, echo, headers | {"x-ms-async-operation-timeout": "PT15M"})

    async def _patch(self, call: wire.Call) -> wire.Reply:
        """A merge patch: 202 with both headers and no body, even when nothing changes (recorded)."""
        existing = self.require(call)
        body = bodies.canonical(tracked.body(call))
        self.refuse_busy(existing)
        tracked.check_location(body, name=existing["name"], group=existing["group"], current=existing["location"])
        document = self._document(
            call, bodies.merged(_as_request(existing), body), existing, location=existing["location"]
        )
        operation = self._begin(call, document, seconds=PATCH)
        return wire.Reply(202, None, self._rooms.ops.headers(operation, call, status=True, result=True))

    async def _get(self, call: wire.Call) -> wire.Reply:
        return wire.Reply(200, self._view(self.require(call)))

    async def _list(self, call: wire.Call) -> wire.Reply:
        under = (
            context.group_id(call.names) if "group" in call.names else f"/subscriptions/{call.names['subscription']}"
        )
        found = self._rooms.documents.list(context.APPS, under=under)
        return wire.Reply(200, {"value": [self._view(item) for item in found]})

    async def _delete(self, call: wire.Call) -> wire.Reply:
        """202 with a Location, or 204 when absent (recorded). It pre-empts what is in progress (assumed)."""
        document = self.find(context.app_id(call))
        if document is None:
            return wire.Reply(204)
        if document["state"] == "InProgress":
            self._rooms.ops.cancel(document["operation"])
        document["state"] = "Deleting"
        operation = self._begin(call, document, seconds=DELETE)
        self._revisions.stop_all(document)
        return wire.Reply(202, None, self._rooms.ops.headers(operation, call, status=False, result=True))

    async def _list_secrets(self, call: wire.Call) -> wire.Reply:
        return views.secret_list(self.require(call))

    async def _token(self, call: wire.Call) -> wire.Reply:
        """Recorded: containerapp-getauthtoken."""
        document = self.require(call)
        issued = tokens.issue(self._rooms, document["id"], location=document["location"])
        return wire.Reply(
            200,
            {
                "location": locations.display(document["location"]),
                "properties": {"token": issued.text, "expires": issued.expires},
                "id": document["id"],
                "name": document["name"],
                "type": "Microsoft.App/containerApps/accesstoken",
            },
        )

    async def _power(self, call: wire.Call) -> wire.Reply:
        """Start or stop: 202 with a Location, then 200 with the app (documented: the API's examples)."""
        document = self.require(call)
        self.refuse_busy(document)
        started = call.path.lower().endswith("/start")
        changed = started != document["running"]
        document |= {"state": "InProgress", "running": started}
        operation = self._begin(call, document, seconds=POWER)
        if changed:
            (self._revisions.start_all if started else self._revisions.stop_all)(document)
        return wire.Reply(202, None, self._rooms.ops.headers(operation, call, status=False, result=True))

    # Building a document from a request.

    def _document(self, call: wire.Call, body: Document, existing: Document | None, *, location: str) -> Document:
        """The app as it will be; raises what is wrong with the request and stores nothing."""
        properties = body.get("properties") or {}
        environment = self._environment(properties, existing)
        profile = _profile(properties.get("workloadProfileName"), environment)
        configuration = normalise.configuration(properties.get("configuration") or {})
        configuration["secrets"] = _with_kept_values(configuration["secrets"], existing)
        template = normalise.template(properties.get("template") or {})
        kind = profiles.of(profile) if profile else profiles.TYPES["consumption"]
        self._validate(configuration, template, environment, kind)
        now = self._rooms.time.now()
        made = existing or {"latest": "", "latestReady": "", "counter": 0, "running": True, "operation": ""}
        document = made | {
            "id": existing["id"] if existing else context.app_id(call),
            "name": call.names["app"],
            "group": call.names["group"],
            "location": location,
            "tags": body.get("tags"),
            "identity": normalise.identity(body.get("identity")),
            "system": context.modified_by(existing["system"], call, now) if existing else context.created_by(call, now),
            "environment": environment["id"],
            "profile": profile["name"] if profile else None,
            "profileType": kind.name,
            "configuration": configuration,
            "template": template,
            "state": "InProgress",
            "errors": None,
        }
        document["roll"] = self._needs_revision(document, existing)
        return document

    def _environment(self, properties: Document, existing: Document | None) -> Document:
        """The app's environment. It can't be changed (documented as create-only; the answer is assumed)."""
        kept = existing["environment"] if existing else ""
        asked = str(properties.get("environmentId") or properties.get("managedEnvironmentId") or kept)
        if kept and asked.lower() != kept.lower():
            raise wire.ArmError(
                400,
                "ContainerAppEnvironmentIdImmutable",
                f"The environment of a container app can't change from '{kept}'.",
            )
        environment = self._environments.find(asked) if asked else None
        if environment is None or "/managedenvironments/" not in asked.lower():
            raise wire.ArmError(404, "ManagedEnvironmentNotFound", f"The environment '{asked}' does not exist.")
        if not self._environments.provisioned(environment):
            # Recorded: containerapp-put-env-not-provisioned. That an update under way counts too is assumed.
            raise wire.ArmError(
                400,
                "ManagedEnvironmentNotProvisioned",
                f"The environment '{environment['id']}' has not been provisioned successfully.",
            )
        return environment

    def _validate(
        self, configuration: Document, template: Document, environment: Document, kind: profiles.Type
    ) -> None:
        known = configuration["secrets"] or []
        validate.secrets(known)
        validate.configuration(configuration)
        validate.template(
            template,
            secret_names={item["name"] for item in known},
            profile=kind,
            storage_exists=lambda name: bool(name) and self._storages.find(environment["id"], name) is not None,
        )

    def _needs_revision(self, document: Document, existing: Document | None) -> bool:
        """A changed template, or an equal one with a new suffix (recorded: 125 of 126, 9 of 9, else 0 of 260).

        A changed template with the suffix it has already makes none (recorded once, 2024); one with the suffix
        of an older revision is refused (public thread; code assumed).
        """
        suffix = document["template"]["revisionSuffix"]
        if suffix:
            validate.suffix(document["name"], suffix)
        if existing is None:
            return True
        changed = document["template"] != existing["template"]
        if not changed or (suffix and suffix == existing["template"]["revisionSuffix"]):
            return bool(existing.get("roll"))
        if suffix and self._revisions.find(document, f"{document['name']}--{suffix}") is not None:
            raise wire.ArmError(
                400, "ContainerAppRevisionSuffixExists", f"revision with suffix {suffix} already exists"
            )
        only_cleared = document["template"] | {"revisionSuffix": ""} == existing["template"] | {"revisionSuffix": ""}
        return bool(suffix) or not only_cleared

    # Operations.

    def _begin(self, call: wire.Call, document: Document, *, seconds: float) -> operations.Operation:
        """`rest` is what remains of the operation once the revision it owes is made."""
        owes = document["roll"] and document["state"] == "InProgress"
        operation = self._rooms.ops.begin(
            context.APP_OPERATIONS,
            call,
            location=document["location"],
            resource_id=document["id"],
            seconds=ROLL if owes else seconds,
            data={"rest": seconds - ROLL if owes else 0.0},
        )
        document["operation"] = operation.id
        self._rooms.documents.put(document["id"], context.APPS, document)
        return operation

    def _finish(self, operation: operations.Operation) -> None:
        """The operation ends after its time, whatever the revision's health (recorded)."""
        operation.status = "Succeeded"
        document = self.find(operation.resource_id)
        if document is None or document["operation"] != operation.id:
            return
        if operation.verb == "DELETE":
            self.forget(document)
        elif operation.data["rest"]:
            self._roll(operation, document)
        else:
            document["state"] = "Succeeded"
            self._rooms.documents.put(document["id"], context.APPS, document)
            self._revisions.settle(document)

    def _roll(self, operation: operations.Operation, document: Document) -> None:
        """Make the revision that is owed and leave the operation in progress for the rest of its time."""
        document["roll"] = False
        self._revisions.create(document)
        operation.due = self._rooms.time.now() + timedelta(seconds=self._rooms.time.real(operation.data["rest"]))
        operation.data["rest"] = 0.0
        operation.status = "InProgress"

    def _result(self, operation: operations.Operation) -> wire.Reply:
        """204 after a delete, 200 with the app after a PATCH (recorded)."""
        document = self.find(operation.resource_id)
        if operation.verb == "DELETE" or document is None:
            return wire.Reply(204)
        return wire.Reply(200, self._view(document))

    def _view(self, document: Document) -> Document:
        return views.app(self._rooms, self._revisions, document)


def _as_request(document: Document) -> Document:
    """The stored app in the shape of a request, for a patch to be merged into."""
    identity = document["identity"]
    return {
        "tags": document["tags"],
        "identity": identity,
        "properties": {
            "environmentId": document["environment"],
            "workloadProfileName": document["profile"],
            "configuration": document["configuration"],
            "template": document["template"],
        },
    }


def _profile(asked: Any, environment: Document) -> profiles.Profile | None:
    """The named profile, else Consumption (recorded); None in an environment without profiles. The error for
    an unknown name is assumed."""
    known = environment["properties"]["workloadProfiles"]
    if known is None and not asked:
        return None
    found = profiles.find(known, str(asked)) if asked else None
    if not asked:
        found = next(item for item in known if item["workloadProfileType"] == "Consumption")
    if found is None:
        raise wire.ArmError(
            400,
            "WorkloadProfileNotFound",
            f"The workload profile '{asked}' does not exist in the environment '{environment['name']}'.",
        )
    return found


def _with_kept_values(sent: list[Document] | None, existing: Document | None) -> list[Document] | None:
    """A secret named again without a value keeps the one it has (assumed; recorded clients re-send values)."""
    if not sent:
        return None
    kept = {item["name"]: item for item in (existing or {}).get("configuration", {}).get("secrets") or ()}
    return [
        item if item.get("value") or item.get("keyVaultUrl") else kept.get(str(item.get("name")), item) for item in sent
    ]
