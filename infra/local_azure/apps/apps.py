"""Container apps: create, update, delete, start, stop, secrets. Owns their documents and operations.

Which revision runs is `revisions`' business; this module decides only whether a new one is needed.

An app's document: `configuration` and `template` normalised (secrets with their values), `state` the
provisioningState, `running` False once stopped, `latest` and `latestReady` revision names, `counter` the
revisions made so far, `roll` that the operation under way owes a new revision, `operation` its id.
"""

from __future__ import annotations

from datetime import timedelta

from infra.local_azure import operations, wire
from infra.local_azure.apps import (
    bodies,
    context,
    desired,
    environments,
    locations,
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
        self._revisions = rolled
        self._desired = desired.Desired(rooms, known, mounts, rolled)
        rooms.ops.register(
            operations.Family(
                name=context.APP_OPERATIONS,
                namespace="Microsoft.App",
                status_path="containerappOperationStatuses",
                result_path="containerappOperationResults",
                finish=self._finish,
                fail=self._fail,
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
        document = self._desired.document(call, body, existing, location=location)
        self._environments.refuse_busy(document["environment"], but=document["id"])
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
        document = self._desired.document(
            call, bodies.merged(desired.as_request(existing), body), existing, location=existing["location"]
        )
        self._environments.refuse_busy(document["environment"], but=document["id"])
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
        self._environments.refuse_busy(document["environment"], but=document["id"])
        if document["state"] == "InProgress":
            self._rooms.ops.cancel(document["operation"])
        document["state"] = "Deleting"
        operation = self._begin(call, document, seconds=DELETE)
        if not operation.outcome:
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
        self._environments.refuse_busy(document["environment"], but=document["id"])
        started = call.path.lower().endswith("/start")
        changed = started != document["running"]
        document |= {"state": "InProgress", "running": started}
        operation = self._begin(call, document, seconds=POWER)
        if changed:
            (self._revisions.start_all if started else self._revisions.stop_all)(document)
        return wire.Reply(202, None, self._rooms.ops.headers(operation, call, status=False, result=True))

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
            data={"rest": seconds - ROLL if owes else 0.0, "environment": document["environment"].lower()},
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
            document |= {"state": "Succeeded", "errors": None}
            self._rooms.documents.put(document["id"], context.APPS, document)
            self._revisions.settle(document)
            self._revisions.prune(document)

    def _fail(self, operation: operations.Operation) -> None:
        """The app keeps what was asked for, without the revision it would have made; an app to be deleted stays as it
        was (assumed, but for the expiry, which is recorded). The next write makes the revision still owed (assumed)."""
        document = self.find(operation.resource_id)
        if document is None or document["operation"] != operation.id:
            return
        document |= {"state": operation.status, "errors": _errors(operation)}
        self._rooms.documents.put(document["id"], context.APPS, document)

    def _roll(self, operation: operations.Operation, document: Document) -> None:
        """Make the revision that is owed and leave the operation in progress for the rest of its time."""
        document["roll"] = False
        self._revisions.create(document)
        operation.due = self._rooms.time.now() + timedelta(seconds=self._rooms.time.real(operation.data["rest"]))
        operation.data["rest"] = 0.0
        operation.status = "InProgress"

    def _result(self, operation: operations.Operation) -> wire.Reply:
        """204 after a delete, 200 with the app after a PATCH (recorded) and after a delete that failed (assumed)."""
        document = self.find(operation.resource_id)
        if document is None or (operation.verb == "DELETE" and operation.status == "Succeeded"):
            return wire.Reply(204)
        return wire.Reply(200, self._view(document))

    def _view(self, document: Document) -> Document:
        return views.app(self._rooms, document)


def _errors(operation: operations.Operation) -> str:
    """`deploymentErrors` (recorded for an operation that expired; the other words are assumed)."""
    if operation.outcome == operations.STUCK:
        return operations.EXPIRED
    name = operation.resource_id.rpartition("/")[2]
    what = "was canceled" if operation.outcome == operations.CANCELED else "failed"
    return f"Failed to provision container app '{name}'. Error details: the operation {what}."
