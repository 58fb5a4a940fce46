"""`acaops rollout`: how the rollout of one app stands, what may be gone back to, and the two things people decide about
it: to go back, or to try a rejected release once more. A decision is a tag on the container app; the controller acts on
it, whichever it is and wherever it runs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from controller import assembly, commands, failures, memory, objects, settings, tables, views
from controller.model import desired, moments, observed, outcome, releases, tags
from controller.model.kinds import Kind
from controller.plan import restraint, rollout
from controller.sources import manifest
from controller.status import store

Json = dict[str, Any]


@dataclass(frozen=True)
class _Subject:
    """The app as it is now."""

    wanted: desired.InferenceApp
    app: observed.Resource
    seen: rollout.Seen
    trial: memory.Trial
    view: objects.View


async def status(chosen: settings.Settings, name: str, *, output: commands.Form) -> int:
    """Exit status 0: the wanted release serves, 1: it doesn't, or that can't be told."""

    async def told(one: assembly.Controller, source: manifest.Source) -> int:
        subject = await _judged(one, source, name)
        known = await _recorded(one, subject) if subject.trial.course.rejection else ()
        shown = _standing(subject, next((each for each in known if each.run == subject.trial.wanted), None))
        if output == "json":
            print(json.dumps(shown, indent=2))
        else:
            views.console(sys.stdout).print(tables.facts(shown))
        return 0 if shown["state"] == "Done" and shown["rejection"] is None else 1

    return await _with(chosen, told)


async def history(chosen: settings.Settings, name: str, *, output: commands.Form) -> int:
    """The releases that Azure still has a revision of, newest first, and those that are known to have failed. Exit
    status 0, or 1 where that can't be told."""

    async def told(one: assembly.Controller, source: manifest.Source) -> int:
        subject = await _subject(one, source, name)
        known = await _recorded(one, subject)
        listed = [_revision(subject, each, known) for each in reversed(subject.seen.revisions)]
        listed += _unlisted(subject, known)
        if output == "json":
            print(json.dumps({"revisions": listed}, indent=2))
            return 0
        views.console(sys.stdout).print(tables.revisions(listed))
        if known:
            lines = [f"{known[0].revision} failed last; -o json tells its evidence and its log"]
            views.notes(views.console(sys.stderr), lines)
        return 0

    return await _with(chosen, told)


async def undo(chosen: settings.Settings, name: str) -> int:
    """Reject the release that is wanted, so that the controller goes back to the last healthy one."""

    async def decided(one: assembly.Controller, source: manifest.Source) -> int:
        subject = await _subject(one, source, name)
        wanted, seen = subject.trial.wanted, subject.seen
        if rejection := seen.rejected(wanted):
            raise commands.RefusedError(f"release {wanted.said} was rejected already: {rejection.cause}")
        back = seen.fallback(wanted)
        if back is None:
            raise commands.RefusedError(f"there is nothing to go back to from release {wanted.said}")
        await _decide(one, source, subject, releases.Rejection(wanted, releases.UNDONE))
        run = rollout.run_of(back)
        print(f"{name} goes back from release {wanted.said} to {run.said if run else back.name}")
        if subject.wanted.spec.release == "Mirror":
            views.warnings(views.console(sys.stderr), ["its content is mirrored, and stays as it is: commit it back"])
        return 0

    return await _with(chosen, decided, then=name)


async def retry(chosen: settings.Settings, name: str) -> int:
    """Have the release that is wanted and was rejected tried once more."""

    async def decided(one: assembly.Controller, source: manifest.Source) -> int:
        subject = await _subject(one, source, name)
        wanted = subject.trial.wanted
        if subject.seen.rejected(wanted) is None:
            raise commands.RefusedError(f"release {wanted.said} isn't rejected: there is nothing to retry")
        await _decide(one, source, subject, releases.Rejection(wanted, releases.RETRY))
        print(f"{name} tries release {wanted.release} once more")
        return 0

    return await _with(chosen, decided, then=name)


async def _with(
    chosen: settings.Settings,
    work: Callable[[assembly.Controller, manifest.Source], Awaitable[int]],
    *,
    then: str | None = None,
) -> int:
    """`then` is the app for which the controller has something to do afterwards."""
    try:
        async with assembly.controller(chosen) as one:
            result = await work(one, await commands.loaded(one))
    except commands.RefusedError as error:
        return commands.refused(error.problems)
    except outcome.OutcomeError as error:
        return commands.refused([str(error)])
    if then:
        print(f"at the controller's next look; acaops reconcile {then} has it look now")
    return result


async def _subject(one: assembly.Controller, source: manifest.Source, name: str) -> _Subject:
    apps = [app.name for app in source.apps]
    if name not in apps:
        raise commands.RefusedError(commands.unknown(name, apps))
    view = await one.reconciler.look(source, ("InferenceApp", name))
    loaded = source.find("InferenceApp", name).object
    assert isinstance(loaded, desired.InferenceApp), "found by its kind"
    if view.trial is None or view.seen is None or view.seen.app is None:
        raise commands.RefusedError(f"{name} has no container app yet")
    seen = rollout.Seen(view.seen.app, view.seen.revisions)
    return _Subject(loaded, view.seen.app, seen, view.trial, view)


async def _recorded(one: assembly.Controller, subject: _Subject) -> tuple[store.Failure, ...]:
    """The app's failures that its share tells of, newest first; none, and a warning, where it can't be asked."""
    view, owner = subject.view, one.reconciler.scope.owner(subject.wanted)
    at = failures.place(owner, view.stack, share=view.ids.names.share)
    why = "the share or its account's keys can't be read"
    try:
        if at is not None:
            return (await failures.read(one.cloud, at))[::-1]
    except (outcome.OutcomeError, TimeoutError) as error:
        why = failures.said(error)
    views.warnings(views.console(sys.stderr), [f"what is known of failures can't be told: {why}"])
    return ()


async def _decide(
    one: assembly.Controller, source: manifest.Source, subject: _Subject, rejection: releases.Rejection
) -> None:
    """Put it on record. Raises RefusedError for what isn't ours to write, or isn't to be written."""
    wanted, app, scope = subject.wanted, subject.app, one.reconciler.scope
    if other := tags.other_owner(scope.owner(wanted), app.tags):
        raise commands.RefusedError(f"{app.name} belongs to {other} (tag {tags.OWNER}); not touched")
    if guarded := scope.guard(source.environment(wanted.spec.environment_ref)):
        raise commands.RefusedError(guarded.message)
    if why := restraint.of(wanted, now=one.reconciler.now()):
        raise commands.RefusedError(f"{wanted.metadata.name}: {why.says}: nothing is written for it")
    text = {tags.REJECTED: releases.with_rejection(subject.seen.rejections, rejection)}
    await one.cloud.update(Kind.APP, app.id, {"tags": {**app.tags, **tags.spelled(text, app.tags)}})


async def _judged(one: assembly.Controller, source: manifest.Source, name: str) -> _Subject:
    """The app, its endpoint asked as often as a rollout asks it."""
    subject = await _subject(one, source, name)
    check = subject.wanted.spec.rollout.check
    for _ in range(check.successes - 1 if check else 0):
        if isinstance(subject.trial.verdict, outcome.Done) or subject.view.seen is None:
            break
        if subject.view.seen.check is None or not subject.view.seen.check.passed:
            break
        await asyncio.sleep(check.period if check else 0.0)
        subject = await _subject(one, source, name)
    return subject


def _standing(subject: _Subject, known: store.Failure | None) -> Json:
    """`known` is what its share tells of the rejected release, from when it was judged."""
    trial, seen = subject.trial, subject.seen
    rejection, cause, log = trial.course.rejection, trial.cause, subject.view.seen.log if subject.view.seen else ()
    verdict = trial.course.holds or trial.verdict
    return {
        "name": subject.wanted.metadata.name,
        "strategy": subject.wanted.spec.rollout.strategy,
        "wanted": trial.wanted.release,
        "attempt": trial.wanted.attempt,
        "serving": trial.serving.release if trial.serving else None,
        "revision": trial.candidate.name if trial.candidate else None,
        "state": type(verdict).__name__,
        "reason": getattr(verdict, "reason", None),
        "message": verdict.message,
        "traffic": dict(seen.weights),
        "rejection": rejection.cause if rejection else None,
        "pending": [action.reason for step in subject.view.plan.steps if (action := step.action)],
        "evidence": list(known.evidence if known else cause.evidence if cause else ()),
        "log": list(known.log if known else log),
    }


def _revision(subject: _Subject, one: observed.Resource, known: Sequence[store.Failure]) -> Json:
    facts = one.properties
    created = observed.moment(facts.get("createdTime"))
    told = {
        "created": moments.rfc3339(created) if created else None,
        "listed": True,
        "active": bool(facts.get("active")),
        "running": facts.get("runningState"),
        "health": facts.get("healthState"),
        "traffic": subject.seen.weights.get(one.name, 0),
    }
    return _told(subject, one.name, rollout.run_of(one), told, known)


def _unlisted(subject: _Subject, known: Sequence[store.Failure]) -> list[Json]:
    """What failed and has no revision any more: Azure keeps only some."""
    listed = {one.name for one in subject.seen.revisions}
    gone = {"created": None, "listed": False, "active": False, "running": None, "health": None, "traffic": 0}
    runs = {one.revision: one.run for one in known if one.revision not in listed}
    return [_told(subject, name, run, gone, known) for name, run in runs.items()]


def _told(subject: _Subject, name: str, run: releases.Run | None, facts: Json, known: Sequence[store.Failure]) -> Json:
    """A revision, what it is of, and the ways in which it failed, the last one first."""
    rejection = subject.seen.rejected(run) if run else None
    found = [one.as_json() for one in known if (one.revision, one.run) == (name, run)]
    return {
        "revision": name,
        "release": run.release if run else None,
        "attempt": run.attempt if run else None,
        **facts,
        "rejection": rejection.cause if rejection else None,
        "wanted": run == subject.trial.wanted,
        "failures": [{each: one[each] for each in ("cause", "message", "evidence", "log", "when")} for one in found],
    }
