"""The steps for an InferenceApp: its content on the share, then the container app that runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from controller.model import content, desired, identity, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, bodies, diff, stack, steps, template

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
    now: datetime

    @property
    def name(self) -> str:
        return identity.app_name(self.wanted, group_id=self.ids.group)

    @property
    def id(self) -> str:
        return self.ids.app(self.name)

    @cached_property
    def template(self) -> Mapping[str, Any]:
        """The owned part of the template, release included; rendered once."""
        return template.template(
            self.wanted,
            container=_container_name(self.seen.app, name=self.name),
            rule=_rule_name(self.seen.app),
            share=self.ids.names.share,
            storage=stack.storage_name(self.ids, self.seen.stack),
            owner=self.owner,
            files=self.release.content,
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
    made = steps.block(made, NO_CONTENT) if publish.action else made
    taken = steps.other_owner(app.owner, app.seen.app) if app.seen.app else None
    return steps.held((publish, made), taken)


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
        made = replace(made, action=actions.Action("Upload", reason, path=path, keep=_bundles(app.seen)))
    if app.seen.published:
        return made
    return steps.block(made, stack.UNREADABLE if app.seen.stack.share and app.seen.stack.keys is None else NO_SHARE)


def _bundles(seen: observed.Workload) -> tuple[str, ...]:
    """The bundles that listed revisions, or the app's own template, start from: a rollback needs them."""
    words = _words([seen.app.properties if seen.app else None, [revision.properties for revision in seen.revisions]])
    return tuple(sorted({digest for word in words if (digest := template.bundle_digest(word))}))


def _mirror(app: App, files: Sequence[content.File]) -> actions.Action | None:
    """Only changed files; the manifest names all that may be ours while they are being written. A path that differs
    from a wanted one in case only is the same file to Azure Files, and not removed."""
    before = dict(app.seen.published.mirror or {}) if app.seen.published else {}
    after = {file.path: file.sha256 for file in files}
    put = tuple(file for file in files if before.get(file.path) != file.sha256)
    kept = {path.casefold() for path in after}
    delete = tuple(path for path in before if path.casefold() not in kept)
    if not put and not delete:
        return None
    # What is being removed too: a mirror cut short may have done it, and then be asked for it again.
    during = before | dict.fromkeys((*(file.path for file in put), *delete), "")
    mirror = actions.Mirror(put, delete, template.mirror_path(app.owner), during, after)
    return actions.Action("Mirror", f"{len(put)} files to write, {len(delete)} to remove", mirror=mirror)


def _container_app(app: App) -> actions.Step:
    config = template.configuration(app.wanted, secrets=app.release.secrets, app_id=app.id)
    live = app.seen.app
    whole = template.wanted(
        app.wanted,
        location=steps.location(app.seen.stack.environment),
        environment_id=app.ids.environment,
        body=app.template,
        config=config,
        live=live.body if live else None,
    )
    whole = replace(whole, note={**whole.note, **_notes(app)})
    made = steps.owned(Kind.APP, app.id, whole, live, owner=app.owner)
    if live is None or (made.action is None and live.usable):
        return made
    if made.action is None:
        return steps.again(made, live, update=_all(whole, live=live), now=app.now)
    return replace(made, action=_update(app, made.action, live=live, whole=whole))


def _notes(app: App) -> dict[str, str]:
    """Tags that ride along with a write: the commit, and the release that is healthy at the moment of the change."""
    found = {tags.COMMIT: app.commit} if app.commit else {}
    latest = app.seen.revision(str(app.seen.app.properties.get("latestRevisionName"))) if app.seen.app else None
    if latest is None or latest.properties.get("healthState") != "Healthy":
        return found
    healthy = template.release_of(latest.properties.get("template") or {})
    return found | ({tags.HEALTHY: healthy} if healthy else {})


def _update(app: App, action: actions.Action, *, live: observed.Resource, whole: bodies.Wanted) -> actions.Action:
    """Only what differs; of an identity its type too, which says what the ids are for. A template never goes out with a
    revision suffix somebody set."""
    body = dict(action.body)
    properties = dict(body.get("properties") or {})
    if "secrets" in properties.get("configuration", {}):
        secrets = _secrets(properties["configuration"]["secrets"], app=app, live=live)
        properties["configuration"] = {**properties["configuration"], "secrets": secrets}
    if "template" in properties:
        properties["template"] = {**properties["template"], "revisionSuffix": None}
    if "identity" in body:
        body["identity"] = {"type": whole.owned["identity"]["type"], **body["identity"]}
    return replace(action, body=body | ({"properties": properties} if properties else {}))


def _all(whole: bodies.Wanted, *, live: observed.Resource) -> Mapping[str, Any]:
    """All that is owned but for the secrets, which would have to be read: what failed is tried once more by it, and
    an equal template makes no revision."""
    properties = whole.owned["properties"]
    config = {name: part for name, part in properties["configuration"].items() if name != "secrets"}
    sent = diff.whole({**whole.owned, "properties": {**properties, "configuration": config}}, live.body)
    sent["properties"]["template"]["revisionSuffix"] = None
    return sent


def _secrets(merged: Sequence[Mapping[str, Any]], *, app: App, live: observed.Resource) -> list[Mapping[str, Any]]:
    """All secrets, as the array is replaced whole: those of others and earlier ones of ours by what the service itself
    holds. Earlier ones that nothing names any more are left out."""
    declared = "|".join(re.escape(name) for name in app.release.secrets)
    ours = re.compile(rf"({declared})-[0-9a-f]{{8}}")
    named = _words([live.properties.get("template"), [revision.properties for revision in app.seen.revisions]])
    named |= _words({**(live.properties.get("configuration") or {}), "secrets": None})
    return [
        _sent(secret, live)
        for secret in merged
        if "value" in secret or secret["name"] in named or not ours.fullmatch(str(secret["name"]))
    ]


def _words(value: Any) -> set[str]:
    """Every string in a JSON value."""
    if isinstance(value, Mapping):
        return _words(list(value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*(_words(item) for item in value))
    return {value} if isinstance(value, str) else set()


def _sent(secret: Mapping[str, Any], live: observed.Resource) -> Mapping[str, Any]:
    if "value" in secret or secret.get("keyVaultUrl"):
        return secret
    return {**secret, "value": actions.Lookup("app-secret", live.id, str(secret["name"]))}


def _containers(live: observed.Resource | None) -> Sequence[Mapping[str, Any]]:
    return (live.properties.get("template") or {}).get("containers") or () if live else ()


def _container_name(live: observed.Resource | None, *, name: str) -> str:
    """The container that runs a release of ours; in an adopted app the one named as the app, or the only one."""
    there = _containers(live)
    known = [one for one in there if template.release_of({"containers": [one]})]
    known += [one for one in there if str(one["name"]).lower() == name.lower()]
    known += there if len(there) == 1 else ()
    return str(known[0]["name"]) if known else name


def _rule_name(live: observed.Resource | None) -> str:
    """An adopted app keeps its HTTP scale rule's name: two such rules would scale against each other."""
    scale = (live.properties.get("template") or {}).get("scale") or {} if live else {}
    there = [str(rule["name"]) for rule in scale.get("rules") or () if rule.get("http")]
    return there[0] if there and template.RULE not in there else template.RULE
