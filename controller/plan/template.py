"""An InferenceApp as a container app: template, configuration, and the release digest that names them.

The release is the digest of the rendered template with the content in it; it stands in the template's own env
(`ACAOPS_RELEASE`), so that a revision says which release it is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from controller.model import content, desired, tags
from controller.plan import access, bodies, diff, ignoring

Json = dict[str, Any]

RELEASE = "ACAOPS_RELEASE"
PROBE_FAILURES = 10
"""The most failures a probe may allow (Container Apps API reference)."""

RULE = "http"
"""What the HTTP scale rule is called."""

_BUNDLE = re.compile(r"\b([0-9a-f]{64})\.tar\.gz\b")

_SIMPLE = re.compile(r"([A-Za-z0-9_./~-]+)(?: [^;&|<>()`#\\\n]*)?")
"""One command and its words, which mean the same with `&&` after them."""

_NOT_PROGRAMS = (".", "builtin", "cd", "command", "eval", "exec", "export", "set", "source", "time", "trap", "wait")
"""First words that bash knows by itself and a line that serves may well begin with."""

UNPACK = """\
set -e
releases="${{TMPDIR:-/tmp}}/acaops"
release="$releases/{digest}"
if [ ! -d "$release" ]; then
  mkdir -p "$releases"
  fresh=$(mktemp -d "$releases/.{short}.XXXXXX")
  tar -xzf {archive} -C "$fresh"
  cd "$fresh"
  echo "{digest}  .acaops-manifest" | sha256sum -c --quiet -
  sha256sum -c --quiet .acaops-manifest
  if [ "$(find . ! -type d | wc -l)" != {count} ] || [ "$(find . -type f | wc -l)" != {count} ]; then
    echo "the bundle holds more than its manifest says" >&2
    exit 1
  fi
  chmod 755 "$fresh"
  mv -T "$fresh" "$release" || rm -rf "$fresh"
fi
cd "$release"
"""
"""Unpacking to local disk, whole, verified and nothing else, or not at all: SMB is slow for small files and mmap."""


def releases_folder(owner: tags.Owner) -> str:
    """Where an app's bundles lie on the share."""
    return f".acaops/{owner.inventory}/{owner.name}/releases"


def bundle_path(owner: tags.Owner, digest: str) -> str:
    return f"{releases_folder(owner)}/{digest}.tar.gz"


def bundle_digest(text: str) -> str | None:
    """The digest in a bundle's file name, or in a start command that names one."""
    found = _BUNDLE.search(text)
    return found[1] if found else None


def mirror_path(owner: tags.Owner) -> str:
    """Where an app's mirror manifest lies on the share."""
    return f".acaops/{owner.inventory}/{owner.name}/mirror.json"


def secret_name(name: str, value: SecretStr, *, app_id: str) -> str:
    """`<name>-<8 hex>`: a new value is a new name, hence a new revision, and a rollback finds its old value."""
    mac = hmac.new(app_id.lower().encode(), value.get_secret_value().encode(), hashlib.sha256)
    return f"{name}-{mac.hexdigest()[:8]}"


def secret_names(secrets: Mapping[str, SecretStr], *, app_id: str) -> dict[str, str]:
    """Declared name -> stored name."""
    return {name: secret_name(name, value, app_id=app_id) for name, value in secrets.items()}


def command(app: desired.InferenceApp, *, owner: tags.Owner, files: content.Content) -> list[str]:
    """The container's command: for a bundle, unpack and go there; then the commands, the last one by exec."""
    spec = app.spec
    run = " && ".join([*map(_line, spec.commands[:-1]), _exec(spec.commands[-1])])
    if spec.release == "Mirror" or not files.files:
        return ["/bin/bash", "-c", f"cd {shlex.quote(spec.mount_path)} && {run}"]
    unpack = UNPACK.format(
        short=files.digest[:8],
        archive=shlex.quote(f"{spec.mount_path}/{bundle_path(owner, files.digest)}"),
        digest=files.digest,
        count=len(files.files) + 1,
    )
    return ["/bin/bash", "-c", unpack + run + "\n"]


def _line(line: str) -> str:
    """A line with its own lists, comments or background jobs stays one command to what comes after it."""
    return line if _SIMPLE.fullmatch(line) else f"{{ {line}\n}}"


def _exec(line: str) -> str:
    """`exec` gives the last command the container's SIGTERM; what isn't one program runs in a shell of its own."""
    simple = _SIMPLE.fullmatch(line)
    if simple and simple[1] not in _NOT_PROGRAMS:
        return f"exec {line}"
    return f"exec /bin/bash -c {shlex.quote(line)}"


def probes(app: desired.InferenceApp) -> list[Json]:
    """Startup and liveness ask whether the port is open; readiness asks the rollout check's path, if there is one.

    The start-up budget is spread over the most failures the service allows. A probe asks in one way only, so the
    other is asked to be absent.
    """
    spec = app.spec
    port = spec.ingress.target_port
    tcp: Json = {"tcpSocket": {"port": port}, "httpGet": None}
    check = spec.rollout.check
    asked = {"path": check.path, "port": port, "scheme": "HTTP"} if check else None
    ready: Json = {"tcpSocket": None, "httpGet": asked} if asked else tcp
    period = math.ceil(spec.startup_budget / PROBE_FAILURES)
    return [
        {"type": "Startup", **tcp, "periodSeconds": max(1, period), "failureThreshold": PROBE_FAILURES},
        {"type": "Readiness", **ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        {"type": "Liveness", **tcp, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    ]


def template(
    app: desired.InferenceApp,
    *,
    container: str,
    rule: str,
    share: str,
    storage: str,
    owner: tags.Owner,
    files: content.Content,
    stored: Mapping[str, str],
) -> Json:
    """The owned part of the app's template. `container` and `rule` name the container and its HTTP scale rule, `stored`
    maps secret names to the names they are stored under."""
    spec = app.spec
    volume = f"{share}volume"
    asked = {} if spec.probes == "Keep" else {"probes": probes(app)}
    body: Json = {
        "containers": [
            {
                "name": container,
                "image": spec.image,
                "command": command(app, owner=owner, files=files),
                "env": [_variable(variable, stored) for variable in spec.env],
                "resources": {"cpu": spec.resources.cpu, "memory": spec.resources.memory},
                **asked,
                "volumeMounts": [{"volumeName": volume, "mountPath": spec.mount_path, "subPath": None}],
            }
        ],
        "scale": _scale(spec.scale, rule=rule),
        "volumes": [{"name": volume, "storageType": "AzureFile", "storageName": storage}],
        "terminationGracePeriodSeconds": math.ceil(spec.termination_grace_period),
    }
    counted = ignoring.without({"properties": {"template": body}}, spec.ignored)["properties"]["template"]
    named = {"name": RELEASE, "value": release(counted, digest=files.digest)}
    body["containers"][0]["env"].append(named)
    return body


def release(body: Mapping[str, Any], *, digest: str) -> str:
    """The release: 16 hex digits over the rendered template (without the release itself) and the content."""
    return tags.digest(json.dumps([body, digest], sort_keys=True))


def release_of(revision_template: Mapping[str, Any]) -> str | None:
    """The release a template says it is."""
    for container in revision_template.get("containers") or ():
        for variable in container.get("env") or ():
            if variable.get("name") == RELEASE:
                return str(variable.get("value"))
    return None


def configuration(app: desired.InferenceApp, *, secrets: Mapping[str, SecretStr], app_id: str) -> Json:
    """The owned part of the app's configuration."""
    ingress = app.spec.ingress
    body: Json = {
        "activeRevisionsMode": "Single",
        "ingress": {
            "external": ingress.external,
            "targetPort": ingress.target_port,
            "traffic": [{"weight": 100, "latestRevision": True}],
        },
    }
    if app.spec.registries:
        body["registries"] = access.registries(app.spec.registries)
    if secrets:
        stored = secret_names(secrets, app_id=app_id)
        body["secrets"] = [{"name": stored[name], "value": value} for name, value in secrets.items()]
    return body


def wanted(
    app: desired.InferenceApp,
    *,
    location: str | None,
    environment_id: str,
    body: Mapping[str, Any],
    config: Json,
    live: Mapping[str, Any] | None,
) -> bodies.Wanted:
    """The whole container app to create; or what of `live`, where it is there, is owned and not left to others."""
    identity = access.identity(app.spec.identity)
    properties = {
        "workloadProfileName": app.spec.workload_profile_name,
        "configuration": config,
        "template": body,
    }
    owned = ({"identity": identity} if identity else {}) | {
        "properties": properties,
        "tags": {**app.spec.tags, tags.DELETION: app.spec.deletion_policy},
    }
    record = ignoring.without(owned, app.spec.ignored)
    if live is None:
        made = {"location": location, "properties": {"environmentId": environment_id, **diff.merged(properties, {})}}
        create = made | ({"identity": identity} if identity else {})
        return bodies.Wanted(create=create, tags=owned["tags"]).recorded(record)
    there = {"identity": access.identity(app.spec.identity, live.get("identity"))} if identity else {}
    ours = ignoring.laid(owned | there, live, app.spec.ignored)
    return bodies.Wanted(
        create={},
        owned={name: part for name, part in ours.items() if name != "tags"},
        immutable={"properties": {"environmentId": environment_id}},
        tags=ours["tags"],
    ).recorded(record)


def published(files: tuple[content.File, ...]) -> dict[str, str]:
    """The mirror manifest of `files`: sha256 by path."""
    return {file.path: file.sha256 for file in files}


def _scale(scale: desired.Scale, *, rule: str) -> Json:
    body: Json = {"minReplicas": scale.min_replicas, "maxReplicas": scale.max_replicas}
    if scale.concurrent_requests is None:
        return body
    metadata = {"concurrentRequests": str(scale.concurrent_requests)}
    return body | {"rules": [{"name": rule, "http": {"metadata": metadata}}]}


def _variable(variable: desired.EnvVar, stored: Mapping[str, str]) -> Json:
    if variable.secret_ref is not None:
        return {"name": variable.name, "secretRef": stored[variable.secret_ref]}
    return {"name": variable.name, "value": variable.value}
