"""What one document can't know of itself: that the others fit it, and that the folders it names are there.

Looks at the file system only to see whether a content folder may be published; reads no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.model import desired, fields, identity, served
from controller.plan import machines
from controller.sources.document import Document, Problem


@dataclass(frozen=True)
class Entry:
    """A document and, where it is valid, its object. `folder` is the file's, absolute."""

    document: Document
    folder: Path
    object: desired.Environment | desired.InferenceApp | None = None

    @property
    def label(self) -> str:
        """`kind name`, as far as the document says; for valid and invalid ones alike."""
        data = self.document.data if isinstance(self.document.data, dict) else {}
        metadata = data.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return f"{data.get('kind')} {name}" if isinstance(name, str) else ""

    @property
    def place(self) -> str:
        return f"{self.document.file}:{self.document.values[()][0]}"


Environments = Mapping[str, Entry]


def problems(entries: Sequence[Entry], *, boundary: Path) -> Iterator[Problem]:
    """Everything wrong between the entries, and between them and the file system. `boundary`: the folder, absolute
    and without links, that content folders may not leave."""
    environments = {entry.label: entry for entry in entries}
    yield from _same_names(entries)
    yield from _same_resources(entries, environments)
    yield from _overlapping_mirrors(entries, environments)
    yield from _dependencies(entries)
    for entry in entries:
        if isinstance(entry.object, desired.InferenceApp):
            yield from _references(entry, entry.object, environments)
            yield from _folders(entry, entry.object, boundary)
            yield from _variables(entry, entry.object)


def committed(entries: Sequence[Entry], *, secrets: Path | None) -> Iterator[Problem]:
    """What a commit may not say: a secret in it is none, and who commits must not read whatever the controller can.
    `secrets`: the folder, absolute, in which files of secrets may lie; None: nowhere."""
    remedy = f"must lie in {secrets}" if secrets else "name a folder for it by the setting secrets-folder"
    for entry in entries:
        for index, secret in enumerate(
            entry.object.spec.secrets if isinstance(entry.object, desired.InferenceApp) else ()
        ):
            if secret.from_file is None or (secrets and _lies_in(secret.from_file, secrets)):
                continue
            message = f"{secret.from_file!r} isn't a file that a repository may name: {remedy}"
            yield entry.document.problem(("spec", "secrets", index, "fromFile"), message)


def _lies_in(file: str, folder: Path) -> bool:
    return file.startswith("/") and Path(os.path.normpath(file)).is_relative_to(folder)


def contents(entry: Entry, app: desired.InferenceApp) -> tuple[tuple[Path, str], ...]:
    """The (absolute folder, target) pairs of the app's content."""
    return tuple((_absolute(entry, wanted.path), wanted.target) for wanted in app.spec.content)


def _same_names(entries: Sequence[Entry]) -> Iterator[Problem]:
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.label and (earlier := first.setdefault(entry.label, entry)) is not entry:
            yield entry.document.problem(("metadata", "name"), f"{entry.label} is already at {earlier.place}")


def _same_resources(entries: Sequence[Entry], environments: Environments) -> Iterator[Problem]:
    """One Azure resource, one object: also where the names come from defaults."""
    first: dict[str, Entry] = {}
    for entry in entries:
        clashes: dict[str, list[str]] = {}
        for resource in _resources(entry, environments):
            earlier = first.setdefault(resource.lower(), entry)
            if earlier.label != entry.label:
                clashes.setdefault(f"{earlier.label} at {earlier.place}", []).append(resource)
        for other, shared in clashes.items():
            yield entry.document.problem(("spec",), f"comes to the same resource as {other}: {', '.join(shared)}")


def _resources(entry: Entry, environments: Environments) -> list[str]:
    if isinstance(entry.object, desired.Environment):
        ids = identity.ids(entry.object)
        return [ids.account, ids.share, ids.workspace, ids.environment, ids.storage(ids.names.storage)]
    if entry.object is None or (stands_on := _environment(entry.object, environments)) is None:
        return []
    ids = identity.ids(stands_on)
    return [ids.app(identity.app_name(entry.object, group_id=ids.group))]


def _environment(app: desired.InferenceApp, environments: Environments) -> desired.Environment | None:
    """The app's environment, where there is one and it is valid."""
    named = environments.get(f"Environment {app.spec.environment_ref}")
    return named.object if named and isinstance(named.object, desired.Environment) else None


def _references(entry: Entry, app: desired.InferenceApp, environments: Environments) -> Iterator[Problem]:
    """The app's environment is there and has its profile, whose machines hold the app. An invalid environment says
    enough of itself."""
    reference, profile = app.spec.environment_ref, app.spec.workload_profile_name
    if f"Environment {reference}" not in environments:
        yield entry.document.problem(("spec", "environmentRef"), f"no Environment is called {reference!r}")
    if (stands_on := _environment(app, environments)) is None:
        return
    profiles = ["Consumption", *(listed.name for listed in stands_on.spec.container_apps.workload_profiles)]
    if profile not in profiles:
        message = f"Environment {reference} has no workload profile {profile!r}, only {', '.join(profiles)}"
        yield entry.document.problem(("spec", "workloadProfileName"), message)
    elif problem := machines.problem(app, stands_on):
        yield entry.document.problem(("spec", "resources"), problem)


def _dependencies(entries: Sequence[Entry]) -> Iterator[Problem]:
    """dependsOn names apps that are there, and no app waits for itself, however far round."""
    labels = {entry.label for entry in entries}
    apps = {
        entry.object.metadata.name: (entry, entry.object)
        for entry in entries
        if isinstance(entry.object, desired.InferenceApp)
    }
    for entry, app in apps.values():
        for index, name in enumerate(app.spec.depends_on):
            if f"InferenceApp {name}" not in labels:
                yield entry.document.problem(("spec", "dependsOn", index), f"no InferenceApp is called {name!r}")
    needs = {name: tuple(other for other in app.spec.depends_on if other in apps) for name, (_, app) in apps.items()}
    for cycle in _cycles(needs):
        entry, app = apps[cycle[0]]
        place = ("spec", "dependsOn", app.spec.depends_on.index(cycle[1]))
        yield entry.document.problem(place, f"waits for itself: {' -> '.join(cycle)}")


def _cycles(needs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Circles, each as the names on it and the first one again; none only where there is none. Depth first, without
    recursion: a chain may be as long as a folder has apps."""
    done: set[str] = set()
    for start in needs:
        path = {start: iter(needs[start])}
        while path:
            last = next(reversed(path))
            follows = next(path[last], None)
            if follows is None:
                del path[last]
                done.add(last)
            elif follows in path:
                names = list(path)
                yield (*names[names.index(follows) :], follows)
            elif follows not in done:
                path[follows] = iter(needs[follows])


def _folders(entry: Entry, app: desired.InferenceApp, boundary: Path) -> Iterator[Problem]:
    for index, wanted in enumerate(app.spec.content):
        if wrong := _wrong(_absolute(entry, wanted.path), boundary):
            yield entry.document.problem(("spec", "content", index, "path"), f"{wanted.path!r} {wrong}")


def _variables(entry: Entry, app: desired.InferenceApp) -> Iterator[Problem]:
    """The app is told of its model in one place only."""
    if app.spec.model is None:
        return
    place = f"{entry.document.file}:{entry.document.keys['spec', 'model'][0]}"
    for index, variable in enumerate(app.spec.env):
        if variable.name in served.VARIABLES:
            message = f"{variable.name!r} follows from spec.model at {place}: leave one of them out"
            yield entry.document.problem(("spec", "env", index, "name"), message)


def _absolute(entry: Entry, path: str) -> Path:
    return Path(os.path.normpath(entry.folder / path))


def _wrong(folder: Path, boundary: Path) -> str | None:
    """What keeps `folder` (absolute, without `..`) from being published."""
    if not folder.is_relative_to(boundary):
        return f"leaves {boundary}"
    try:
        return _unpublishable(folder, boundary)
    except OSError as error:
        return f"can't be looked at: {error.strerror or error}"


def _unpublishable(folder: Path, boundary: Path) -> str | None:
    if folder.resolve() != folder:
        return "is a symbolic link, or goes through one"
    if ".git" in folder.relative_to(boundary).parts:
        return "is git's own"
    if not folder.exists():
        return f"doesn't exist: {folder}"
    return None if folder.is_dir() else "isn't a folder"


def _overlapping_mirrors(entries: Sequence[Entry], environments: Environments) -> Iterator[Problem]:
    """Folders that two apps mirror to one share must stay apart there."""
    seen: dict[str, list[tuple[str, Entry]]] = {}
    for entry in entries:
        app = entry.object
        if not isinstance(app, desired.InferenceApp) or app.spec.release != "Mirror":
            continue
        if (stands_on := _environment(app, environments)) is None:
            continue
        others = seen.setdefault(identity.ids(stands_on).share.lower(), [])
        own = [wanted.target for wanted in app.spec.content]
        for index, target in enumerate(own):
            for theirs, other in others:
                if fields.overlap(theirs, target):
                    message = f"{target!r} equals, holds or lies in {theirs!r} of {other.label} at {other.place}"
                    yield entry.document.problem(("spec", "content", index, "target"), message)
        others += [(target, entry) for target in own]
