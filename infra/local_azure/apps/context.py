"""What every module of the provider works with, and the names of its documents. No behaviour of Azure here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local_azure import clock, operations, replicas, shares, store, wire

ENVIRONMENTS = "microsoft.app/managedenvironments"
STORAGES = "microsoft.app/managedenvironments/storages"
APPS = "microsoft.app/containerapps"
REVISIONS = "microsoft.app/containerapps/revisions"
KEYS = "local/signingkeys"

ENVIRONMENT_OPERATIONS = "managedEnvironment"
APP_OPERATIONS = "containerApp"

GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
PROVIDER = "/providers/Microsoft.App"

Document = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """The rooms around the provider.

    `account_keys` gives the valid keys of a storage account by its name, or None when there is no such
    account. `authority` is the `host:port` the server listens on, read late because the port is chosen late.
    """

    documents: store.Store
    time: clock.Clock
    ops: operations.Operations
    shares: shares.Shares
    runtime: replicas.Runtime
    account_keys: Callable[[str], Sequence[str] | None]
    authority: Callable[[], str]

    @property
    def port(self) -> str:
        return self.authority().rpartition(":")[2]


def group_id(names: Mapping[str, str]) -> str:
    return f"/subscriptions/{names['subscription']}/resourceGroups/{names['group']}"


def environment_id(call: wire.Call) -> str:
    return f"{group_id(call.names)}{PROVIDER}/managedEnvironments/{call.names['environment']}"


def app_id(call: wire.Call) -> str:
    """Lower-case `containerapps`, as every recorded app answer has it."""
    return f"{group_id(call.names)}{PROVIDER}/containerapps/{call.names['app']}"


def moment(time: datetime) -> str:
    """A systemData time: UTC, seven digits, no zone (recorded: managedenv-get-succeeded-gpu)."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0"


def created_by(call: wire.Call, time: datetime) -> Document:
    """systemData of a new resource. Callers are service principals, hence `Application` (documented)."""
    return {
        "createdBy": call.user,
        "createdByType": "Application",
        "createdAt": moment(time),
        "lastModifiedBy": call.user,
        "lastModifiedByType": "Application",
        "lastModifiedAt": moment(time),
    }


def modified_by(system: Document, call: wire.Call, time: datetime) -> Document:
    return system | {
        "lastModifiedBy": call.user,
        "lastModifiedByType": "Application",
        "lastModifiedAt": moment(time),
    }
