"""How a release is judged: its endpoint asked, the log of one in trouble read, the cause named, the verdict given, and
the course that follows from it. It reads, and writes nothing; what the words mean is for `health` and `diagnosis` to
say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from controller import diagnosis, health, memory, observe
from controller.cloud import port
from controller.model import observed, outcome, rollouts
from controller.plan import rollout, workload
from controller.telemetry import log as logs

_Judged = tuple[outcome.Outcome, diagnosis.Cause | None, datetime | None]
"""The verdict, the cause of what is wrong, and when the container started."""


async def tried(
    cloud: port.Cloud, one: workload.App, *, known: memory.Memory
) -> tuple[observed.Workload, memory.Trial]:
    """The verdict on what is to serve, and what follows from it; what was seen, with what was asked for besides."""
    candidate, seen, wish = one.candidate, one.seen, one.wanted.spec.rollout
    watching = candidate is not None and health.healthy(candidate) and one.rolled.shares(candidate)
    running = await cloud.replicas(candidate.id) if candidate is not None and watching else None
    success = health.Rollout(one.serving.release, wish.deadline, wish.check.successes if wish.check else 0, streak=0)
    if candidate is not None and wish.check is not None and health.healthy(candidate):
        streak = await _checked(cloud, one, candidate, check=wish.check, running=running, known=known)
        seen, success = replace(seen, check=streak.check), replace(success, streak=streak.count)
    troubled = candidate is not None and _troubled(candidate, deadline=wish.deadline, now=one.now)
    if candidate is not None and troubled:
        lines = await observe.log(cloud, seen, candidate)
        seen = replace(seen, log=logs.redacted(lines, secrets=one.release.secrets.values()))
    verdict, cause, started = _judged(one, candidate, seen, success=success, overdue=troubled, known=known)
    restarted = diagnosis.restarted(running or ())
    course = one.course(rollout.Judged(verdict, started, restarted) if candidate else None)
    watched = _watched(one, candidate, verdict, started=started)
    return seen, memory.Trial(one.run, one.serving, candidate, verdict, cause, watched, course)


def found(one: workload.App, trial: memory.Trial, *, known: memory.Memory) -> memory.Trial:
    """What runs isn't what is wanted, and is left so: it is judged by the platform's health alone."""
    latest = one.rolled.latest
    run = rollout.run_of(latest) if latest else None
    success = health.Rollout(run.release if run else "", one.wanted.spec.rollout.deadline, successes=0, streak=0)
    verdict, cause, _ = _judged(one, latest, one.seen, success=success, overdue=False, known=known)
    return replace(trial, serving=run, candidate=latest, verdict=verdict, cause=cause)


def _judged(
    one: workload.App,
    candidate: observed.Resource | None,
    seen: observed.Workload,
    *,
    success: health.Rollout,
    overdue: bool,
    known: memory.Memory,
) -> _Judged:
    """`overdue` says that something is wrong, though perhaps not what."""
    cause, started = None, None
    if candidate is not None:
        replicas = seen.replicas if candidate is one.rolled.latest else ()
        evidence = diagnosis.Evidence(candidate, replicas, seen.check, seen.log, seen.app, overdue=overdue)
        cause = known.cause(one.wanted.metadata.name, candidate.id, diagnosis.of(evidence))
        started = diagnosis.started(replicas)
    why = health.Why(cause.code, cause.message, diagnosis.waits(cause)) if cause else None
    return health.revision(success, candidate, seen=seen, why=why, started=started, now=one.now), cause, started


def _watched(
    one: workload.App, candidate: observed.Resource | None, verdict: outcome.Outcome, *, started: datetime | None
) -> datetime | None:
    """When what serves started, where there is something to go back to and it would be gone back to."""
    if candidate is None or not isinstance(verdict, outcome.Done) or one.rolled.fallback(one.serving) is None:
        return None
    since = observed.began(candidate, started)
    return None if _past(since, one.wanted.spec.rollout.deadline, now=one.now) else since


def _troubled(candidate: observed.Resource, *, deadline: float, now: datetime) -> bool:
    """Whether what its container wrote is worth reading: it failed, or was made longer ago than it may take."""
    if health.healthy(candidate):
        return False
    return health.broken(candidate) or _past(candidate.created, deadline, now=now)


def _past(since: datetime | None, deadline: float, *, now: datetime) -> bool:
    return since is not None and (now - since).total_seconds() > deadline


async def _checked(
    cloud: port.Cloud,
    one: workload.App,
    candidate: observed.Resource,
    *,
    check: rollouts.Check,
    running: Sequence[observed.Resource] | None,
    known: memory.Memory,
) -> memory.Streak:
    """Ask the candidate's endpoint once, where it is due, and count answers in a row. `running` are its replicas, where
    they are known."""
    name, release, revision = one.wanted.metadata.name, one.serving.release, f"{one.id}/revisions/{candidate.name}"
    address = observe.address(candidate) if one.rolled.multiple else observe.endpoint(one.seen)
    streak = known.streaks.get(name)
    if streak is None or (streak.release, streak.revision) != (release, revision):
        streak = known.streaks[name] = memory.Streak(release, revision)
    if running is not None and not _lasted(streak, observe.restarts(running)):
        streak.count = 0
    due = streak.at is None or (one.now - streak.at).total_seconds() >= check.period
    if address is not None and due and streak.count < check.successes:
        streak.check, streak.at = await cloud.check(f"{address}{check.path}"), one.now
        lives = observe.restarts(await cloud.replicas(candidate.id))
        good = health.answers(streak.check, release, live=candidate)
        streak.count, streak.lives = (streak.count if _lasted(streak, lives) else 0) + 1 if good else 0, lives
    return streak


def _lasted(streak: memory.Streak, lives: Mapping[str, int]) -> bool:
    """Whether nothing ended since the last question: what ends between two of them answers each."""
    return all(lives.get(replica, before + 1) <= before for replica, before in streak.lives.items())
