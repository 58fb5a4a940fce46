"""Desired objects as ARM bodies: what is sent at creation, and which fields are owned ever after.

Defaults of the desired state fill a creation; on a resource that exists, only what the YAML names is owned
where changing it would hurt (location, sku, quota).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controller.model import desired, identity, tags
from controller.plan import actions

Json = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """`owned` is compared with the live resource and laid over it in an update. `immutable` can't be changed: a
    difference there stops the step. `note` are tags that ride along with a write and cause none; None takes one off."""

    create: Mapping[str, Any]
    owned: Mapping[str, Any] = field(default_factory=dict)
    immutable: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    note: Mapping[str, str | None] = field(default_factory=dict)

    def recorded(self, owned: Mapping[str, Any]) -> Wanted:
        """With a note of what is owned: a difference while it still holds was made by somebody else."""
        return replace(self, note={**self.note, tags.APPLIED: applied(owned)})


def applied(owned: Mapping[str, Any]) -> str:
    """The digest of everything owned, to tell drift from a change. Secrets count by their stored names."""
    return tags.digest(json.dumps(owned, sort_keys=True, default=lambda _: None))


def group(environment: desired.Environment) -> Wanted:
    return Wanted(create={"location": environment.spec.location})


def account(environment: desired.Environment, *, location: str | None, key: tags.MountKey | None) -> Wanted:
    """`key` is the environment storage to put on record, once it is there. The tags are all that is owned."""
    storage = environment.spec.storage
    ours = {**environment.spec.tags, tags.DELETION: environment.spec.deletion_policy}
    ours |= {tags.STORAGE_KEY: str(key)} if key else {}
    return Wanted(
        create={
            "location": location,
            "kind": "StorageV2",
            "sku": {"name": storage.sku},
            "properties": {
                "minimumTlsVersion": "TLS1_2",
                "allowBlobPublicAccess": False,
                "supportsHttpsTrafficOnly": True,
            },
        },
        immutable=_said(environment, location) | ({"sku": {"name": storage.sku}} if _set(storage, "sku") else {}),
        tags=ours,
    ).recorded({"tags": ours})


def file_service() -> Wanted:
    return Wanted(create={"properties": {}})


def share(environment: desired.Environment) -> Wanted:
    storage = environment.spec.storage
    quota = {"properties": {"shareQuota": storage.share_quota_gib}}
    return Wanted(
        create={"properties": {"shareQuota": storage.share_quota_gib, "enabledProtocols": "SMB"}},
        owned=quota if _set(storage, "share_quota_gib") else {},
    )


def workspace(environment: desired.Environment, *, location: str | None) -> Wanted:
    return Wanted(
        create={"location": location, "properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30}},
        immutable=_said(environment, location),
        tags=environment.spec.tags,
    ).recorded({"tags": dict(environment.spec.tags)})


def managed_environment(
    environment: desired.Environment, *, location: str | None, workspace_id: str, customer_id: str | None
) -> Wanted:
    profiles = [_profile(profile) for profile in environment.spec.container_apps.workload_profiles]
    logs = {
        "destination": "log-analytics",
        "logAnalyticsConfiguration": {
            "customerId": customer_id,
            "sharedKey": actions.Lookup("workspace-key", workspace_id),
        },
    }
    consumption = {"name": "Consumption", "workloadProfileType": "Consumption"}
    listed = {profile["name"].lower() for profile in profiles}
    return Wanted(
        create={
            "location": location,
            "properties": {
                "appLogsConfiguration": logs,
                "workloadProfiles": ([] if "consumption" in listed else [consumption]) + profiles,
                "zoneRedundant": False,
            },
        },
        owned={"properties": {"workloadProfiles": profiles}},
        immutable=_said(environment, location),
        tags=environment.spec.tags,
    ).recorded({"workloadProfiles": profiles})


def storage(names: identity.Names, *, account_id: str, key: str) -> Wanted:
    facts = {"accountName": names.account, "shareName": names.share, "accessMode": "ReadWrite"}
    return Wanted(
        create={"properties": {"azureFile": facts | {"accountKey": actions.Lookup("account-key", account_id, key)}}},
        immutable={"properties": {"azureFile": facts}},
    )


def _profile(profile: desired.WorkloadProfile) -> Json:
    counts = {"minimumCount": profile.minimum_count, "maximumCount": profile.maximum_count}
    return {"name": profile.name, "workloadProfileType": profile.type} | {
        key: value for key, value in counts.items() if value is not None
    }


def _set(model: Any, name: str) -> bool:
    return name in model.model_fields_set


def _said(environment: desired.Environment, location: str | None) -> Json:
    return {"location": location} if environment.spec.location else {}
