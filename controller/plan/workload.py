"""The steps for an InferenceApp: its content on the share, then the container app that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from controller.model import content, desired, identity, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, bodies, diff, stack, steps, template

TEMPLATE_PARTS = ("containers", "initContainers", "scale", "volumes", "terminationGracePeriodSeconds")
"""What of a template goes back in an update; the rest is the service's, or a suffix somebody set."""

NO_SHARE = outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waiting for the file share")
NO_CONTENT = outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waiting for the content to be on the share")


@dataclass(frozen=True)
class Release:
    """What of an app is decided before planning: its content and the values of its secrets."""

    content: content.Content
    secrets: Mapping[str, SecretStr]


@dataclass(frozen=True)
class App:
    """One InferenceApp with everything its plan depends on."""

    wanted: desired.InferenceApp
    owner: tags.Owner
    ids: identity.Ids
    seen: observed.Workload
    release: Release
    commit: str | None

    @property
    def name(self) -> str:
        return identity.app_name(self.wanted, group_id=self.ids.group)

    @property
    def id(self) -> str:
        return self.ids.app(self.name)

    @property
    def template(self) -> dict[str, Any]:
        """The owned part of the template, release included."""
        return template.template(
            self.wanted,
            container=_container_name(self.seen.app) or self.name,
            share=self.ids.names.share,
            storage=stack.storage_name(self.ids, self.seen.stack),
            owner=self.owner,
            digest=self.release.content.digest,
            stored=template.secret_names(self.release.secrets, app_id=self.id),
        )


def plan(app: App) -> tuple[actions.Step, ...]:
    """Content, container app."""
    publish = _content(app)
    made = steps.after(
        _container_app(app),
        ("environment", app.seen.stack.environment),
        ("environment storage", app.seen.stack.storage),
    )
    return publish, steps.block(made, NO_CONTENT) if publish.action else made


def _content(app: App) -> actions.Step:
    files, digest = app.release.content.files, app.release.content.digest
    path = template.bundle_path(app.owner, digest)
    made = actions.Step(Kind.CONTENT, digest[:12], f"{app.ids.share}#{path}")
    if not files:
        return made
    if app.wanted.spec.release == "Mirror":
        made = replace(made, action=_mirror(app, files))
    elif app.seen.published is None or not app.seen.published.release:
        reason = f"{len(files)} files, {app.release.content.size} bytes"
        made = replace(made, action=actions.Action("Upload", reason, path=path))
    return made if app.seen.published else steps.block(made, NO_SHARE)


def _mirror(app: App, files: Sequence[content.File]) -> actions.Action | None:
    """Only changed files; the manifest names all that may be ours while they are being written."""
    before = dict(app.seen.published.mirror or {}) if app.seen.published else {}
    after = {file.path: file.sha256 for file in files}
    put = tuple(file for file in files if before.get(file.path) != file.sha256)
    delete = tuple(path for path in before if path not in after)
    if not put and not delete:
        return None
    during = before | {file.path: "" for file in put}
    mirror = actions.Mirror(put, delete, template.mirror_path(app.owner), during, after)
    return actions.Action("Mirror", f"{len(put)} files to write, {len(delete)} to remove", mirror=mirror)


def _container_app(app: App) -> actions.Step:
    config = template.configuration(app.wanted, secrets=app.release.secrets, app_id=app.id)
    whole = template.wanted(
        app.wanted,
        location=steps.location(app.seen.stack.environment),
        environment_id=app.ids.environment,
        body=app.template,
        config=config,
    )
    whole = replace(whole, note={**whole.note, **_notes(app)})
    made = steps.owned(Kind.APP, app.id, whole, app.seen.app, owner=app.owner)
    if made.action is None or app.seen.app is None:
        return made
    return replace(made, action=_update(made.action, live=app.seen.app, wanted=whole.owned["properties"]))


def _notes(app: App) -> dict[str, str]:
    """Tags that ride along with a write: the commit, and the release that is healthy at the moment of the change."""
    found = {tags.COMMIT: app.commit} if app.commit else {}
    latest = app.seen.revision(str(app.seen.app.properties.get("latestRevisionName"))) if app.seen.app else None
    if latest is None or latest.properties.get("healthState") != "Healthy":
        return found
    healthy = template.release_of(latest.properties.get("template") or {})
    return found | ({tags.HEALTHY: healthy} if healthy else {})


def _update(action: actions.Action, *, live: observed.Resource, wanted: Mapping[str, Any]) -> actions.Action:
    """Only the parts that differ. A difference while the digest of the last write is still the wanted one is drift:
    somebody else made it."""
    parts = {part: value for part, value in wanted.items() if diff.changes({part: value}, live.properties)}
    if "configuration" in parts:
        parts["configuration"] = _configuration(wanted["configuration"], live)
    if "template" in parts:
        parts["template"] = _template(wanted["template"], live)
    drifted = live.tags.get(tags.APPLIED) == template.applied(wanted)
    body = {"tags": action.body["tags"], "properties": parts}
    return replace(action, reason="drift" if drifted else "changed", body=body)


def _template(wanted: Mapping[str, Any], live: observed.Resource) -> dict[str, Any]:
    """The whole template with what others put there; never with a revision suffix."""
    whole = diff.merged(wanted, live.properties.get("template"))
    return {key: whole[key] for key in TEMPLATE_PARTS if key in whole} | {"revisionSuffix": None}


def _configuration(wanted: Mapping[str, Any], live: observed.Resource) -> dict[str, Any]:
    """The owned keys; the service merges the others in. Secrets are an array, so all are sent: those of others and
    earlier ones of ours by what the service itself holds."""
    there = (live.properties.get("configuration") or {}).get("secrets") or []
    if "secrets" not in wanted:
        return dict(wanted)
    secrets = diff.merged(wanted["secrets"], there, key="secrets")
    return {**wanted, "secrets": [_sent(secret, live) for secret in secrets]}


def _sent(secret: Mapping[str, Any], live: observed.Resource) -> Mapping[str, Any]:
    if "value" in secret or "keyVaultUrl" in secret:
        return secret
    return {**secret, "value": actions.Lookup("app-secret", live.id, str(secret["name"]))}


def _container_name(live: observed.Resource | None) -> str | None:
    """An adopted app with one container keeps its container's name."""
    containers = (live.properties.get("template") or {}).get("containers") or [] if live else []
    return str(containers[0]["name"]) if len(containers) == 1 else None
