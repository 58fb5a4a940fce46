"""What was seen in Azure at one moment. Facts only: absence is None, never an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Body = Mapping[str, Any]

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?")


def moment(text: object) -> datetime | None:
    """A timestamp of the service as an aware datetime: `Z`, an offset or nothing (UTC) at its end, 0 to 7 digits
    (recorded: containerapp-put-create-azurefile, containerapp-get-succeeded-azurefile, revisions-list-activating).
    None for anything else."""
    match = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    fraction, zone = (match[2] or "")[:6].ljust(6, "0"), (match[3] or "Z").replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(f"{match[1]}.{fraction}{zone}")
    except ValueError:
        return None


@dataclass(frozen=True)
class Resource:
    """A resource as ARM answered it; `body` is the answer's JSON."""

    body: Body

    @property
    def id(self) -> str:
        return str(self.body.get("id", ""))

    @property
    def name(self) -> str:
        return str(self.body.get("name", ""))

    @property
    def properties(self) -> Body:
        return self.body.get("properties") or {}

    @property
    def tags(self) -> Mapping[str, str]:
        return self.body.get("tags") or {}

    @property
    def state(self) -> str:
        """provisioningState, or Succeeded for kinds that have none."""
        return str(self.properties.get("provisioningState") or "Succeeded")

    @property
    def settled(self) -> bool:
        """No operation in flight: a write won't be refused for one."""
        return self.failed or self.state.lower() == "succeeded"

    @property
    def changed(self) -> datetime | None:
        """When the resource was last written, aware; None where the service doesn't say. A workspace has words of
        its own for it (recorded: createdDate and modifiedDate of its GET)."""
        written = (self.body.get("systemData") or {}).get("lastModifiedAt")
        return moment(written or self.properties.get("modifiedDate") or self.properties.get("createdDate"))

    @property
    def created(self) -> datetime | None:
        """When a revision or a replica was made, aware (recorded: revisions-list-activating); None for other kinds."""
        return moment(self.properties.get("createdTime"))

    @property
    def failed(self) -> bool:
        """Its last operation didn't come to its end."""
        return self.state.lower() in ("failed", "canceled")

    @property
    def usable(self) -> bool:
        """Others may build on it. An environment that once got its address stays usable when an update of it fails
        (recorded: managedenv-patch-result-200-but-failed)."""
        return self.state.lower() == "succeeded" or (self.failed and bool(self.properties.get("staticIp")))


def began(revision: Resource, started: datetime | None) -> datetime | None:
    """From when on a revision's deadline counts: `started`, when its container did, else when it was made itself."""
    return started or revision.created


@dataclass(frozen=True)
class Check:
    """What the endpoint answered. `status` is None when no answer came; `release` what it said it runs, the digests
    those of the model and the adapter that it said it serves.

    `conclusive` is False for answers that say nothing of the release: 401, 403, DNS and TLS failures.
    """

    status: int | None
    release: str | None
    message: str
    conclusive: bool
    model_digest: str | None = None
    adapter_digest: str | None = None

    @property
    def passed(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Stack:
    """The resources of one Environment. `keys` are digests of the account's keys, None while they can't be read.

    `storages` are all environment storages as listed. `mounted` are the lower-case names of those that the template of
    an app or of a listed revision in the environment names, None where that wasn't read.
    """

    group: Resource | None = None
    account: Resource | None = None
    file_service: Resource | None = None
    share: Resource | None = None
    workspace: Resource | None = None
    environment: Resource | None = None
    storage: Resource | None = None
    keys: tuple[str, ...] | None = None
    storages: tuple[Resource, ...] = ()
    mounted: frozenset[str] | None = None


@dataclass(frozen=True)
class Published:
    """What of an app's content is on the share. `release` says whether the bundle with the wanted digest is there
    in full; `mirror` is the mirrored files' sha256 by path, None where nothing was mirrored yet."""

    release: bool = False
    mirror: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Folder:
    """A folder on the share: its files' names, and the beginning of those that were read, by name."""

    files: frozenset[str]
    texts: Mapping[str, bytes]


@dataclass(frozen=True)
class Weights:
    """The folders of the model that an app is to serve, `adapter` None where it serves the base alone."""

    base: Folder
    adapter: Folder | None


@dataclass(frozen=True)
class Workload:
    """The resources of one InferenceApp, beside the stack it stands on.

    `revisions` oldest first; `replicas` are the latest revision's, and `log` the last lines that a container of
    it that isn't ready wrote. `published` is None while there is no share. `weights` is looked at only where a new
    release is about to be written.
    """

    stack: Stack
    app: Resource | None = None
    revisions: tuple[Resource, ...] = ()
    replicas: tuple[Resource, ...] = ()
    published: Published | None = None
    weights: Weights | None = None
    check: Check | None = None
    log: tuple[str, ...] = ()

    def revision(self, name: str | None) -> Resource | None:
        """The listed revision called `name`."""
        return next((revision for revision in self.revisions if revision.name == name), None)
