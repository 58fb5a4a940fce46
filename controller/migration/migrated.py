"""What an import comes to: two documents of desired state, and what its user must know. It reads and writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from controller.model import desired, identity

Json = dict[str, Any]


class MigrationError(Exception):
    """Everything that keeps the import from its end: one line each, with the place, the value and the remedy."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Migrated:
    """`environment` and `app` are whole documents, the app's without `content`: `contents` are its (absolute folder,
    target) pairs. `notes` tell what was decided, `warnings` what is to be looked at or set before the first run."""

    environment: Json
    app: Json
    contents: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass
class Told:
    """What a reading has to say. `where` gives the place of a field by its name in Azure, `places` of those that stand
    elsewhere, by their dotted path in the documents: `spec.storage.accountName`."""

    where: Callable[[str], str]
    places: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def refuse(self, field: str, message: str) -> None:
        self.refuse_at(self.where(field), message)

    def refuse_at(self, place: str, message: str) -> None:
        self.problems.append(f"{place}: {message}")

    def end(self) -> None:
        """Raises MigrationError if there was a problem."""
        if self.problems:
            raise MigrationError(self.problems)


@dataclass(frozen=True)
class Stack:
    """What an app stands on. `profiles` as the service spells them, `location` a region in any spelling."""

    subscription: str
    group: str
    location: str | None
    names: identity.Names
    profiles: tuple[Mapping[str, Any], ...]


def environment(stack: Stack, *, name: str, given: Collection[str], told: Told) -> Json:
    """The Environment. Names that are AI Toolkit's defaults are left null, unless they are among the `given`."""
    body = document("Environment", name, {"subscriptionId": stack.subscription, "resourceGroup": stack.group})
    ours = identity.names(_nameless(body, told), group_id=identity.group_id(stack.subscription, stack.group))

    def written(wanted: str, default: str) -> str | None:
        return None if wanted == default and wanted not in given else wanted

    body["spec"] |= {
        "location": region(stack.location),
        "storage": {
            "accountName": written(stack.names.account, ours.account),
            "shareName": written(stack.names.share, ours.share),
        },
        "logAnalytics": {"workspaceName": written(stack.names.workspace, ours.workspace)},
        "containerApps": {
            "environmentName": written(stack.names.environment, ours.environment),
            "storageName": written(stack.names.storage, ours.storage),
            "workloadProfiles": list(_profiles(stack.profiles, told)),
        },
    }
    return body


def document(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": desired.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def object_name(text: str) -> str:
    """`text` as the name of an object: lower-case letters, digits and inner hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:63].strip("-") or "imported"


def region(location: str | None) -> str | None:
    """A region's code, whether it was given or its display name: `West US 3` -> `westus3`."""
    return re.sub(r"[\s()]", "", location).lower() if location else None


def finished(environment: Json, app: Json, *, contents: Iterable[tuple[Path, str]], told: Told) -> Migrated:
    """Checked as a state folder is when it is loaded. Raises MigrationError."""
    for one in (environment, app):
        _check(one, told)
    app["spec"]["workloadProfileName"] = _profile(environment, str(app["spec"]["workloadProfileName"]), told)
    if _one_machine(environment, app["spec"]["workloadProfileName"]):
        app["spec"]["rollout"] = {"strategy": "Recreate"}
    told.end()
    return Migrated(environment, app, tuple(contents), tuple(told.notes), tuple(told.warnings))


def _profile(environment: Json, wanted: str, told: Told) -> str:
    """The profile as the environment spells it: the service looks at it without case."""
    listed = (str(one["name"]) for one in environment["spec"]["containerApps"]["workloadProfiles"])
    found = next((name for name in (desired.SERVERLESS, *listed) if name.lower() == wanted.lower()), None)
    if found is None:
        told.refuse("workloadProfileName", f"{wanted} is no workload profile that acaops knows")
    return found or wanted


def _one_machine(environment: Json, profile: str) -> bool:
    """Whether there is no room for a second revision."""
    listed = environment["spec"]["containerApps"]["workloadProfiles"]
    return any(one["name"] == profile and one.get("maximumCount") == 1 for one in listed)


def _check(document: Json, told: Told) -> None:
    try:
        desired.KINDS[document["kind"]].model_validate(document)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            path = ".".join(map(str, found["loc"]))
            told.refuse_at(_place(path, told), f"{path}: {found['msg']}")


def _place(path: str, told: Told) -> str:
    """Of the field, or of the nearest one around it that has a place of its own; else where Azure's field stands."""
    around = path
    while around and around not in told.places:
        around = around.rpartition(".")[0]
    return told.places.get(around) or told.where(path.rpartition(".")[2])


def _nameless(body: Json, told: Told) -> desired.Environment:
    """The Environment with every name left out. Raises MigrationError where not even that is valid."""
    _check(body, told)
    told.end()
    return desired.Environment.model_validate(body)


def _profiles(live: Iterable[Mapping[str, Any]], told: Told) -> Iterable[Json]:
    """All but Consumption, which is always there; of types that acaops doesn't know, none: it leaves them alone."""
    for profile in live:
        one = {"name": profile.get("name"), "type": profile.get("workloadProfileType")}
        counts = {key: profile.get(key) for key in ("minimumCount", "maximumCount")}
        if one["type"] in desired.DEDICATED_TYPES:
            # a zero may come back as null
            yield one | {"minimumCount": counts["minimumCount"] or 0, "maximumCount": counts["maximumCount"]}
            if counts["maximumCount"] == 1:
                told.warnings.append(
                    f"workload profile {one['name']} has one machine, and a rollout needs a second one while the old "
                    "revision still runs: the strategy is Recreate, which stops that first; raise maximumCount and "
                    "take it out, if the quota allows it"
                )
        elif str(one["type"]).startswith(f"{desired.SERVERLESS}-"):
            yield one
        elif one["type"] != desired.SERVERLESS:
            told.notes.append(f"workload profile {one['name']} ({one['type']}) is left as it is")
