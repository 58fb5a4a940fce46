"""An AI Toolkit project's `infra` folder as desired state: what its Bicep declares with its parameters put in, which
is what its provisioning made. It asks Azure nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.migration import bicep, migrated, project, workload
from controller.migration.migrated import Migrated, Told
from controller.model import identity
from controller.sources import document

TYPES = {
    "storageAccountName": "Microsoft.Storage/storageAccounts",
    "fileShareName": "Microsoft.Storage/storageAccounts/fileServices/shares",
    "acaEnvironmentName": "Microsoft.App/managedEnvironments",
    "acaEnvironmentStorageName": "Microsoft.App/managedEnvironments/storages",
    "acaLogAnalyticsName": "Microsoft.OperationalInsights/workspaces",
    "acaAppName": "Microsoft.App/containerApps",
}
"""The name parameters, and what they name."""

FIELDS = {
    "storageAccountName": "spec.storage.accountName",
    "fileShareName": "spec.storage.shareName",
    "acaEnvironmentName": "spec.containerApps.environmentName",
    "acaEnvironmentStorageName": "spec.containerApps.storageName",
    "acaLogAnalyticsName": "spec.logAnalytics.workspaceName",
    "acaAppName": "spec.appName",
    "location": "spec.location",
    "maximumInstanceCount": "spec.containerApps.workloadProfiles",
    "defaultCommands": "spec.commands",
}
"""Which field of the documents a parameter comes to."""

RECORDED = {
    "storageAccountName": "STORAGE_ACCOUNT_NAME",
    "fileShareName": "FILE_SHARE_NAME",
    "acaAppName": "ACA_APP_NAME",
}
"""The names that provisioning writes down, or people do who provisioned by hand."""

CONTENT = ("inference", "setup")
"""The project's folders that its commands may run from."""


@dataclass(frozen=True)
class Infra:
    """The folder and its files. `tuning` is what fine-tuning was provisioned with."""

    folder: Path
    config: project.File
    parameters: project.File
    tuning_config: project.File
    tuning: project.File

    @property
    def provisioned(self) -> bool:
        return bool(self.config.get("ACA_APP_NAME"))

    def parameter(self, name: str) -> tuple[Any, str]:
        """The value and its place. Until inference is provisioned, fine-tuning's stands in for one left null."""
        value = self.parameters.get("parameters", name, "value")
        if value is None and not self.provisioned and name != "defaultCommands":
            other = self.tuning.get("parameters", name, "value")
            if other is not None:
                return other, self.tuning.place("parameters", name, "value")
        return value, self.parameters.place("parameters", name, "value")


def read(folder: Path, *, subscription: str | None = None, resource_group: str | None = None) -> Migrated:
    """The project whose `infra` folder this is, or is in. `subscription` and `resource_group` count where the project
    names none. Raises MigrationError."""
    found = folder if (folder / "provision").is_dir() or not (folder / "infra").is_dir() else folder / "infra"
    told = Told(where=lambda field: f"{found}:1:1")
    infra = _files(found, told)
    told.end()
    # ARM spells it so, and default names follow from the group's id
    subscription = _target(infra, "SUBSCRIPTION_ID", subscription, "--subscription", told).lower()
    resource_group = _target(infra, "RESOURCE_GROUP_NAME", resource_group, "--resource-group", told)
    given = dict(_parameters(infra, told))
    declared = _declared(infra, given, identity.group_id(subscription, resource_group), told)
    told.end()
    names = {name: _name(declared, name, told) for name in TYPES}
    told.end()
    app = workload.read(names["acaAppName"], declared.resource(TYPES["acaAppName"]) or {}, told)
    stack = _stack(declared, given, names, subscription=subscription, group=resource_group, told=told)
    if app is None or told.problems:
        raise migrated.MigrationError(told.problems)
    return _migrated(infra, stack, app, given, names, told)


def _files(infra: Path, told: Told) -> Infra:
    names = (
        "inference.config.json",
        "inference.parameters.json",
        "finetuning.config.json",
        "finetuning.parameters.json",
    )
    made = Infra(infra, *(project.read(_path(infra, name), told) for name in names))
    if not made.parameters and not told.problems:
        what = "no inference.parameters.json here or in provision/; name an AI Toolkit project's infra folder"
        told.refuse_at(str(infra), what)
    return made


def _path(infra: Path, name: str) -> Path:
    """In `provision/` or, as in the first projects, beside it."""
    return next((path for path in (infra / "provision" / name, infra / name) if path.exists()), infra / name)


def _target(infra: Infra, key: str, given: str | None, option: str, told: Told) -> str:
    """What provisioning wrote down, inference's or fine-tuning's, else the `given`. Two that differ are a problem."""
    for config in (infra.config, infra.tuning_config):
        value = config.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            told.refuse_at(config.place(key), f"{key} is {value!r}; it must be text, or null")
        elif given is not None and value.lower() != given.lower():
            told.refuse_at(config.place(key), f"{key} is {value!r}, {option} says {given!r}; make them agree")
        return str(value)
    if given is None:
        never = "is null: the project was never provisioned from here" if infra.config else "isn't known"
        told.refuse_at(infra.config.place(key), f"{key} {never}; pass {option}")
    return given or ""


def _parameters(infra: Infra, told: Told) -> Iterator[tuple[str, Any]]:
    """The parameters that have a value, by name: as written, or as provisioning wrote it down."""
    for name in infra.parameters.get("parameters") or {}:
        if name not in FIELDS:
            yield name, infra.parameters.get("parameters", name, "value")
    for name, path in FIELDS.items():
        value, place = infra.parameter(name)
        recorded = infra.config.get(RECORDED.get(name, ""))
        if value is not None and recorded is not None and value != recorded:
            where = infra.config.place(RECORDED[name])
            told.refuse_at(place, f"{name} is {value!r}, but provisioned was {recorded!r} ({where}); make them agree")
        if value is None and recorded is not None:
            value, place = recorded, infra.config.place(RECORDED[name])
        if value is not None:
            _typed(name, value, place, told)
            told.places[path] = place
            yield name, value


def _typed(name: str, value: Any, place: str, told: Told) -> None:
    if name == "defaultCommands":
        good = isinstance(value, list) and value and all(isinstance(line, str) for line in value)
        wanted = "a list of commands"
    elif name == "maximumInstanceCount":
        good, wanted = isinstance(value, int) and not isinstance(value, bool), "a number"
    else:
        good, wanted = isinstance(value, str) and value != "", "a name, or null"
    if not good:
        told.refuse_at(place, f"{name} is {value!r}; it must be {wanted}")


def _declared(infra: Infra, given: Mapping[str, Any], group_id: str, told: Told) -> bicep.Bicep:
    """Raises MigrationError, with what `told` had before."""
    path = _path(infra.folder, "inference.bicep")
    shown = document.shown(path)
    try:
        made = bicep.Bicep(bicep.read(path), parameters=given, group_id=group_id)
    except FileNotFoundError:
        told.refuse_at(shown, "isn't there, and nothing else says the image; read the live app by --from-azure")
    except bicep.BicepError as error:
        told.refuse_at(f"{shown}:{error.line}:{error.column}", f"{error}; read the live app by --from-azure instead")
    except (OSError, ValueError) as error:
        told.refuse_at(f"{shown}:1:1", f"can't be read: {error}")
    else:
        told.where = lambda field: "{}:{}:{}".format(shown, *made.place(field))
        return made
    raise migrated.MigrationError(told.problems)


def _name(declared: bicep.Bicep, parameter: str, told: Told) -> str:
    """The resource's name, as deployed."""
    found = declared.resource(TYPES[parameter])
    if found is None:
        told.refuse("", f"there is no {TYPES[parameter]} here; read the live app by --from-azure instead")
    elif not isinstance(found.get("name"), str):
        told.refuse(parameter, f"the name of the {TYPES[parameter]} isn't known; give the parameter a value")
    return str((found or {}).get("name"))


def _stack(
    declared: bicep.Bicep,
    given: Mapping[str, Any],
    names: Mapping[str, str],
    *,
    subscription: str,
    group: str,
    told: Told,
) -> migrated.Stack:
    environment = declared.resource(TYPES["acaEnvironmentName"]) or {}
    listed = (environment.get("properties") or {}).get("workloadProfiles")
    profiles = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    if profiles != (listed or []) or any(value is bicep.UNKNOWN for one in profiles for value in one.values()):
        told.refuse("workloadProfiles", "a workload profile isn't known; give maximumInstanceCount a value")
    location = declared.parameter("location")
    return migrated.Stack(
        subscription,
        group,
        location if isinstance(location, str) else None,
        identity.Names(
            account=names["storageAccountName"],
            share=names["fileShareName"],
            environment=names["acaEnvironmentName"],
            storage=names["acaEnvironmentStorageName"],
            workspace=names["acaLogAnalyticsName"],
        ),
        tuple(profiles),
    )


def _migrated(
    infra: Infra,
    stack: migrated.Stack,
    app: workload.Found,
    given: Mapping[str, Any],
    names: Mapping[str, str],
    told: Told,
) -> Migrated:
    """The documents. Objects are called as the environment and the app, where those have names of their own."""
    written = {str(value) for name, value in _said(infra) if name in TYPES}
    group_id = identity.group_id(stack.subscription, stack.group)
    own = str(given.get("acaEnvironmentName") or stack.group)
    environment = migrated.environment(stack, name=migrated.object_name(own), given=written, told=told)
    default = f"aiacaapp{identity.unique_string(group_id)[:5]}"
    named = names["acaAppName"] if names["acaAppName"] != default or default in written else None
    spec = {"environmentRef": environment["metadata"]["name"], "appName": named, **app.spec}
    made = migrated.document("InferenceApp", migrated.object_name(named or _project(infra).name), spec)
    contents = list(_contents(infra, app, told))
    _remarks(infra, given, told)
    _by_hand(infra, stack, told)
    return migrated.finished(environment, made, contents=contents, told=told)


def _said(infra: Infra) -> Iterator[tuple[str, Any]]:
    """The parameters as the files have them, without what provisioning wrote down."""
    for name in FIELDS:
        yield name, infra.parameter(name)[0]


def _project(infra: Infra) -> Path:
    return infra.folder.absolute().parent


def _contents(infra: Infra, app: workload.Found, told: Told) -> Iterator[tuple[Path, str]]:
    """The code, and what the commands install before it runs."""
    for name in CONTENT:
        folder = _project(infra) / name
        named = any(re.search(rf"\b{name}\b(?!\.)", line) for line in app.spec["commands"])
        if folder.is_dir() and (named or name == CONTENT[0]):
            yield folder, name
        elif name == CONTENT[0]:
            told.warnings.append(f"{folder} isn't there: the app has no content; add it when there is code to publish")
        elif named:
            told.notes.append(f"the commands name {name}/, which isn't in the project; it must be on the share")


def _remarks(infra: Infra, given: Mapping[str, Any], told: Told) -> None:
    commands = infra.config.get("COMMANDS")
    if commands is not None and commands != given.get("defaultCommands"):
        place = infra.config.place("COMMANDS")
        told.warnings.append(f"{place}: COMMANDS differ from defaultCommands, which are taken")
    if all(infra.config.get(key) for key in ("SUBSCRIPTION_ID", "RESOURCE_GROUP_NAME", *RECORDED.values())):
        told.notes.append("everything is provisioned: the first run adopts it and publishes the content")
    else:
        told.warnings.append(
            "provisioning isn't on record here: where the app isn't there yet, take `probes: Keep` out before the "
            "first run, or it gets the platform's default probes, which may not wait for a model to load"
        )
    for name, value in _said(infra):
        if value is not None and infra.parameters.get("parameters", name, "value") is None:
            told.notes.append(f"{name} is fine-tuning's: {value}")


def _by_hand(infra: Infra, stack: migrated.Stack, told: Told) -> None:
    """Who provisioned by hand wrote down what has room in inference.config.json, which the environment has not."""
    suffix = identity.unique_string(identity.group_id(stack.subscription, stack.group))[:5]
    recorded = [infra.config.get(key) for name, key in RECORDED.items() if infra.parameter(name)[0] is None]
    own = [name for name in recorded if name and not str(name).endswith(suffix)]
    if own and infra.parameter("acaEnvironmentName")[0] is None:
        told.warnings.append(
            f"there are own names on record ({', '.join(own)}), so {stack.names.environment}, {stack.names.storage} "
            f"and {stack.names.workspace} may be wrong; set their parameters, or read the live app by --from-azure"
        )
