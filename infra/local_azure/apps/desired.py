"""From a request to the app it asks for: merged, normalised, judged, and whether that takes a new revision.

It stores nothing; `apps` does, if this doesn't raise.
"""

from __future__ import annotations

from typing import Any

from infra.local_azure import wire
from infra.local_azure.apps import context, environments, normalise, profiles, revisions, storages, validate
from infra.local_azure.apps.context import Document
from infra.local_azure.arm import tracked

REUSED_SUFFIX_REFUSED = "2025-01-01"


class Desired:
    """Builds the document of an app from a request and the one that is stored."""

    def __init__(
        self,
        rooms: context.Context,
        known: environments.Environments,
        mounts: storages.Storages,
        made: revisions.Revisions,
    ) -> None:
        self._rooms = rooms
        self._environments = known
        self._storages = mounts
        self._revisions = made

    def document(self, call: wire.Call, body: Document, existing: Document | None, *, location: str) -> Document:
        """The app as it will be; raises what is wrong with the request and stores nothing."""
        properties = body.get("properties") or {}
        environment = self._environment(properties, existing)
        profile = _profile(properties.get("workloadProfileName"), environment)
        configuration = normalise.configuration(properties.get("configuration") or {})
        configuration["secrets"] = _with_kept_values(configuration["secrets"], existing)
        template = normalise.template(properties.get("template") or {})
        kind = profiles.of(profile) if profile else profiles.TYPES["consumption"]
        identity = normalise.identity(tracked.member(body, "identity"))
        self._validate(configuration, template, environment, kind)
        validate.identity(identity)
        secret_names = {item["name"] for item in configuration["secrets"] or ()}
        validate.registries(configuration["registries"] or (), secret_names=secret_names, assigned=identity)
        now = self._rooms.time.now()
        made = existing or {"latest": "", "latestReady": "", "counter": 0, "running": True, "operation": ""}
        document = made | {
            "id": existing["id"] if existing else context.app_id(call),
            "name": existing["name"] if existing else call.names["app"],
            "group": existing["group"] if existing else call.names["group"],
            "location": location,
            "tags": body.get("tags"),
            "identity": identity,
            "system": context.modified_by(existing["system"], call, now) if existing else context.created_by(call, now),
            "environment": environment["id"],
            "profile": profile["name"] if profile else None,
            "profileType": kind.name,
            "configuration": configuration,
            "template": template,
            "state": "InProgress",
            "errors": None,
        }
        owed = existing is not None and existing["roll"]
        document["roll"] = self._needs_revision(document, existing, call.api_version) or owed
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

    def _needs_revision(self, document: Document, existing: Document | None, api_version: str) -> bool:
        """A changed template, or an equal one with a new suffix (recorded: 125 of 126, 9 of 9, else 0 of 260).

        One with a suffix that a revision has already is refused (public threads; code assumed). It used to be
        accepted without a revision (recorded once, 2024); that API versions up to 2024 tell the two is assumed.
        """
        suffix = document["template"]["revisionSuffix"]
        if suffix:
            validate.suffix(document["name"], suffix)
        if existing is None:
            return True
        changed = document["template"] != existing["template"]
        if not changed:
            return False
        if suffix and self._revisions.find(document, f"{document['name']}--{suffix}") is not None:
            if api_version < REUSED_SUFFIX_REFUSED:
                return False
            raise wire.ArmError(
                400, "ContainerAppRevisionSuffixExists", f"revision with suffix {suffix} already exists"
            )
        only_cleared = document["template"] | {"revisionSuffix": ""} == existing["template"] | {"revisionSuffix": ""}
        return bool(suffix) or not only_cleared


def as_request(document: Document) -> Document:
    """The stored app in the shape of a request, for a patch to be merged into."""
    return {
        "tags": document["tags"],
        "identity": document["identity"],
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
