"""A managed environment's operations: begun one at a time, and what each leaves behind when it ends, well or badly.

What is asked for is judged before, by `environments`.
"""

from __future__ import annotations

from collections.abc import Callable

from infra.local_azure import operations, wire
from infra.local_azure.apps import context, environment_views
from infra.local_azure.apps.context import Document

ENDED_BADLY = ("Failed", "Canceled")


class Changes:
    """The operations of every environment. `forget` removes an environment that was deleted."""

    def __init__(self, rooms: context.Context, *, one_at_a_time: bool, forget: Callable[[Document], None]) -> None:
        self._rooms = rooms
        self._one_at_a_time = one_at_a_time
        self._forget = forget
        rooms.ops.register(
            operations.Family(
                name=context.ENVIRONMENT_OPERATIONS,
                namespace="Microsoft.App",
                status_path="managedEnvironmentOperationStatuses",
                result_path="managedEnvironmentOperationResults",
                finish=self._finish,
                fail=self._fail,
                result=self._result,
            )
        )

    def refuse_busy(self, environment_id: str, *, but: str = "") -> None:
        """409 while an app of the environment, other than `but`, has an operation in progress (public reports; when
        exactly, and the words, are assumed)."""
        if not self._one_at_a_time:
            return
        for operation in self._rooms.ops.pending():
            inside = operation.data.get("environment", "") == environment_id.lower()
            if inside and operation.resource_id.lower() != but.lower():
                raise _busy(environment_id.rpartition("/")[2], operation.id)

    def require_writable(self, document: Document) -> None:
        """One operation at a time (assumed: the twin of the apps' recorded ContainerAppOperationInProgress)."""
        if document["state"] in ("Waiting", "Updating", "ScheduledForDelete"):
            raise _busy(document["name"], document["operation"])
        self.refuse_busy(document["id"])

    def begin(self, call: wire.Call, document: Document, *, seconds: float, refused: bool) -> operations.Operation:
        operation = self._rooms.ops.begin(
            context.ENVIRONMENT_OPERATIONS,
            call,
            location=document["location"],
            resource_id=document["id"],
            seconds=seconds,
            data={},
            outcome=operations.FAILED if refused else "",
        )
        document["operation"] = operation.id
        self._rooms.documents.put(document["id"], context.ENVIRONMENTS, document)
        return operation

    def _finish(self, operation: operations.Operation) -> None:
        document = self._rooms.documents.get(operation.resource_id)
        operation.status = "Succeeded"
        if document is None or document["operation"] != operation.id:
            return
        if operation.verb == "DELETE":
            self._forget(document)
            return
        document |= {
            "state": "Succeeded",
            "errors": None,
            "provisioned": True,
            "granted": document["properties"]["workloadProfiles"],
        }
        self._rooms.documents.put(document["id"], context.ENVIRONMENTS, document)

    def _fail(self, operation: operations.Operation) -> None:
        """What was asked for is listed nevertheless (recorded: managedenv-patch-result-200-but-failed)."""
        document = self._rooms.documents.get(operation.resource_id)
        if document is not None and document["operation"] == operation.id:
            document |= {"state": operation.status, "errors": _errors(operation, created=document["provisioned"])}
            self._rooms.documents.put(document["id"], context.ENVIRONMENTS, document)

    def _result(self, operation: operations.Operation) -> wire.Reply:
        """204 after a delete, else 200 with the environment, even one that Failed (recorded:
        managedenv-patch-result-200-but-failed; assumed for a delete)."""
        document = self._rooms.documents.get(operation.resource_id)
        if document is None or (operation.verb == "DELETE" and operation.status == "Succeeded"):
            return wire.Reply(204)
        return wire.Reply(200, environment_views.environment(self._rooms, document))


def _errors(operation: operations.Operation, *, created: bool) -> str:
    """`deploymentErrors` (recorded for a failed creation and a failed PATCH; the others are assumed)."""
    if operation.outcome == operations.STUCK:
        return operations.EXPIRED
    if operation.outcome == operations.CANCELED:
        return "ErrorCode: OperationCanceled, Message: The operation was canceled."
    if operation.verb == "DELETE":
        return "ErrorCode: ManagedEnvironmentDeletionError, Message: Delete the managed environment failed."
    if not created:
        return (
            "ErrorCode: ManagedEnvironmentProvisioningError, Message: Fail to create managed environment because "
            "creation of the managed cluster failed, please retry later."
        )
    return "ErrorCode: ManagedEnvironmentUpgradeError, Message: Update the managed environment failed."


def _busy(name: str, operation: str) -> wire.ArmError:
    return wire.ArmError(
        409,
        "ManagedEnvironmentOperationInProgress",
        f"Cannot modify managed environment '{name}' because there is an active provisioning operation "
        f"in progress. OperationId: '{operation}'.",
    )
