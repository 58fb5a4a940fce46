"""Pure: what a resource's own answers say about its health, per kind. Time comes in as an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.model import moments, observed, outcome, served
from controller.model.conditions import Reason
from controller.model.kinds import Kind


@dataclass(frozen=True)
class Rollout:
    """What success means for one app. `deadline` in seconds from the container's start; `successes` is how many
    checks in a row must name the release, 0 for none; `streak` how many did so far."""

    release: str
    deadline: float
    successes: int
    streak: int


def resource(kind: Kind, live: observed.Resource | None) -> outcome.Outcome:
    """By provisioningState alone: for everything but revisions it is all there is."""
    if live is None:
        return outcome.Waiting(Reason.DEPENDENCY_NOT_READY, f"{kind.label} isn't there yet")
    if live.failed:
        why = str(live.properties.get("deploymentErrors") or f"provisioningState is {live.state}")
        return outcome.Stalled(Reason.PROVISIONING_FAILED, f"{kind.label} {live.name}: {why}", slowly=True)
    if not live.settled:
        return outcome.InProgress(Reason.PROVISIONING, f"{kind.label} {live.name} is {live.state}", live.changed)
    return outcome.Done()


@dataclass(frozen=True)
class Why:
    """What is known to be wrong: a reason, in words. `passes` says that it isn't the release's doing."""

    reason: str
    message: str
    passes: bool = False


def revision(
    rollout: Rollout,
    live: observed.Resource | None,
    *,
    seen: observed.Workload,
    why: Why | None = None,
    started: datetime | None = None,
    now: datetime,
) -> outcome.Outcome:
    """Whether `live`, the revision of the release, None while there is none, serves. `started` is when its container
    started, None where it didn't or nobody knows.

    The app's own Succeeded and latestReadyRevisionName prove nothing (recorded: revisions-list-failed); the
    revision's three states do, and then the endpoint's answer.
    """
    if live is None:
        return _awaited(rollout, seen.app, now=now)
    since = observed.began(live, started)
    if healthy(live):
        return _checked(rollout, live, seen.check, since=since, now=now)
    if why is not None and why.passes:
        return _delayed(live, why, since=since)
    detail = _words(live, seen.replicas)
    if broken(live):
        reason, message = (why.reason, why.message) if why else (Reason.UNKNOWN, "")
        return outcome.Stalled(reason, _said(live, detail, message), slowly=True)
    return _activating(rollout, live, _said(live, detail, why.message if why else ""), why=why, since=since, now=now)


def healthy(live: observed.Resource) -> bool:
    """Provisioned, Healthy, and Running (recorded: revisions-list-activating); or at rest, where nothing runs that
    could vouch for its health (assumed: the words for it aren't recorded)."""
    facts = live.properties
    provisioned, health = facts.get("provisioningState"), facts.get("healthState")
    if facts.get("runningState") == "ScaledToZero":
        return provisioned != "Failed" and health != "Unhealthy"
    running = facts.get("runningState") in ("Running", "RunningAtMaxScale")
    return running and (provisioned, health) == ("Provisioned", "Healthy")


def broken(live: observed.Resource) -> bool:
    """Failed by the platform's own word (recorded: revisions-list-failed)."""
    facts = live.properties
    return "Failed" in (facts.get("provisioningState"), facts.get("runningState"))


def _awaited(rollout: Rollout, app: observed.Resource | None, *, now: datetime) -> outcome.Outcome:
    """The template is the wanted one and its revision isn't the latest: it comes soon after the write, or never."""
    written = app.changed if app else None
    if _past(rollout, written, now=now):
        message = f"no revision of release {rollout.release} {rollout.deadline:g} s after the app was written"
        return outcome.Stalled(Reason.DEADLINE_EXCEEDED, message, slowly=True)
    return outcome.InProgress(Reason.ROLLING_OUT, f"waiting for the revision of release {rollout.release}", written)


def _delayed(live: observed.Resource, why: Why, *, since: datetime | None) -> outcome.Outcome:
    """Nothing speaks against the release; a GPU may come at any moment, the rest is for people to mend."""
    message = f"{live.name}: {why.message}"
    if why.reason == Reason.NO_CAPACITY:
        waits = f"; it waits since {moments.rfc3339(since)}" if since else ""
        return outcome.InProgress(why.reason, f"{message}{waits}", since)
    return outcome.Stalled(why.reason, message, slowly=True)


def _activating(
    rollout: Rollout, live: observed.Resource, detail: str, *, why: Why | None, since: datetime | None, now: datetime
) -> outcome.Outcome:
    # What wakes from zero was healthy before, however old it is (assumed: the words for it aren't recorded).
    waking = live.properties.get("healthState") == "Healthy"
    if waking or not _past(rollout, since, now=now):
        return outcome.InProgress(Reason.ROLLING_OUT, detail, since)
    was_ready = live.properties.get("runningState") == "Degraded"
    reason = why.reason if why else Reason.PROBE_FAILED if was_ready else Reason.DEADLINE_EXCEEDED
    return outcome.Stalled(reason, f"not ready {rollout.deadline:g} s after its start; {detail}", slowly=True)


def _past(rollout: Rollout, since: datetime | None, *, now: datetime) -> bool:
    return since is not None and now - since > timedelta(seconds=rollout.deadline)


def _checked(
    rollout: Rollout,
    live: observed.Resource,
    check: observed.Check | None,
    *,
    since: datetime | None,
    now: datetime,
) -> outcome.Outcome:
    serving = f"revision {live.name} serves release {rollout.release}" if rollout.release else f"{live.name} serves"
    other = served.mismatch(live, check) if check is not None and _answers(check, rollout.release) else None
    if other is None and (rollout.successes == 0 or rollout.streak >= rollout.successes):
        return outcome.Done(serving)
    if check is not None and not check.conclusive:
        return outcome.Done(f"{serving}; the check was inconclusive: {check.message}")
    if check is None or (other is None and _answers(check, rollout.release)):
        return outcome.InProgress(
            Reason.ROLLING_OUT, f"{live.name}: check {rollout.streak} of {rollout.successes} passed", now
        )
    told = f"{live.name}: {check.message}" + (f": {other}" if other else "")
    if _past(rollout, since, now=now):
        return outcome.Stalled(Reason.CHECK_FAILED, told, slowly=True)
    return outcome.InProgress(Reason.ROLLING_OUT, told, since)


def _answers(check: observed.Check, release: str) -> bool:
    return check.passed and check.release in (None, release)


def answers(check: observed.Check | None, release: str, *, live: observed.Resource) -> bool:
    """Whether the endpoint answered as this release, and with the digests that its revision, `live`, names. An answer
    without a release counts: not every app tells."""
    return check is not None and _answers(check, release) and served.mismatch(live, check) is None


def _said(live: observed.Resource, words: Sequence[str], why: str) -> str:
    """What is wrong, and the platform's own words, nearest to the container last."""
    facts = live.properties
    state = f"revision {live.name} is {facts.get('runningState') or facts.get('provisioningState')}"
    return "; ".join([state, *([why] if why else []), *(one for one in words if one not in why)])


def _words(live: observed.Resource, replicas: Sequence[observed.Resource]) -> list[str]:
    facts = live.properties
    words = [str(facts.get(key)) for key in ("runningStateDetails", "provisioningError") if facts.get(key)]
    words += [
        str(container.get("runningStateDetails"))
        for replica in replicas
        for container in replica.properties.get("containers") or ()
        if container.get("runningStateDetails") and not container.get("ready")
    ]
    return list(dict.fromkeys(words))
