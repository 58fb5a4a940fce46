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

from controller.model import content, desired, releases, served, tags
from controller.plan import access, bodies, diff, ignoring, probes

Json = dict[str, Any]

RELEASE = "ACAOPS_RELEASE"
ATTEMPT = "ACAOPS_ATTEMPT"
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
    resources: tuple[float, str],
) -> Json:
    """The owned part of the app's template, which doesn't say yet which release it is. `container` and `rule` name the
    container and its HTTP scale rule, `stored` maps secret names to the names they are stored under, `resources` are
    a replica's cores and memory."""
    spec = app.spec
    volume = f"{share}volume"
    asked = {} if spec.probes == "Keep" else {"probes": probes.wanted(app)}
    cpu, memory = resources
    return {
        "containers": [
            {
                "name": container,
                "image": spec.image,
                "command": command(app, owner=owner, files=files),
                "env": [*(_variable(variable, stored) for variable in spec.env), *_served(spec)],
                "resources": {"cpu": cpu, "memory": memory},
                **asked,
                "volumeMounts": [{"volumeName": volume, "mountPath": spec.mount_path, "subPath": None}],
            }
        ],
        "scale": _scale(spec.scale, rule=rule),
        "volumes": [{"name": volume, "storageType": "AzureFile", "storageName": storage}],
        "terminationGracePeriodSeconds": math.ceil(spec.termination_grace_period),
    }


def named(body: Json, run: releases.Run) -> Json:
    """The template as that run of its release."""
    first, *rest = body["containers"]
    says = [{"name": RELEASE, "value": run.release}]
    says += [{"name": ATTEMPT, "value": str(run.attempt)}] if run.attempt > 1 else []
    return {**body, "containers": [{**first, "env": [*first["env"], *says]}, *rest]}


def release(app: desired.InferenceApp, body: Json, *, digest: str) -> str:
    """The release: 16 hex digits over the rendered template (without the release itself, and without what is left to
    others) and the content."""
    counted = ignoring.without({"properties": {"template": body}}, app.spec.ignored)["properties"]["template"]
    return tags.digest(json.dumps([counted, digest], sort_keys=True))


def run_of(revision_template: Mapping[str, Any]) -> releases.Run | None:
    """The run of a release that a template says it is."""
    for container in revision_template.get("containers") or ():
        said = {variable.get("name"): str(variable.get("value")) for variable in container.get("env") or ()}
        if RELEASE in said:
            attempt = said.get(ATTEMPT, "")
            return releases.Run(said[RELEASE], int(attempt) if attempt.isdecimal() and int(attempt) else 1)
    return None


def release_of(revision_template: Mapping[str, Any]) -> str | None:
    """The release a template says it is."""
    found = run_of(revision_template)
    return found.release if found else None


def configuration(app: desired.InferenceApp, *, secrets: Mapping[str, SecretStr], app_id: str) -> Json:
    """The owned part of the app's configuration, but for what a rollout decides: revision mode and traffic."""
    ingress, history = app.spec.ingress, app.spec.revision_history
    body: Json = {"ingress": {"external": ingress.external, "targetPort": ingress.target_port}}
    if app.spec.sticky:
        body["ingress"]["stickySessions"] = {"affinity": "sticky"}
    elif ingress.sticky is False or app.spec.rollout.beside:
        body["ingress"]["stickySessions"] = None
    if history is not None:
        body["maxInactiveRevisions"] = history
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


def _served(spec: desired.AppSpec) -> list[Json]:
    told = served.variables(spec.model, mount=spec.mount_path) if spec.model else {}
    return [{"name": name, "value": value} for name, value in told.items()]


def _variable(variable: desired.EnvVar, stored: Mapping[str, str]) -> Json:
    if variable.secret_ref is not None:
        return {"name": variable.name, "secretRef": stored[variable.secret_ref]}
    return {"name": variable.name, "value": variable.value}
