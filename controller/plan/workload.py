"""The steps for an InferenceApp: its content on the share, then the container app that runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from controller.model import content, desired, identity, observed, outcome, releases, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import (
    actions,
    bodies,
    diff,
    ignoring,
    machines,
    rollout,
    stack,
    steps,
    takeover,
    template,
    weights,
)

NO_SHARE = outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waiting for the file share")
NO_TEMPLATE = outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waiting for what the new revision needs")
NO_TRAFFIC = outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waiting for the container app")
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
    stands_on: desired.Environment
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
    def rendered(self) -> dict[str, Any]:
        """The owned part of the template, rendered once; which release it is isn't in it yet."""
        return template.template(
            self.wanted,
            container=_container_name(self.seen.app, name=self.name),
            rule=_rule_name(self.seen.app),
            share=self.ids.names.share,
            storage=stack.storage_name(self.ids, self.seen.stack),
            owner=self.owner,
            files=self.release.content,
            stored=template.secret_names(self.release.secrets, app_id=self.id),
            resources=machines.resources(self.wanted, self.stands_on),
        )

    @cached_property
    def rolled(self) -> rollout.Seen:
        return rollout.Seen(self.seen.app, self.seen.revisions)

    @cached_property
    def run(self) -> releases.Run:
        """The run that the desired state comes to."""
        name = template.release(self.wanted, self.rendered, digest=self.release.content.digest)
        return rollout.wanted(name, self.rolled)

    @cached_property
    def serving(self) -> releases.Run:
        """The run that is to serve: the same, or what was gone back to from it."""
        return rollout.effective(self.run, self.rolled)

    @property
    def rolls(self) -> bool:
        """Whether the app's template isn't the wanted release's yet, and is to become it."""
        return self.serving == self.run != self.rolled.run

    @property
    def candidate(self) -> observed.Resource | None:
        """The revision by which that is judged."""
        return self.rolled.candidate(self.serving)

    def course(self, judged: rollout.Judged | None) -> rollout.Course:
        """What to do next, given the verdict on the candidate."""
        return takeover.course(self.run, self.rolled, wish=self.wanted.spec.rollout, judged=judged, now=self.now)


def plan(app: App, course: rollout.Course) -> tuple[actions.Step, ...]:
    """Content, container app, and the revisions that are to be stopped."""
    publish = _content(app)
    made = steps.after(
        _container_app(app, course),
        ("environment", app.seen.stack.environment),
        ("environment storage", app.seen.stack.storage),
    )
    made = steps.block(made, NO_CONTENT) if publish.action else made
    made = steps.block(made, _no_model(app, made))
    before = _revisions(course.first, "Deactivate")
    after = (*_revisions((course.start,) if course.start else (), "Activate"), *_revisions(course.stop, "Deactivate"))
    if before and made.ready:
        made = steps.block(made, outcome.Waiting(Reason.ROLLING_OUT, "waiting for the old revision to stop"))
    elif before:
        before = steps.held(before, NO_TEMPLATE)
    if made.action or made.blocked:
        after = steps.held(after, NO_TRAFFIC)
    taken = steps.other_owner(app.owner, app.seen.app) if app.seen.app else None
    return steps.held((publish, *before, made, *after), taken)


def awaits_model(step: actions.Step) -> bool:
    """Whether it is held back until somebody has put the model on the share."""
    return isinstance(step.blocked, outcome.Waiting) and step.blocked.reason == Reason.MODEL_NOT_FOUND


def _no_model(app: App, made: actions.Step) -> outcome.Waiting | None:
    """Why a template isn't written yet: its app could only fail, with `Recreate` after the old one was stopped."""
    model, seen = app.wanted.spec.model, app.seen.weights
    if model is None or seen is None or not made.action or "template" not in made.action.body.get("properties", {}):
        return None
    lacking = next(weights.missing(model, seen), None)
    return outcome.Waiting(Reason.MODEL_NOT_FOUND, f"waiting for the model: {lacking}") if lacking else None


def _revisions(some: Sequence[observed.Resource], verb: actions.Verb) -> tuple[actions.Step, ...]:
    """To be stopped, because another one serves; to be started, because somebody stopped it."""
    action = actions.Action(verb, steps.DRIFT if verb == "Activate" else "superseded")
    return tuple(actions.Step(Kind.REVISION, one.name, one.id, action) for one in some)


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


def _container_app(app: App, course: rollout.Course) -> actions.Step:
    config = template.configuration(app.wanted, secrets=app.release.secrets, app_id=app.id)
    live = app.seen.app
    whole = template.wanted(
        app.wanted,
        location=steps.location(app.seen.stack.environment),
        environment_id=app.ids.environment,
        body=template.named(app.rendered, course.run if course.run.release == app.run.release else app.run),
        config=config,
        live=live.body if live else None,
    )
    whole = _steered(app, whole, course)
    note = {**whole.note, **_notes(app, course)}
    if course.kept and course.rejection is None and app.rolled.run != app.run:
        # Only a step on the way: the template follows, and that isn't drift.
        del note[tags.APPLIED]
    whole = replace(whole, note=note)
    made = steps.owned(Kind.APP, app.id, whole, live, owner=app.owner)
    if made.action and course.reason and made.action.reason != steps.ADOPTED:
        made = replace(made, action=replace(made.action, reason=course.reason))
    if live is None or (made.action is None and live.usable):
        return made
    if made.action is None:
        return steps.again(made, live, update=_all(whole, live=live), now=app.now)
    return replace(made, action=_update(app, made.action, live=live, whole=whole))


def _steered(app: App, whole: bodies.Wanted, course: rollout.Course) -> bodies.Wanted:
    """With what the rollout decides: which template, the revision mode, and where the traffic goes."""
    live = app.seen.app
    body = whole.create if live is None else whole.owned
    config = body["properties"]["configuration"]
    ingress = {**config["ingress"], **({"traffic": course.traffic} if course.traffic else {})}
    decided = {**config, "activeRevisionsMode": course.mode, "ingress": ingress}
    properties = {**body["properties"], "configuration": decided}
    if live is None:
        return replace(whole, create={**body, "properties": properties})
    if course.kept:
        del properties["template"]
    elif course.back is not None:
        properties["template"] = _restored(app, course, live=live)
    owned = ignoring.laid({**body, "properties": properties}, live.body, app.wanted.spec.ignored)
    return replace(whole, owned=owned, tags={**whole.tags, **course.tags})


def _restored(app: App, course: rollout.Course, *, live: observed.Resource) -> diff.Exactly:
    """A listed revision's template, but for what is left to others."""
    bare = {"properties": {"template": diff.bare(course.back)}}
    laid = ignoring.laid(bare, live.body, app.wanted.spec.ignored)["properties"]["template"]
    there = app.rolled.run
    before = f"release {there.said}" if there else None
    return diff.Exactly(laid, before=before, after=f"release {course.run.said}")


def _notes(app: App, course: rollout.Course) -> dict[str, str | None]:
    """Tags that ride along with a write: the commit, the release that is healthy at the moment of the change, and what
    the rollout remembers."""
    live, seen = app.seen.app, app.rolled
    found: dict[str, str | None] = {tags.COMMIT: app.commit} if app.commit else {}
    serving = seen.stable if seen.multiple else seen.latest
    run = rollout.run_of(serving) if serving else None
    if serving and run and serving.properties.get("healthState") == "Healthy" and not seen.rejected(run):
        found[tags.HEALTHY] = run.release
    there = live.tags if live else {}
    return found | {name: value for name, value in course.notes.items() if value is not None or tags.find(name, there)}


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
    if "template" in sent["properties"]:
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
