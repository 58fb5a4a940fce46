"""The two kinds of objects as the pass sees them: how each is observed, planned and judged.

A `View` is one object at one moment: what is wanted, what was seen, what would be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from controller import apply, health, memory, observe
from controller.cloud import port
from controller.model import content, desired, identity, moments, observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, planner, steps, template, workload
from controller.sources import content as folders
from controller.sources import manifest
from controller.sources import secrets as secret_values
from controller.status import store, summarize

INTERVAL = 600.0
"""Seconds between looks at an Environment that is as wanted."""

TIMEOUT = 300.0
"""The most seconds one pass over an Environment may take."""


def timeout(wanted: desired.Environment | desired.InferenceApp) -> float:
    """The most seconds one pass may take."""
    return wanted.spec.timeout if isinstance(wanted, desired.InferenceApp) else TIMEOUT


def interval(wanted: desired.Environment | desired.InferenceApp, *, now: datetime) -> float:
    """Seconds until the next look at an object that is as wanted; not past the end of its suspension."""
    usual = wanted.spec.interval if isinstance(wanted, desired.InferenceApp) else INTERVAL
    paused = suspended(wanted, now=now)
    return usual if paused is None or paused.until is None else min(usual, (paused.until - now).total_seconds())


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
    """One object's plan and what it rests on. `pack` writes the app's bundle to a path. `seen`,
    `rollout` and `basis` are an app's, None for an Environment."""

    cloud: port.Cloud
    ids: identity.Ids
    stack: observed.Stack
    plan: actions.Plan
    pack: apply.Pack
    seen: observed.Workload | None = None
    rollout: health.Rollout | None = None
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
        return View(cloud, ids, stack, resting.plan, _no_bundle, resting.seen, resting.rollout, basis)
    owner = scope.owner(wanted)
    bundle, mirror = template.bundle_path(owner, release.content.digest), template.mirror_path(owner)
    seen = await observe.workload(cloud, wanted, ids=ids, stack=stack, live=live, bundle=bundle, mirror=mirror)
    if resting and resting.seen == seen:
        return View(cloud, ids, stack, resting.plan, _no_bundle, seen, resting.rollout, basis)
    plan, name = planner.app(wanted, stands_on=stands_on, scope=scope, ids=ids, seen=seen, release=release, now=now)
    rollout = _wanted_rollout(wanted, name) if not _left(plan) else _found_rollout(wanted, seen)
    view = View(cloud, ids, stack, plan, lambda path: _pack(release.content, path, loaded), seen, rollout, basis)
    return await _checked(view, wanted, known=known, now=now)


def _wanted_rollout(wanted: desired.InferenceApp, release: str) -> health.Rollout:
    check = wanted.spec.rollout.check
    return health.Rollout(release, wanted.spec.rollout.deadline, check.successes if check else 0, streak=0)


def _found_rollout(wanted: desired.InferenceApp, seen: observed.Workload) -> health.Rollout:
    """What runs isn't what is wanted, and is left so: it is judged by the platform's health alone."""
    latest = str(seen.app.properties.get("latestRevisionName")) if seen.app else ""
    return health.Rollout(_running(seen, latest) or "", wanted.spec.rollout.deadline, successes=0, streak=0)


def _left(plan: actions.Plan) -> bool:
    """Whether the app is left as it is although it differs."""
    return any(step.left for step in plan.steps if step.kind is Kind.APP)


def judge(view: View, applied: Mapping[str, outcome.Outcome], *, now: datetime) -> tuple[summarize.StepReport, ...]:
    """What became of each step: what its action came to, what blocked it, or the resource's own health."""
    reports = [_report(step, view, applied) for step in view.plan.steps]
    if view.rollout and view.seen:
        reports.append(_rollout(view, view.rollout, view.seen, reports, now=now))
    return tuple(reports)


def held(view: View, why: outcome.Outcome) -> View:
    """The same with every write held back."""
    return replace(view, plan=actions.Plan(steps.held(view.plan.steps, why)))


IN_TURN = (Kind.ENVIRONMENT, Kind.APP)
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
    yet and nothing to be uploaded that could be."""
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
    """The name of the latest revision."""
    return str(view.seen.app.properties.get("latestRevisionName") or "") if view.seen and view.seen.app else None


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
    view: View,
    rollout: health.Rollout,
    seen: observed.Workload,
    reports: list[summarize.StepReport],
    *,
    now: datetime,
) -> summarize.StepReport:
    name = serving(view) or ""
    if not all(isinstance(report.outcome, outcome.Done) for report in reports) or seen.app is None:
        waiting = outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waiting for the container app")
        return summarize.StepReport(Kind.REVISION.label, name, "", waiting)
    running = rollout.release if _left(view.plan) else _running(seen, name)
    verdict = health.revision(rollout, seen, name=name, running=running, now=now)
    return summarize.StepReport(Kind.REVISION.label, f"{seen.app.id}/revisions/{name}", "", verdict)


def _running(seen: observed.Workload, name: str) -> str | None:
    live = seen.revision(name)
    return template.release_of(live.properties.get("template") or {}) if live else None


async def _checked(view: View, wanted: desired.InferenceApp, *, known: memory.Memory, now: datetime) -> View:
    """Ask the endpoint once, where a rollout is being judged, and count answers in a row."""
    seen, rollout, check = view.seen, view.rollout, wanted.spec.rollout.check
    name = serving(view)
    live = seen.revision(name) if seen else None
    if seen is None or rollout is None or check is None or live is None or view.plan.pending:
        return view
    if not health.healthy(live) or _running(seen, live.name) != rollout.release:
        return view
    streak = known.streaks.setdefault(str(seen.app.id if seen.app else ""), memory.Streak())
    if (streak.release, streak.revision) != (rollout.release, live.name):
        streak.release, streak.revision, streak.count, streak.at = rollout.release, live.name, 0, None
    if streak.at is not None and (now - streak.at).total_seconds() < check.period:
        return replace(view, rollout=replace(rollout, streak=streak.count))
    if streak.count < rollout.successes:
        seen = await observe.check(view.cloud, wanted, seen)
        streak.count = streak.count + 1 if health.answers(seen.check, rollout.release) else 0
        streak.at = now
    return replace(view, seen=seen, rollout=replace(rollout, streak=streak.count))


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
