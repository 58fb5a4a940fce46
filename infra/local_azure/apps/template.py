"""From a revision's document to what the runtime runs: mounts, secrets, probes and the platform's variables.

It reads shares and keys and makes scratch folders; it starts nothing. What the platform could not start (a
mount that fails) becomes `problem`, as on Azure, where the container then waits.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local_azure import replicas
from infra.local_azure.apps import context, pools, storages
from infra.local_azure.apps.context import Document
from infra.local_azure.runtime import probes

_GI = 1024**3
DEFAULT_GRACE = 30.0  # documented: terminationGracePeriodSeconds


class MountError(Exception):
    """A volume that can't be mounted; the text is the container's waiting reason."""


@dataclass(frozen=True)
class Surroundings:
    """What a revision needs of its app: `hostname` is the revision's own, both names without scheme."""

    app: Document
    hostname: str
    dns_suffix: str
    scratch: Callable[[str], Path]


def revision(
    rooms: context.Context, known: storages.Storages, document: Document, around: Surroundings
) -> replicas.Revision:
    """The runtime's value for the revision `document`."""
    app, template = around.app, document["template"]
    ingress = app["configuration"]["ingress"]
    port = (ingress or {}).get("targetPort") or None
    volumes = _Volumes(rooms, known, around)
    containers = tuple(
        _container(item, volumes, template["volumes"] or [], port if position == 0 else None)
        for position, item in enumerate(template["containers"])
    )
    grace = template["terminationGracePeriodSeconds"]
    return replicas.Revision(
        key=document["key"],
        app=app["name"],
        containers=containers,
        replicas=wanted_replicas(template),
        target_port=port,
        grace=DEFAULT_GRACE if grace is None else float(grace),
        variables=_variables(document, around, port),
        problem="; ".join(dict.fromkeys(volumes.problems)) or None,
        demand=pools.demand(app, template),
        unmountable=lambda: _unmountable(volumes, template["volumes"] or []),
    )


def _unmountable(volumes: _Volumes, known: list[Document]) -> str | None:
    problems = (volumes.problem(volume) for volume in known if volume["storageType"] == "AzureFile")
    return next((problem for problem in problems if problem is not None), None)


def wanted_replicas(template: Document) -> int:
    """How many a revision starts with, and is healthy with: minReplicas, but at least one (recorded: one for an app
    without a minimum). Only what was ready once goes to zero."""
    return max(1, int(template["scale"]["minReplicas"] or 0))


def _variables(document: Document, around: Surroundings, port: int | None) -> dict[str, str]:
    """Documented: Container Apps, environment variables, "Built-in environment variables"."""
    variables = {
        "CONTAINER_APP_NAME": str(around.app["name"]),
        "CONTAINER_APP_REVISION": str(document["name"]),
        "CONTAINER_APP_HOSTNAME": around.hostname,
        "CONTAINER_APP_ENV_DNS_SUFFIX": around.dns_suffix,
    }
    return variables | ({"CONTAINER_APP_PORT": str(port)} if port else {})


class _Volumes:
    """The folders behind a revision's volumes, and the secrets of its app; `problems` collects what fails."""

    def __init__(self, rooms: context.Context, known: storages.Storages, around: Surroundings) -> None:
        self._rooms = rooms
        self._storages = known
        self._around = around
        self.secrets = {
            item["name"]: item["value"] for item in around.app["configuration"]["secrets"] or () if "value" in item
        }
        self.problems: list[str] = []

    def mount(self, sent: Document, volume: Document) -> replicas.Mount | None:
        try:
            folder, read_only = self._folder(volume)
            inside = folder / str(sent.get("subPath") or "").strip("/")
            if not read_only or inside == folder:
                inside.mkdir(parents=True, exist_ok=True)
        except (MountError, OSError) as error:
            self.problems.append(_failed(volume, error))
            return None
        return replicas.Mount(path=sent["mountPath"], folder=inside, read_only=read_only)

    def problem(self, volume: Document) -> str | None:
        """Why the share of `volume` can't be mounted now."""
        try:
            self._share(volume)
        except MountError as error:
            return _failed(volume, error)
        return None

    def _folder(self, volume: Document) -> tuple[Path, bool]:
        if volume["storageType"] == "AzureFile":
            return self._share(volume)
        folder = self._around.scratch(volume["name"])
        if volume["storageType"] == "Secret":
            self._write_secrets(folder, volume)
        return folder, volume["storageType"] == "Secret"

    def _share(self, volume: Document) -> tuple[Path, bool]:
        """The share's folder, if the stored key is one of the account's (words: the kernel's; assumed)."""
        storage = self._storages.find(self._around.app["environment"], volume["storageName"])
        if storage is None:
            raise MountError(f"ManagedEnvironment Storage '{volume['storageName']}' was not found")
        account = storage["accountName"].lower()
        keys = self._rooms.account_keys(account)
        if keys is None:
            raise MountError(f"mount error: could not resolve address for {account}: Unknown error")
        if not any(hmac.compare_digest(key.encode(), storage["accountKey"].encode()) for key in keys):
            raise MountError(f"mount error(13): Permission denied (share {storage['shareName']} of {account})")
        try:
            folder = self._rooms.shares.folder(account, storage["shareName"].lower())
        except KeyError:
            raise MountError(
                f"mount error(2): No such file or directory (share {storage['shareName']} of {account})"
            ) from None
        return folder, storage["accessMode"] == "ReadOnly"

    def _write_secrets(self, folder: Path, volume: Document) -> None:
        """A file per secret; without a list all of them (documented)."""
        chosen = volume.get("secrets") or [{"secretRef": name} for name in self.secrets]
        for item in chosen:
            name = str(item["secretRef"])
            target = folder / str(item.get("path") or name)
            if not target.resolve().is_relative_to(folder.resolve()):
                raise MountError(f"the path '{item['path']}' leaves the volume")
            if name not in self.secrets:
                raise MountError(f"SecretRef '{name}' not found")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(mode=0o600)
            target.write_text(self.secrets[name])


def _failed(volume: Document, error: Exception) -> str:
    return f'MountVolume.SetUp failed for volume "{volume["name"]}": {error}'


def _container(
    sent: Document, volumes: _Volumes, known: list[Document], default_probe_port: int | None
) -> replicas.Container:
    by_name = {volume["name"]: volume for volume in known}
    mounts = (volumes.mount(item, by_name[item["volumeName"]]) for item in sent.get("volumeMounts", ()))
    return replicas.Container(
        name=sent["name"],
        image=sent["image"],
        command=tuple(sent.get("command", ())),
        args=tuple(sent.get("args", ())),
        env=_environment(sent, volumes),
        mounts=tuple(mount for mount in mounts if mount is not None),
        probes=probes.complete([_probe(item) for item in sent.get("probes", [])], default_probe_port),
        memory=int(pools.gibibytes(sent["resources"]["memory"]) * _GI),
    )


def _environment(sent: Document, volumes: _Volumes) -> dict[str, str]:
    found = {}
    for variable in sent.get("env", ()):
        reference = variable.get("secretRef")
        if reference is None:
            found[variable["name"]] = str(variable.get("value", ""))
        elif reference in volumes.secrets:
            found[variable["name"]] = volumes.secrets[reference]
        else:
            volumes.problems.append(f"SecretRef '{reference}' defined for container '{sent['name']}' not found")
    return found


def _probe(probe: Document) -> replicas.Probe:
    """Defaults: period 10 s, timeout 1 s, success 1, failure 3, delay 0 (documented)."""
    http = probe.get("httpGet")
    target: Document = http or probe["tcpSocket"]
    return replicas.Probe(
        kind=probe["type"],
        path=(http.get("path") or "/") if http else None,
        port=target["port"],
        scheme=str((http or {}).get("scheme") or "HTTP").upper(),
        headers={item["name"]: item["value"] for item in (http or {}).get("httpHeaders") or ()},
        initial_delay=float(probe.get("initialDelaySeconds") or 0),
        period=float(probe.get("periodSeconds") or 10),
        timeout=float(probe.get("timeoutSeconds") or 1),
        success_threshold=int(probe.get("successThreshold") or 1),
        failure_threshold=int(probe.get("failureThreshold") or 3),
    )
