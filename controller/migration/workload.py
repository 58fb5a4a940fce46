"""A container app, declared or live, as the spec of an InferenceApp that would change nothing but its revision.

What acaops doesn't own stays as it is and isn't read; what the spec can't say is refused with the remedy. No values of
secrets are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.migration import shell
from controller.migration.migrated import Json, Told
from controller.model import desired

GRACE_SECONDS = 30
"""The service's own, where an app has none (documented: ContainerApps API reference)."""

MOST_REPLICAS = 10
"""The service's own, likewise."""

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Mount:
    """The share in the container: `volume` and `storage` (the environment storage) by name."""

    path: str
    volume: str
    storage: Any
    options: str


@dataclass(frozen=True)
class Found:
    """The spec without environmentRef, appName and content."""

    spec: Json
    mount: Mount


def read(name: str, body: Body, told: Told) -> Found | None:
    """Of the app called `name`, `body` as ARM has it; None where acaops couldn't run it: `told` says why."""
    properties = _object(body, "properties")
    template, config = _object(properties, "template"), _object(properties, "configuration")
    container = _container(name, template, told)
    mount = _mount(template, container, told) if container else None
    if container is None or mount is None:
        return None
    env, secrets = _env(container, config, told)
    spec = {
        "image": _said(container, "image", str, told),
        "workloadProfileName": properties.get("workloadProfileName") or desired.SERVERLESS,
        "commands": _commands(container, told),
        "release": "Mirror",
        "mountPath": mount.path,
        **({"secrets": secrets} if secrets else {}),
        **({"env": env} if env else {}),
        "resources": {
            "cpu": _said(_object(container, "resources"), "cpu", (int, float), told),
            "memory": _said(_object(container, "resources"), "memory", str, told),
        },
        "ingress": _ingress(config, told) | _sessions(config, _object(template, "scale")),
        "probes": "Keep",
        "revisionHistory": None,
        "scale": _scale(_object(template, "scale"), told),
        "terminationGracePeriod": _grace(template, told),
    }
    _untouched(body, config, template, told)
    return Found(spec, mount)


def _container(name: str, template: Body, told: Told) -> Body | None:
    """The one acaops will take for its own: called as the app, or the only one."""
    containers = _list(template, "containers")
    named = [one for one in containers if str(one.get("name")).lower() == name.lower()]
    if named or len(containers) == 1:
        return (named or containers)[0]
    have = ", ".join(str(one.get("name")) for one in containers) or "none"
    what = (
        f"there are {len(containers)} containers ({have}), and none is called {name}" if containers else "no container"
    )
    told.refuse(
        "containers", f"{what}; which one serves is known only of a container called as the app, or the only one"
    )
    return None


def _mount(template: Body, container: Body, told: Told) -> Mount | None:
    """The container's share. Other mounts stay as they are."""
    volumes = {str(one.get("name")): one for one in _list(template, "volumes")}
    shares = [
        (mount, volumes[str(mount.get("volumeName"))])
        for mount in _list(container, "volumeMounts")
        if str(volumes.get(str(mount.get("volumeName")), {}).get("storageType")).lower() == "azurefile"
    ]
    if not shares:
        told.refuse(
            "volumeMounts",
            "no Azure Files share is mounted through an environment storage, and acaops mounts one in every app",
        )
        return None
    mount, volume = shares[0]
    if mount.get("subPath"):
        told.refuse(
            "subPath",
            f"the mount {mount.get('mountPath')} shows only {mount['subPath']!r} of the share; mount the whole one",
        )
    if len(shares) > 1:
        told.warnings.append(
            f"of {len(shares)} mounted shares {mount.get('mountPath')} is taken; the others stay mounted"
        )
    path = _said(mount, "mountPath", str, told)
    return Mount(path, str(volume.get("name")), volume.get("storageName"), str(volume.get("mountOptions") or ""))


def _commands(container: Body, told: Told) -> list[str]:
    command, args = container.get("command"), container.get("args") or []
    if command is None or command == []:
        told.refuse(
            "command",
            "the container starts with the image's own command, which can't be read; give the container a command",
        )
        return []
    argv = [*command, *args] if isinstance(command, Sequence) and not isinstance(command, str) else [command]
    if not all(isinstance(word, str) for word in argv):
        told.refuse("command", "the container's command isn't known: it is made of more than text and parameters")
        return []
    found = shell.commands(argv)
    if found.forgiving:
        told.warnings.append(
            "the commands were joined by `;`, so that a failed one didn't matter; now it stops the start. "
            "Where that is meant, write `|| true` behind it"
        )
    told.notes += [f"`{line}` became `mkdir -p`: the folder is there already" for line in found.folders]
    if found.lines[0] == shell.BACK:
        told.notes.append(
            f"`{shell.BACK}` goes to the image's working folder; commands begin where the share is mounted"
        )
    return list(found.lines)


def _env(container: Body, config: Body, told: Told) -> tuple[list[Json], list[Json]]:
    """The variables, and the secrets they refer to: those of nobody else's business stay as they are."""
    stored = {str(one.get("name")): one for one in _list(config, "secrets")}
    declared: dict[str, str] = {}
    env: list[Json] = []
    if _list(container, "env") != (container.get("env") or []):
        told.refuse("env", "the variables aren't known; write each as a name and a value")
    for variable in _list(container, "env"):
        name, reference = str(variable.get("name")), variable.get("secretRef")
        if name.startswith("ACAOPS_"):
            told.notes.append(f"env {name} is left out: names beginning with ACAOPS_ are reserved")
        elif not reference:
            env.append({"name": name, "value": _text(variable, told)})
        elif not isinstance(reference, str):
            told.refuse("secretRef", f"env {name}: its secret isn't known; write the name as text")
        else:
            if (stored.get(reference) or {}).get("keyVaultUrl"):
                told.refuse(
                    "secretRef", f"env {name}: secret {reference} lies in a Key Vault, which isn't supported yet"
                )
            declared.setdefault(reference, _unique(_secret_name(reference), declared.values()))
            env.append({"name": name, "secretRef": declared[reference]})
    return env, list(_secrets(declared, told))


def _secrets(declared: Mapping[str, str], told: Told) -> Iterator[Json]:
    variables: list[str] = []
    for reference, name in declared.items():
        variables.append(_unique(re.sub(r"^(?=\d)|[^A-Z0-9]", "_", name.upper()), variables))
        told.warnings.append(
            f"set {variables[-1]} where the controller runs, to the value of the app's secret {reference}"
        )
        yield {"name": name, "fromEnv": variables[-1]}


def _ingress(config: Body, told: Told) -> Json:
    ingress = _object(config, "ingress")
    if not ingress:
        told.refuse("ingress", "the app has no ingress, and acaops gives one to every app; enable it first")
        return {}
    port = ingress.get("targetPort")
    if not isinstance(port, int) or port < 1:
        told.refuse("targetPort", f"the ingress has the target port {port!r}; set the one the app listens on")
    _single(config, ingress, told)
    return {"external": ingress.get("external") or False, "targetPort": port}


def _sessions(config: Body, scale: Body) -> Json:
    """As they are, where several replicas would get them by default."""
    if scale.get("maxReplicas") == 1:
        return {}
    affinity = _object(_object(config, "ingress"), "stickySessions").get("affinity")
    return {"sticky": str(affinity).lower() == "sticky"}


def _single(config: Body, ingress: Body, told: Told) -> None:
    mode = str(config.get("activeRevisionsMode") or "Single")
    if mode.lower() != "single":
        told.refuse(
            "activeRevisionsMode", f"the app has the revision mode {mode}; acaops knows Single only: set it first"
        )
    weights = [one for one in _list(ingress, "traffic") if one.get("weight")]
    if weights and not (len(weights) == 1 and weights[0].get("latestRevision")):
        told.refuse("traffic", "traffic goes by revision; acaops sends all of it to the latest: set that first")


def _scale(scale: Body, told: Told) -> Json:
    """Without an HTTP rule of its own the app keeps the rules it has, or the platform's."""
    most, least = scale.get("maxReplicas"), scale.get("minReplicas")
    rules = [rule for rule in _list(scale, "rules") if rule.get("http")]
    return {
        "minReplicas": 0 if least is None else least,
        "maxReplicas": MOST_REPLICAS if most is None else most,
        "concurrentRequests": _concurrent(rules[0], told) if rules else None,
    }


def _concurrent(rule: Body, told: Told) -> int | None:
    text = str(_object(_object(rule, "http"), "metadata").get("concurrentRequests") or "")
    if text.isdecimal() and int(text) > 0:
        return int(text)
    told.notes.append(f"scale rule {rule.get('name')} is left as it is")
    return None


def _grace(template: Body, told: Told) -> str:
    seconds = template.get("terminationGracePeriodSeconds")
    return f"{GRACE_SECONDS if seconds is None else seconds}s"


def _untouched(body: Body, config: Body, template: Body, told: Told) -> None:
    """What is set and stays, though the YAML doesn't say so."""
    kind = str(_object(body, "identity").get("type") or "None")
    there = {
        "identity": kind.lower() != "none",
        "registries": config.get("registries"),
        "ingress.ipSecurityRestrictions": _object(config, "ingress").get("ipSecurityRestrictions"),
        "dapr": config.get("dapr"),
        "initContainers": template.get("initContainers"),
    }
    for what in (name for name, value in there.items() if value):
        told.notes.append(f"{what}: not in the YAML; stays as it is in Azure")


def _text(variable: Body, told: Told) -> str:
    value = variable.get("value")
    if value is not None and not isinstance(value, str):
        told.refuse("env", f"env {variable.get('name')}: its value isn't known; write it as text")
        return ""
    return value or ""


def _secret_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:50].strip("-") or "secret"


def _unique(name: str, taken: Any) -> str:
    """`name`, with a number behind it where it is taken."""
    others = set(taken)
    numbered = (f"{name}{number}" for number in range(2, len(others) + 3))
    return next(one for one in (name, *numbered) if one not in others)


def _said(body: Body, key: str, kinds: type | tuple[type, ...], told: Told) -> Any:
    value = body.get(key)
    if isinstance(value, kinds) and value != "" and not isinstance(value, bool):
        return value
    told.refuse(key, f"{key} isn't known; write its value")
    return value


def _object(body: Body, key: str) -> Body:
    value = body.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(body: Body, key: str) -> list[Body]:
    value = body.get(key)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
