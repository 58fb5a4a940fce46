"""Which run of which release an app's template is to be, where the traffic goes, and which revisions are stopped: one
step at a time, from what was seen alone.

Nothing is remembered between passes but what stands in the template, the traffic and the tags. It must not know how a
template is rendered, nor how a revision is judged: the verdict comes in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from controller.model import moments, observed, outcome, releases, rollouts, tags
from controller.model.conditions import Reason
from controller.plan import template

REJECTING = frozenset(
    {
        Reason.COMMAND_FAILED,
        Reason.PROBE_FAILED,
        Reason.MODEL_NOT_FOUND,
        Reason.OUT_OF_MEMORY,
        Reason.DEADLINE_EXCEEDED,
        Reason.CHECK_FAILED,
        Reason.UNKNOWN,
    }
)
"""Causes that speak against the release itself. Others are the platform's, and pass or are mended beside it."""

TWICE = frozenset({Reason.COMMAND_FAILED})
"""Causes that may be bad luck, such as a package index that doesn't answer: a second attempt is made first."""

STARTING = ("Activating", "Processing")
"""The platform's words for a revision that wasn't ready yet (recorded)."""

LATE = 300.0
"""Seconds past the deadline in which a check that failed until then still speaks against the release."""

SINGLE, MULTIPLE = "Single", "Multiple"

Traffic = list[dict[str, Any]]


@dataclass(frozen=True)
class Seen:
    """An app's revisions, oldest first, and what its tags say of releases. `app` is None where there is none yet."""

    app: observed.Resource | None
    revisions: Sequence[observed.Resource] = ()

    @cached_property
    def rejections(self) -> tuple[releases.Rejection, ...]:
        return releases.rejections(self._tag(tags.REJECTED))

    @cached_property
    def progress(self) -> releases.Progress | None:
        return releases.progress(self._tag(tags.ROLLOUT))

    @cached_property
    def run(self) -> releases.Run | None:
        """The run that the app's own template is of."""
        return template.run_of(self.app.properties.get("template") or {}) if self.app else None

    @property
    def multiple(self) -> bool:
        return str(self._configuration.get("activeRevisionsMode")).lower() == "multiple"

    @cached_property
    def latest(self) -> observed.Resource | None:
        name = self.app.properties.get("latestRevisionName") if self.app else None
        return next((one for one in self.revisions if one.name == name), None)

    @cached_property
    def weights(self) -> Mapping[str, int]:
        """The share of the traffic, in percent, by revision name, where it is more than none."""
        found: dict[str, int] = {}
        for entry in (self._configuration.get("ingress") or {}).get("traffic") or ():
            name = self.latest.name if entry.get("latestRevision") and self.latest else entry.get("revisionName")
            if name and entry.get("weight"):
                found[str(name)] = found.get(str(name), 0) + int(entry["weight"])
        return found

    @property
    def stable(self) -> observed.Resource | None:
        """The revision that has the traffic beside the latest one, or the latest itself where it has all of it."""
        serving = [one for one in self.revisions if one.name in self.weights]
        others = [one for one in serving if one is not self.latest]
        return max(others or serving, key=lambda one: self.weights[one.name], default=None)

    @property
    def healthy(self) -> str | None:
        """The release that was healthy when the template was last changed."""
        return self._tag(tags.HEALTHY)

    def rejected(self, run: releases.Run) -> releases.Rejection | None:
        return releases.rejected(self.rejections, run)

    def weight(self, one: observed.Resource) -> int:
        return self.weights.get(one.name, 0) if self.multiple else 100 * (one is self.latest)

    def candidate(self, run: releases.Run) -> observed.Resource | None:
        """The revision by which `run` is judged: the latest one, or else one that has traffic."""
        served = [self.stable] if self.multiple and self.stable else []
        return next((one for one in (self.latest, *served) if one is not None and run_of(one) == run), None)

    def fallback(self, run: releases.Run) -> observed.Resource | None:
        """The newest listed revision to go back to from `run`: of the release known to be healthy, else any that ended
        or runs healthy."""
        others = [one for one in reversed(self.revisions) if self._fits(one, run)]
        known = [one for one in others if _release(one) == self.healthy]
        return next(iter([*known, *(one for one in others if one.properties.get("healthState") == "Healthy")]), None)

    def _fits(self, one: observed.Resource, run: releases.Run) -> bool:
        its = run_of(one)
        return its is not None and its.release != run.release and not self.rejected(its)

    @property
    def _configuration(self) -> Mapping[str, Any]:
        return (self.app.properties.get("configuration") or {}) if self.app else {}

    def _tag(self, name: str) -> str | None:
        return tags.find(name, self.app.tags) if self.app else None


@dataclass(frozen=True)
class Judged:
    """The verdict on the candidate. `started` is when its container started, aware; None where nobody knows."""

    verdict: outcome.Outcome
    started: datetime | None = None


@dataclass(frozen=True)
class Course:
    """What one pass may do. The app's template becomes that of `run`: rendered from the desired state, or `back`, a
    listed revision's; with `kept` it is left as it is. `traffic` None leaves that as it is.

    `tags` cause a write, `notes` ride along, None to take one away. `reason` says why, where it is the rollout's doing.
    `first` are revisions to be stopped before the template is written, `stop` those to be stopped when nothing else is
    left to write, `start` is one that somebody stopped. `holds` is why the next step isn't due yet. `rejection` is of
    the run that is wanted.
    """

    run: releases.Run
    mode: str
    traffic: Traffic | None = None
    back: Mapping[str, Any] | None = None
    kept: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str | None] = field(default_factory=dict)
    reason: str = ""
    first: tuple[observed.Resource, ...] = ()
    stop: tuple[observed.Resource, ...] = ()
    start: observed.Resource | None = None
    holds: outcome.InProgress | None = None
    rejection: releases.Rejection | None = None


def wanted(release: str, seen: Seen) -> releases.Run:
    """The run of the wanted release: the attempt that is live, or the next one where that was asked for."""
    said = releases.attempt(seen.rejections, release)
    live = seen.run
    return releases.Run(release, max(said, live.attempt) if live and live.release == release else said)


def effective(run: releases.Run, seen: Seen) -> releases.Run:
    """What is to serve: the wanted run, or what was gone back to from a rejected one."""
    if not seen.rejected(run):
        return run
    there = [seen.run, run_of(seen.stable) if seen.multiple and seen.stable else None]
    found = [one for one in there if one is not None and one.release != run.release and not seen.rejected(one)]
    if found:
        return found[0]
    back = seen.fallback(run)
    return _run(back) if back else run


def course(run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, judged: Judged | None, now: datetime) -> Course:
    """What to do next for the wanted `run`. `judged` is the candidate of the effective run, None without one."""
    serving = effective(run, seen)
    rejection = seen.rejected(run)
    if rejection is None and judged is not None and _failed(run, seen, judged, deadline=wish.deadline, now=now):
        made = _gone_back(run, seen, wish=wish, cause=judged.verdict)
        if made is not None:
            return made
    made = _forward(serving, seen, wish=wish, judged=judged, now=now, back=serving != run)
    candidate = seen.candidate(serving)
    stopped = candidate is not None and candidate.properties.get("active") is False
    return replace(made, rejection=rejection, start=candidate if stopped else None)


def _failed(run: releases.Run, seen: Seen, judged: Judged, *, deadline: float, now: datetime) -> bool:
    """Whether the verdict speaks against the release, while it is on trial: until it had all traffic, and for the
    deadline afterwards. What served for long and fails then isn't to be blamed for what is new."""
    candidate, verdict = seen.candidate(run), judged.verdict
    if candidate is None or not isinstance(verdict, outcome.Stalled) or verdict.reason not in REJECTING:
        return False
    started = judged.started or observed.moment(candidate.properties.get("createdTime"))
    tried = deadline + (LATE if verdict.reason == Reason.CHECK_FAILED else 0.0)
    young = started is not None and now - started <= timedelta(seconds=tried)
    never_ready = candidate.properties.get("runningState") in STARTING
    return young or never_ready or not _took_over(candidate, seen)


def _took_over(candidate: observed.Resource, seen: Seen) -> bool:
    """Whether it came to serve alone: in single-revision mode the platform stops the others when it is ready."""
    if seen.multiple:
        return seen.weight(candidate) == 100
    return not any(one is not candidate and _runs(one) for one in seen.revisions)


def _untouched(candidate: observed.Resource, seen: Seen) -> bool:
    """Whether it hasn't answered a single request."""
    return seen.weight(candidate) == 0 if seen.multiple else not _took_over(candidate, seen)


def _gone_back(run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, cause: outcome.Outcome) -> Course | None:
    """Away from a run that failed; None where there is nothing to go back to."""
    assert isinstance(cause, outcome.Stalled)
    candidate = seen.candidate(run)
    assert candidate is not None
    if cause.reason in TWICE and run.attempt == 1 and _untouched(candidate, seen):
        again = _forward(run.next, seen, wish=wish, judged=None, now=None, back=False)
        return replace(again, reason=f"second attempt after {cause.reason}")
    rejection = releases.Rejection(run, cause.reason)
    noted = {tags.REJECTED: releases.with_rejection(seen.rejections, rejection)}
    reason = f"release {run.said} rejected: {cause.reason}"
    stable = seen.stable
    if seen.multiple and stable is not None and stable is not candidate:
        made = Course(_run(stable), MULTIPLE, _all_to(stable), kept=True)
        return replace(made, tags=noted, notes={tags.ROLLOUT: None}, reason=reason, rejection=rejection)
    back = seen.fallback(run)
    if back is None:
        return None
    made = _forward(_run(back), seen, wish=wish, judged=None, now=None, back=True)
    return replace(made, back=back.properties.get("template"), tags=noted, reason=reason, rejection=rejection)


def _forward(
    run: releases.Run,
    seen: Seen,
    *,
    wish: rollouts.Rollout,
    judged: Judged | None,
    now: datetime | None,
    back: bool,
) -> Course:
    """Towards `run`; with `back` it isn't what is wanted, and comes from a listed revision."""
    made = _beside if seen.multiple else _alone
    if seen.app is None:
        return Course(run, MULTIPLE if wish.beside else SINGLE, _to_latest())
    found = made(run, seen, wish=wish, judged=judged, now=now, back=back)
    if not back or found.kept:
        return found
    source = next((one for one in reversed(seen.revisions) if run_of(one) == run), None)
    return replace(found, back=source.properties.get("template") if source else None, kept=source is None)


def _alone(
    run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, judged: Judged | None, now: datetime | None, back: bool
) -> Course:
    """In single-revision mode the platform moves the traffic, when the new revision is ready."""
    if wish.beside:
        return _parted(seen)
    made = Course(run, SINGLE, _to_latest(), stop=_useless(seen))
    if wish.strategy != "Recreate":
        return made
    if seen.run != run and not back:
        return replace(made, first=tuple(one for one in seen.revisions if _runs(one)))
    # What failed is on record before it is stopped: without that it would look as if it only had to be started.
    return replace(made, stop=_others(seen.latest, seen) if seen.run == run and seen.latest else ())


def _parted(seen: Seen) -> Course:
    """Single mode becomes multiple before anything else changes: what is healthy keeps the traffic, by its name."""
    healthy = [one for one in seen.revisions if _runs(one) and one.properties.get("healthState") == "Healthy"]
    keeps = healthy[-1] if healthy else seen.latest
    run = seen.run or releases.Run("")
    traffic = _all_to(keeps) if keeps else None
    return Course(run, MULTIPLE, traffic, kept=True, reason="revision mode Single becomes Multiple")


def _beside(
    run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, judged: Judged | None, now: datetime | None, back: bool
) -> Course:
    """In multiple-revision mode traffic is moved here, by name, once the new revision is proven."""
    stable, candidate = seen.stable, seen.candidate(run)
    if candidate is None:
        return Course(run, MULTIPLE, _all_to(stable) if stable else None, notes={tags.ROLLOUT: None})
    kept = candidate is not seen.latest
    if seen.weight(candidate) == 100:
        return _settled(replace(Course(run, MULTIPLE, kept=kept), stop=_others(candidate, seen)), seen, wish=wish)
    if judged is None or not isinstance(judged.verdict, outcome.Done) or now is None:
        return Course(run, MULTIPLE, _all_to(stable) if kept and stable else None, kept=kept, stop=_useless(seen))
    return replace(_moved(run, candidate, seen, wish=wish, now=now), kept=kept)


def _settled(made: Course, seen: Seen, *, wish: rollouts.Rollout) -> Course:
    """The candidate has all traffic. Back to single mode only now, and only where it is the latest revision."""
    if wish.beside or made.kept:
        return made
    single = replace(made, mode=SINGLE, traffic=_to_latest(), stop=())
    return replace(single, reason="revision mode Multiple becomes Single")


def _moved(
    run: releases.Run, candidate: observed.Resource, seen: Seen, *, wish: rollouts.Rollout, now: datetime
) -> Course:
    """The next share of the traffic, when it is due."""
    stable = seen.stable
    done, steps = seen.progress, wish.steps if wish.strategy == "Canary" else ()
    at = done.step if done and done.run == run and seen.weight(candidate) else -1
    if done is not None and 0 <= at < len(steps):
        until = done.since + timedelta(seconds=steps[at].hold)
        if now < until:
            return Course(run, MULTIPLE, holds=_holds(steps, at, since=done.since, until=until))
    following = at + 1
    if stable is None or stable is candidate or following >= len(steps):
        return Course(
            run, MULTIPLE, _all_to(candidate), notes={tags.ROLLOUT: None}, reason="traffic to the new revision"
        )
    weight = steps[following].weight
    traffic = [_entry(stable, 100 - weight), _entry(candidate, weight)]
    noted = {tags.ROLLOUT: str(releases.Progress(run, following, now))}
    return Course(run, MULTIPLE, traffic, notes=noted, reason=f"{weight} % of the traffic to the new revision")


def _holds(steps: Sequence[rollouts.Step], at: int, *, since: datetime, until: datetime) -> outcome.InProgress:
    told = f"canary step {at + 1} of {len(steps)}: {steps[at].weight} % of the traffic until {moments.rfc3339(until)}"
    return outcome.InProgress(Reason.ROLLING_OUT, told, since)


def _to_latest() -> Traffic:
    return [{"weight": 100, "latestRevision": True}]


def _all_to(one: observed.Resource) -> Traffic:
    return [_entry(one, 100)]


def _entry(one: observed.Resource, weight: int) -> dict[str, Any]:
    return {"revisionName": one.name, "weight": weight}


def _others(candidate: observed.Resource, seen: Seen) -> tuple[observed.Resource, ...]:
    return tuple(one for one in seen.revisions if one is not candidate and _runs(one))


def _useless(seen: Seen) -> tuple[observed.Resource, ...]:
    """Older ones that never came to serve and still hold a place: the platform keeps them (recorded)."""
    return tuple(
        one
        for one in seen.revisions
        if one is not seen.latest and _runs(one) and not seen.weights.get(one.name) and _never_served(one)
    )


def _never_served(one: observed.Resource) -> bool:
    facts = one.properties
    return facts.get("healthState") != "Healthy" and facts.get("runningState") in (*STARTING, "Failed")


def _runs(one: observed.Resource) -> bool:
    """Active, and not on its way out."""
    return bool(one.properties.get("active")) and one.properties.get("runningState") not in (
        "Deprovisioning",
        "Stopped",
    )


def run_of(one: observed.Resource) -> releases.Run | None:
    """The run that a revision's template says it is of."""
    return template.run_of(one.properties.get("template") or {})


def _run(one: observed.Resource) -> releases.Run:
    found = run_of(one)
    assert found is not None, "only a revision of a release is gone back to"
    return found


def _release(one: observed.Resource) -> str | None:
    found = run_of(one)
    return found.release if found else None
