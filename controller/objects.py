"""The two kinds of objects as the pass sees them: how each is observed, planned and judged.

A `View` is one object at one moment: what is wanted, what was seen, what would be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from controller import apply, diagnosis, health, memory, observe
from controller.cloud import port
from controller.model import content, desired, identity, moments, observed, outcome, releases
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, planner, steps, template, workload
from controller.plan import rollout as rollouts
from controller.sources import content as folders
from controller.sources import manifest
from controller.sources import secrets as secret_values
from controller.status import store, summarize
from controller.telemetry import log as logs

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
    seen, trial = await _tried(cloud, one, known=known)
    plan = planner.app(one, scope=scope, course=trial.course)
    if _left(plan):
        trial = _found(one, trial, known=known)
    return View(cloud, ids, stack, plan, lambda path: _pack(release.content, path, loaded), seen, trial, basis)


async def _tried(
    cloud: port.Cloud, one: workload.App, *, known: memory.Memory
) -> tuple[observed.Workload, memory.Trial]:
    """The verdict on what is to serve, and what follows from it."""
    candidate, seen = one.candidate, one.seen
    check = one.wanted.spec.rollout.check
    rollout = health.Rollout(one.serving.release, one.wanted.spec.rollout.deadline, check.successes if check else 0, 0)
    if candidate is not None and check is not None and health.healthy(candidate):
        seen, streak = await _checked(cloud, one, candidate, known=known)
        rollout = replace(rollout, streak=streak)
    troubled = candidate is not None and _troubled(candidate, rollout, now=one.now)
    if candidate is not None and troubled:
        lines = await observe.log(cloud, seen, candidate)
        seen = replace(seen, log=logs.redacted(lines, secrets=one.release.secrets.values()))
    cause, started = _diagnosed(candidate, seen, known=known, overdue=troubled)
    verdict = _verdict(rollout, candidate, seen=seen, cause=cause, started=started, now=one.now)
    judged = rollouts.Judged(verdict, started) if candidate else None
    watched = _watched(one, candidate, verdict, started=started)
    return seen, memory.Trial(one.run, one.serving, candidate, verdict, cause, watched, one.course(judged))


def _watched(
    one: workload.App,
    candidate: observed.Resource | None,
    verdict: outcome.Outcome,
    *,
    started: datetime | None,
) -> datetime | None:
    """When what serves started, where there is something to go back to and it would be gone back to."""
    if candidate is None or not isinstance(verdict, outcome.Done) or one.rolled.fallback(one.serving) is None:
        return None
    since = started or observed.moment(candidate.properties.get("createdTime"))
    if since is None or (one.now - since).total_seconds() > one.wanted.spec.rollout.deadline:
        return None
    return since


def _troubled(candidate: observed.Resource, rollout: health.Rollout, *, now: datetime) -> bool:
    """Whether what its container wrote is worth reading: it failed, or takes longer than it may."""
    if health.healthy(candidate):
        return False
    created = observed.moment(candidate.properties.get("createdTime"))
    return health.broken(candidate) or (created is not None and (now - created).total_seconds() > rollout.deadline)


def _diagnosed(
    candidate: observed.Resource | None, seen: observed.Workload, *, known: memory.Memory, overdue: bool
) -> tuple[diagnosis.Cause | None, datetime | None]:
    """What is wrong with the candidate, and when its container started. `overdue` says that something is."""
    if candidate is None:
        return None, None
    latest = seen.app is not None and seen.app.properties.get("latestRevisionName") == candidate.name
    replicas = seen.replicas if latest else ()
    evidence = diagnosis.Evidence(candidate, replicas, seen.check, seen.log, seen.app, overdue=overdue)
    return known.cause(candidate.id, diagnosis.of(evidence)), diagnosis.started(replicas)


def _verdict(
    rollout: health.Rollout,
    candidate: observed.Resource | None,
    *,
    seen: observed.Workload,
    cause: diagnosis.Cause | None,
    started: datetime | None,
    now: datetime,
) -> outcome.Outcome:
    why = health.Why(cause.code, cause.message, diagnosis.waits(cause)) if cause else None
    return health.revision(rollout, candidate, seen=seen, why=why, started=started, now=now)


def _found(one: workload.App, trial: memory.Trial, *, known: memory.Memory) -> memory.Trial:
    """What runs isn't what is wanted, and is left so: it is judged by the platform's health alone."""
    latest = one.rolled.latest
    run = rollouts.run_of(latest) if latest else None
    rollout = health.Rollout(run.release if run else "", one.wanted.spec.rollout.deadline, successes=0, streak=0)
    cause, started = _diagnosed(latest, one.seen, known=known, overdue=False)
    verdict = _verdict(rollout, latest, seen=one.seen, cause=cause, started=started, now=one.now)
    return replace(trial, serving=run, candidate=latest, verdict=verdict, cause=cause)


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
    yet and nothing to be uploaded that could be."""
    if view.trial and view.trial.watched:
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


async def _checked(
    cloud: port.Cloud, one: workload.App, candidate: observed.Resource, *, known: memory.Memory
) -> tuple[observed.Workload, int]:
    """Ask the candidate's endpoint once, where it is due, and count answers in a row."""
    seen, check, release = one.seen, one.wanted.spec.rollout.check, one.serving.release
    address = observe.address(candidate) if one.rolled.multiple else observe.endpoint(seen)
    assert check is not None, "asked only where a check is set"
    streak = known.streaks.get(one.id)
    if streak is None or (streak.release, streak.revision) != (release, candidate.name):
        streak = known.streaks[one.id] = memory.Streak(release, candidate.name)
    due = streak.at is None or (one.now - streak.at).total_seconds() >= check.period
    if address is not None and due and streak.count < check.successes:
        streak.check, streak.at = await cloud.check(f"{address}{check.path}"), one.now
        lives = await observe.lives(cloud, candidate)
        # What ends between two questions answers each of them.
        lasted = all(lives.get(name, before + 1) <= before for name, before in streak.lives.items())
        good = health.answers(streak.check, release)
        streak.count, streak.lives = (streak.count if lasted else 0) + 1 if good else 0, lives
    return replace(seen, check=streak.check), streak.count


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
