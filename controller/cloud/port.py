"""Azure as the rest of the controller sees it.

Reads return plain JSON as `observed.Resource`, or None for a 404. Writes begin and return: no call waits for a
long-running operation. Every failure is raised as `outcome.OutcomeError`, classified by the one table in `errors`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from controller.model import observed
from controller.model.kinds import Kind


class Share(Protocol):
    """One file share's data plane. Paths are POSIX, relative to the share's root, without leading slash."""

    async def size(self, path: str) -> int | None:
        """The file's length in bytes, None when there is no such file."""

    async def read(self, path: str, *, most: int | None = None) -> bytes | None:
        """The file, or its first `most` bytes; None when there is no such file. For small files: manifests, not
        models."""

    async def names(self, path: str) -> Mapping[str, bool]:
        """What lies in the folder: name -> True for a folder. Empty when the folder doesn't exist."""

    async def written(self, path: str) -> Mapping[str, datetime]:
        """The files in the folder and when each was last written, aware. Empty when the folder doesn't exist."""

    async def upload(self, path: str, source: Path) -> None:
        """Write `source` beside `path` under a temporary name, each range's MD5 checked by the service, then
        rename it into place, replacing what is there. Missing parent folders are made."""

    async def write(self, path: str, data: bytes) -> None:
        """`upload` for a small file from memory."""

    async def delete(self, path: str) -> None:
        """Remove the file; no error when it isn't there."""

    async def prune(self, path: str) -> None:
        """Remove the folder and its parents as far as they are empty."""


class Cloud(Protocol):
    """One Azure cloud, one credential."""

    async def read(self, kind: Kind, resource_id: str) -> observed.Resource | None: ...

    async def create(self, kind: Kind, resource_id: str, body: Mapping[str, Any]) -> None:
        """PUT. `SecretStr` values anywhere in `body` are revealed on the wire only."""

    async def update(self, kind: Kind, resource_id: str, body: Mapping[str, Any]) -> None:
        """PATCH. For kinds without a PATCH: PUT."""

    async def delete(self, kind: Kind, resource_id: str) -> None:
        """Begins a DELETE; no error for what is absent. Raises ValueError for what is never deleted: resource groups,
        and kinds that go with their parent."""

    async def activate(self, revision_id: str) -> None:
        """Start a revision of a container app that was stopped. It is acknowledged at once."""

    async def deactivate(self, revision_id: str) -> None:
        """Stop a revision of a container app. It is acknowledged at once, and takes as long as its replicas to end."""

    async def listed(self, kind: Kind, scope: str) -> tuple[observed.Resource, ...]:
        """Everything of `kind` in the subscription or resource group whose id `scope` is, or below the resource;
        empty where that is absent."""

    async def register(self, namespace: str, subscription: str) -> None:
        """Begins to register a resource provider, e.g. `Microsoft.App`, in a subscription, by its GUID."""

    async def revisions(self, app_id: str) -> tuple[observed.Resource, ...]:
        """Oldest first."""

    async def replicas(self, revision_id: str) -> tuple[observed.Resource, ...]: ...

    async def logs(
        self, app: observed.Resource, replica: observed.Resource, container: str, *, tail: int
    ) -> tuple[str, ...]:
        """The last `tail` lines that a container printed, oldest first, 300 at most (POSTs that are reads:
        getAuthToken)."""

    def follow(
        self, app: observed.Resource, replica: observed.Resource, container: str, *, tail: int
    ) -> AsyncGenerator[str, None]:
        """The same, and then each new line for as long as the replica is there."""

    async def account_keys(self, account_id: str) -> tuple[SecretStr, ...]:
        """key1, key2 (a POST that is a read: listKeys)."""

    async def workspace_key(self, workspace_id: str) -> SecretStr: ...

    async def app_secrets(self, app_id: str) -> Mapping[str, SecretStr]: ...

    def share(
        self,
        account: observed.Resource,
        name: str,
        *,
        keys: Callable[[], Awaitable[tuple[SecretStr, ...]]] | None = None,
    ) -> ShareSession:
        """The data plane of the account's share, at the account's own `primaryEndpoints.file`. `keys` gives the keys;
        None: they are read."""

    async def check(self, url: str) -> observed.Check:
        """GET `url` once, as a client of the app would; never raises for what the app answers."""

    async def close(self) -> None: ...


class Facts(Protocol):
    """What a cloud offers and what is left of it: read before anything is written. `subscription` is a GUID, `location`
    a region in either form, `westus3` or `West US 3`."""

    async def profile_types(self, subscription: str, location: str) -> tuple[observed.Resource, ...]:
        """The workload profile types of a region: `name`, and in `properties` category, cores, memoryGiB and, on those
        with GPUs, gpus (recorded: location-workloadprofile-types-gpu). Consumption-GPU-* types were never seen in it,
        so an absence of one of those proves nothing."""

    async def usages(self, subscription: str, location: str) -> tuple[observed.Resource, ...]:
        """What the subscription uses of its quotas in a region. `body`: `{name: {value, localizedValue}, currentValue,
        limit}` (recorded: managedenv-usages); values ManagedEnvironmentCount, SubscriptionDedicatedNCA100Gpus, …"""

    async def environment_usages(self, environment_id: str) -> tuple[observed.Resource, ...]:
        """The same of one environment's quotas: ManagedEnvironmentConsumptionT4Gpus, … Empty when it is absent."""

    async def name_available(self, subscription: str, name: str) -> str | None:
        """None when a storage account can be called so, else why not, in the service's words (documented: Storage
        Accounts - Check Name Availability)."""


class ShareSession(Protocol):
    """`async with cloud.share(account, name) as share:`; the key is read when it is entered."""

    async def __aenter__(self) -> Share: ...

    async def __aexit__(self, *exc: object) -> None: ...
