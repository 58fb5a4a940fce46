"""The two kinds of objects as the pass sees them: how each is observed and planned, and what became of it.

A `View` is one object at one moment: what is wanted, what was seen, what would be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from controller import apply, diagnosis, health, judging, memory, observe
from controller.cloud import port
from controller.model import content, desired, identity, moments, observed, outcome, releases
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, planner, steps, template, workload
from controller.sources import content as folders
from controller.sources import manifest
from controller.sources import secrets as secret_values
from controller.status import store, summarize

INTERVAL = 600.0
"""Seconds between looks at an Environment that is as wanted."""

WATCHED, LOOKS_PER_AGE = 1.0, 10
"""Seconds between looks at a release that may be gone back from: at least, and in parts of its age."""

TIMEOUT = 300.0
"""The most seconds one pass over an Environment may take."""


def timeout(wanted: desired.Environment | desired.InferenceApp) -> float:
    """The most seconds one pass may take."""
    return wanted.spec.timeout if isinstance(wanted, desired.InferenceApp) else TIMEOUT


def interval(wanted: desired.Environment | desired.InferenceApp, view: View | None, *, now: datetime) -> float:
    """Seconds until the next look at an object that is as wanted; not past the end of its suspension, and soon at a
    release that just began to serve: the younger it is, the sooner."""
    usual = wanted.spec.interval if isinstance(wanted, desired.InferenceApp) else INTERVAL
    paused = suspended(wanted, now=now)
    if paused is not None and paused.until is not None:
        usual = min(usual, (paused.until - now).total_seconds())
    began = view.trial.watched if view and view.trial else None
    return usual if began is None else min(usual, max(WATCHED, (now - began).total_seconds() / LOOKS_PER_AGE))


def suspended(wanted: desired.Environment | desired.InferenceApp, *, now: datetime) -> store.Suspended | None:
    """Why nothing is written for the object at the moment; None where it isn't suspended."""
    asked = wanted.spec.suspend if isinstance(wanted, desired.InferenceApp) else None
    if asked is None or not asked.in_force(now):
        return None
    return store.Suspended(asked.reason, asked.until)


def notes(wanted: desired.Environment | desired.InferenceApp, *, now: datetime) -> tuple[summarize.StepReport, ...]:
    """What a reader of a status should know before the rest of it: that nothing is written, and why."""
    paused = suspended(wanted, now=now)
    if paused is not None:
        until = f" until {moments.rfc3339(paused.until)}" if paused.until else ""
        return (summarize.StepReport("suspend", "", "", outcome.Done(f"suspended{until}: {paused.reason}")),)
    if wanted.spec.mode == "Observe":
        return (summarize.StepReport("mode", "", "", outcome.Done("mode Observe: nothing is written")),)
    return ()


def depends_on(wanted: desired.Environment | desired.InferenceApp) -> Sequence[str]:
    """The names of the apps that must be Ready before anything is written for this one."""
    return wanted.spec.depends_on if isinstance(wanted, desired.InferenceApp) else ()


@dataclass(frozen=True)
class View:
    """One object's plan and what it rests on. `pack` writes the app's bundle to a path. `seen`, `trial` and `basis` are
    an app's, None for an Environment."""

    cloud: port.Cloud
    ids: identity.Ids
    stack: observed.Stack
    plan: actions.Plan
    pack: apply.Pack
    seen: observed.Workload | None = None
    trial: memory.Trial | None = None
    basis: memory.Basis | None = None

    @property
    def endpoint(self) -> str | None:
        """Where the app answers."""
        return observe.endpoint(self.seen) if self.seen else None

    @property
    def live(self) -> Mapping[Kind, observed.Resource | None]:
        """What was seen, by kind."""
        stack = self.stack
        return {
            Kind.GROUP: stack.group,
            Kind.ACCOUNT: stack.account,
            Kind.FILE_SERVICE: stack.file_service,
            Kind.SHARE: stack.share,
            Kind.WORKSPACE: stack.workspace,
            Kind.ENVIRONMENT: stack.environment,
            Kind.STORAGE: stack.storage,
            Kind.APP: self.seen.app if self.seen else None,
        }


async def environment(cloud: port.Cloud, wanted: desired.Environment, *, scope: planner.Scope, now: datetime) -> View:
    """Observe and plan an Environment."""
    ids, group = await observe.ids(cloud, wanted)
    stack = await observe.storages(cloud, ids, await observe.stack(cloud, ids, group))
    plan = planner.environment(wanted, scope=scope, ids=ids, seen=stack, now=now)
    return View(cloud, ids, stack, plan, _no_bundle)


async def app(
    cloud: port.Cloud,
    loaded: manifest.LoadedApp,
    *,
    stands_on: desired.Environment,
    scope: planner.Scope,
    known: memory.Memory,
    now: datetime,
) -> View:
    """Observe and plan an InferenceApp: its own folders first, then Azure. Where all that is cheap to see is as it was
    when nothing was to be done, that still holds."""
    wanted = loaded.object
    release = await _release(loaded, known=known)
    ids, group = await observe.ids(cloud, stands_on)
    stack, live = await observe.standing(cloud, wanted, ids=ids, group=group)
    basis = memory.Basis(wanted, stands_on, release.content.digest, release.secrets, stack, live)
    resting = known.resting(loaded.name, basis)
    if resting and resting.looks:
        return View(cloud, ids, stack, resting.plan, _no_bundle, resting.seen, resting.trial, basis)
    owner = scope.owner(wanted)
    bundle, mirror = template.bundle_path(owner, release.content.digest), template.mirror_path(owner)
    seen = await observe.workload(cloud, wanted, ids=ids, stack=stack, live=live, bundle=bundle, mirror=mirror)
    if resting and resting.seen == seen:
        return View(cloud, ids, stack, resting.plan, _no_bundle, seen, resting.trial, basis)
    one = planner.subject(wanted, stands_on=stands_on, scope=scope, ids=ids, seen=seen, release=release, now=now)
    one = await _with_weights(cloud, one)
    seen, trial = await judging.tried(cloud, one, known=known)
    plan = planner.app(one, scope=scope, course=trial.course)
    if _left(plan):
        trial = judging.found(one, trial, known=known)
    return View(cloud, ids, stack, plan, lambda path: _pack(release.content, path, loaded), seen, trial, basis)


async def _with_weights(cloud: port.Cloud, one: workload.App) -> workload.App:
    """With what lies in the folders of its model, where a new release is about to be written."""
    model = one.wanted.spec.model
    if model is None or not one.rolls:
        return one
    found = await observe.model(cloud, model, ids=one.ids, stack=one.seen.stack)
    return replace(one, seen=replace(one.seen, weights=found))


def _left(plan: actions.Plan) -> bool:
    """Whether the app is left as it is although it differs."""
    return any(step.left for step in plan.steps if step.kind is Kind.APP)


def judge(view: View, applied: Mapping[str, outcome.Outcome]) -> tuple[summarize.StepReport, ...]:
    """What became of each step: what its action came to, what blocked it, or the resource's own health."""
    reports = [_report(step, view, applied) for step in view.plan.steps]
    if view.trial and view.seen:
        reports.append(_rollout(view, view.trial, view.seen, reports))
    return tuple(reports)


def held(view: View, why: outcome.Outcome) -> View:
    """The same with every write held back."""
    return replace(view, plan=actions.Plan(steps.held(view.plan.steps, why)))


_REASONS = {releases.UNDONE: Reason.REJECTED}

IN_TURN = (Kind.ENVIRONMENT, Kind.APP, Kind.REVISION)
"""Kinds of which one in a managed environment is written at a time."""


def in_turn(view: View) -> tuple[str, ...]:
    """What is ready to be written when it is the object's turn: ids."""
    return tuple(step.resource_id for step in view.plan.ready if step.kind in IN_TURN)


def out_of_turn(view: View, why: outcome.Outcome) -> View:
    """The same with that held back."""
    made = (steps.block(step, why) if step.kind in IN_TURN and step.action else step for step in view.plan.steps)
    return replace(view, plan=actions.Plan(tuple(made)))


def rests(view: View, judged: Sequence[summarize.StepReport]) -> bool:
    """Whether another look finds the same until what is cheap to see changes: nothing is left to do, or there is no app
    yet and nothing to be uploaded that could be, by us or by others."""
    if (view.trial and view.trial.watched) or any(workload.awaits_model(step) for step in view.plan.steps):
        return False
    if any(step.left or (step.ready and step.kind is Kind.CONTENT) for step in view.plan.steps):
        return False
    done = all(isinstance(step.outcome, outcome.Done) and not step.verb for step in judged)
    return done or (view.seen is not None and view.seen.app is None)


def moving(view: View) -> bool:
    """Whether an operation is in flight on the object's own app or environment."""
    live = view.live[Kind.APP if view.seen else Kind.ENVIRONMENT]
    return live is not None and not live.settled


def drift(view: View) -> tuple[store.Drift, ...]:
    """The fields that somebody else changed."""
    found = [
        store.Drift(step.kind.label, change.path, left=not step.action)
        for step in view.plan.steps
        for change in (*step.left, *(step.action.changes if step.action and step.action.reason == "drift" else ()))
    ]
    return tuple(found)


def serving(view: View) -> str | None:
    """The name of the revision that is judged, else of the latest one."""
    if view.trial and view.trial.candidate:
        return view.trial.candidate.name
    return str(view.seen.app.properties.get("latestRevisionName") or "") if view.seen and view.seen.app else None


def failure(view: View, *, now: datetime) -> store.Failure | None:
    """What was found wrong with the release that is judged; None where nothing was, or it was gone back from before."""
    trial = view.trial
    if trial is None or trial.candidate is None or trial.serving is None or trial.serving != trial.wanted:
        return None
    if not isinstance(trial.verdict, outcome.Stalled):
        return None
    cause, verdict = trial.cause, trial.verdict
    return store.Failure(
        release=trial.wanted.release,
        attempt=trial.wanted.attempt,
        revision=trial.candidate.name,
        cause=verdict.reason,
        message=verdict.message,
        evidence=cause.evidence if cause else (),
        log=view.seen.log if view.seen else (),
        when=now,
        rejected=trial.course.rejection is not None,
    )


def _report(step: actions.Step, view: View, applied: Mapping[str, outcome.Outcome]) -> summarize.StepReport:
    if step.resource_id in applied and step.action:
        return summarize.StepReport(step.kind.label, step.resource_id, step.action.verb, applied[step.resource_id])
    if step.blocked:
        return summarize.StepReport(step.kind.label, step.resource_id, "", step.blocked)
    if step.action:
        pending = outcome.Waiting(Reason.PROGRESSING, f"{step.action.verb} is pending: {step.action.reason}")
        return summarize.StepReport(step.kind.label, step.resource_id, "", pending)
    verdict = outcome.Done() if step.kind is Kind.CONTENT else health.resource(step.kind, view.live[step.kind])
    if step.left and isinstance(verdict, outcome.Done):
        verdict = outcome.Done(f"left alone: {', '.join(change.path for change in step.left)}")
    return summarize.StepReport(step.kind.label, step.resource_id, "", verdict)


def _rollout(
    view: View, trial: memory.Trial, seen: observed.Workload, reports: list[summarize.StepReport]
) -> summarize.StepReport:
    """What became of the release. That it failed or was rejected is told whatever else is under way."""
    name, course = serving(view) or "", trial.course
    resource = f"{seen.app.id}/revisions/{name}" if seen.app else name
    rejection = course.rejection
    verdict = trial.verdict
    if course.holds:
        verdict = course.holds
    elif seen.app is not None and trial.cause is not None and diagnosis.waits(trial.cause):
        # An image that can't be pulled holds the app's operation open: what for is told meanwhile.
        return summarize.StepReport(Kind.REVISION.label, resource, "", verdict)
    elif not all(isinstance(report.outcome, outcome.Done) for report in reports) or seen.app is None:
        waiting = outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waiting for the container app")
        return summarize.StepReport(Kind.REVISION.label, name, "", waiting)
    elif rejection and isinstance(verdict, outcome.Done):
        told = f"release {rejection.run.said} was rejected: {rejection.cause}; {verdict.message}"
        verdict = outcome.Stalled(_REASONS.get(rejection.cause, rejection.cause), told, slowly=True)
    return summarize.StepReport(Kind.REVISION.label, resource, "", verdict)


async def _release(loaded: manifest.LoadedApp, *, known: memory.Memory) -> workload.Release:
    """The app's own part: nothing is written for it until its content and its secrets can be read whole."""
    try:
        files = await known.collected(loaded)
        secrets = secret_values.resolve_all
        in_files = any(secret.from_file for secret in loaded.object.spec.secrets)
        return workload.Release(files, await asyncio.to_thread(secrets, loaded) if in_files else secrets(loaded))
    except folders.ContentError as error:
        raise outcome.OutcomeError(_unreadable(error, loaded)) from error
    except secret_values.SecretError as error:
        raise outcome.OutcomeError(outcome.Stalled(Reason.SECRET_NOT_FOUND, str(error), slowly=True)) from error


def _pack(wanted: content.Content, path: Path, loaded: manifest.LoadedApp) -> None:
    """Write the bundle; content that changed since it was looked at is looked at again. Blocking."""
    try:
        folders.bundle(wanted, path)
    except folders.ContentError as error:
        raise outcome.OutcomeError(_unreadable(error, loaded)) from error


def _unreadable(error: folders.ContentError, loaded: manifest.LoadedApp) -> outcome.Outcome:
    if error.retriable:
        return outcome.Transient(Reason.INVALID_CONTENT, loaded.shown(str(error)))
    return outcome.Stalled(Reason.INVALID_CONTENT, loaded.shown(str(error)), slowly=True)


def _no_bundle(path: Path) -> None:
    raise AssertionError(f"there is no content to pack into {path}: nothing is to be uploaded")
