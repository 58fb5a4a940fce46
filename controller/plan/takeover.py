"""How a release takes over, one step at a time: which template comes next, where the traffic goes, and which revisions
are stopped.

It goes by what was seen and by the verdict, and remembers nothing. It must not know how a template is rendered, nor how
a revision is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from controller.model import moments, observed, outcome, releases, rollouts, tags
from controller.model.conditions import Reason
from controller.plan import rollout
from controller.plan.rollout import Course, Judged, Seen, Traffic

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


def course(run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, judged: Judged | None, now: datetime) -> Course:
    """What to do next for the wanted `run`. `judged` is the candidate of the effective run, None without one."""
    serving = rollout.effective(run, seen)
    rejection = seen.rejected(run)
    if rejection is None and judged is not None and _failed(run, seen, judged, deadline=wish.deadline, now=now):
        made = _gone_back(run, seen, wish=wish, cause=judged.verdict, now=now)
        if made is not None:
            return made
    if stand_in := _stand_in(serving, seen):
        reason = "traffic to what runs, as the revision that had it was stopped"
        return Course(seen.run or serving, MULTIPLE, _all_to(stand_in), kept=True, reason=reason, rejection=rejection)
    made = _forward(serving, seen, wish=wish, judged=judged, now=now, back=serving != run)
    needed = (seen.stable if seen.multiple else None, seen.candidate(serving))
    return replace(made, rejection=rejection, start=next((one for one in needed if one and _stopped(one)), None))


def _stand_in(serving: releases.Run, seen: Seen) -> observed.Resource | None:
    """The revision that can serve at once in place of a stopped one that has the traffic: not the candidate, which
    isn't proven. Somebody stopped that one, or the platform did just before it was given the traffic by its name."""
    if not seen.multiple or seen.stable is None or not _stopped(seen.stable):
        return None
    ready = [one for one in seen.revisions if _runs(one) and one.properties.get("healthState") == "Healthy"]
    tried = seen.candidate(serving)
    return next((one for one in reversed(ready) if one is not tried and _trusted(one, seen)), None)


def _trusted(one: observed.Resource, seen: Seen) -> bool:
    run = rollout.run_of(one)
    return run is None or not seen.rejected(run)


def _stopped(one: observed.Resource) -> bool:
    return one.properties.get("active") is False


def _failed(run: releases.Run, seen: Seen, judged: Judged, *, deadline: float, now: datetime) -> bool:
    """Whether the verdict speaks against the release, while it is on trial: until it had all traffic, and for the
    deadline afterwards. What served for long and fails then isn't to be blamed for what is new."""
    candidate, verdict = seen.candidate(run), judged.verdict
    if candidate is None or not isinstance(verdict, outcome.Stalled) or verdict.reason not in REJECTING:
        return False
    began = observed.began(candidate, judged.started)
    tried = deadline + (LATE if verdict.reason == Reason.CHECK_FAILED else 0.0)
    young = began is not None and now - began <= timedelta(seconds=tried)
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


def _gone_back(
    run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, cause: outcome.Outcome, now: datetime
) -> Course | None:
    """Away from a run that failed; None where there is nothing to go back to."""
    assert isinstance(cause, outcome.Stalled)
    candidate = seen.candidate(run)
    assert candidate is not None
    if cause.reason in TWICE and run.attempt == 1 and _untouched(candidate, seen):
        again = _forward(run.next, seen, wish=wish, judged=None, now=now, back=False)
        return replace(again, reason=f"second attempt after {cause.reason}")
    rejection = releases.Rejection(run, cause.reason)
    noted = {tags.REJECTED: releases.with_rejection(seen.rejections, rejection)}
    reason = f"release {run.said} rejected: {cause.reason}"
    stable = seen.stable
    if seen.multiple and stable is not None and stable is not candidate:
        made = Course(rollout.its_run(stable), MULTIPLE, _all_to(stable), kept=True)
        return replace(made, tags=noted, notes={tags.ROLLOUT: None}, reason=reason, rejection=rejection)
    back = seen.fallback(run)
    if back is None:
        return None
    made = _forward(rollout.its_run(back), seen, wish=wish, judged=None, now=now, back=True)
    return replace(made, back=back.properties.get("template"), tags=noted, reason=reason, rejection=rejection)


def _forward(
    run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, judged: Judged | None, now: datetime, back: bool
) -> Course:
    """Towards `run`; with `back` it isn't what is wanted, and comes from a listed revision."""
    if seen.app is None:
        return Course(run, MULTIPLE if wish.beside else SINGLE, _to_latest())
    if seen.multiple:
        made = _beside(run, seen, wish=wish, judged=judged, now=now)
    else:
        made = _parted(seen) if wish.beside else _alone(run, seen, wish=wish, stops=seen.run != run and not back)
    if not back or made.kept:
        return made
    source = next((one for one in reversed(seen.revisions) if rollout.run_of(one) == run), None)
    return replace(made, back=source.properties.get("template") if source else None, kept=source is None)


def _alone(run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, stops: bool) -> Course:
    """In single-revision mode the platform moves the traffic, when the new revision is ready. `stops` says that what
    runs is to make room first, where the strategy has it so."""
    made = Course(run, SINGLE, _to_latest(), stop=_useless(seen))
    if wish.strategy != "Recreate":
        return made
    if stops:
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


def _beside(run: releases.Run, seen: Seen, *, wish: rollouts.Rollout, judged: Judged | None, now: datetime) -> Course:
    """In multiple-revision mode traffic is moved here, by name, once the new revision is proven."""
    stable, candidate = seen.stable, seen.candidate(run)
    if candidate is None:
        return Course(run, MULTIPLE, _all_to(stable) if stable else None, notes={tags.ROLLOUT: None})
    kept = candidate is not seen.latest
    if seen.weight(candidate) == 100:
        return _settled(replace(Course(run, MULTIPLE, kept=kept), stop=_others(candidate, seen)), seen, wish=wish)
    if judged is None or not isinstance(judged.verdict, outcome.Done):
        return Course(run, MULTIPLE, _all_to(stable) if kept and stable else None, kept=kept, stop=_useless(seen))
    return replace(_moved(run, candidate, seen, wish=wish, restarted=judged.restarted, now=now), kept=kept)


def _settled(made: Course, seen: Seen, *, wish: rollouts.Rollout) -> Course:
    """The candidate has all traffic. Back to single mode only now, and only where it is the latest revision."""
    if wish.beside or made.kept:
        return made
    single = replace(made, mode=SINGLE, traffic=_to_latest(), stop=())
    return replace(single, reason="revision mode Multiple becomes Single")


def _moved(
    run: releases.Run,
    candidate: observed.Resource,
    seen: Seen,
    *,
    wish: rollouts.Rollout,
    restarted: datetime | None,
    now: datetime,
) -> Course:
    """The next share of the traffic, when it is due. What ends during a step begins that anew."""
    stable = seen.stable
    done, steps = seen.progress, wish.steps if wish.strategy == "Canary" else ()
    at = done.step if done and done.run == run and seen.weight(candidate) else -1
    if done is not None and 0 <= at < len(steps):
        since = max(done.since, restarted or done.since)
        until = since + timedelta(seconds=steps[at].hold)
        if now < until:
            return Course(run, MULTIPLE, holds=_holds(steps, at, since=since, until=until))
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
