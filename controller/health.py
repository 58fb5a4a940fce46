"""Pure: what a resource's own answers say about its health, per kind. Time comes in as an argument."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind


@dataclass(frozen=True)
class Rollout:
    """What success means for one app. `deadline` in seconds from the revision's creation; `successes` is how many
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


def revision(
    rollout: Rollout, seen: observed.Workload, *, name: str, running: str | None, now: datetime
) -> outcome.Outcome:
    """Whether the revision called `name`, running release `running`, is the wanted one and serves.

    The app's own Succeeded and latestReadyRevisionName prove nothing (recorded: revisions-list-failed); the
    revision's three states do, and then the endpoint's answer.
    """
    live = seen.revision(name)
    if live is None or running != rollout.release:
        return _awaited(rollout, seen.app, now=now)
    if broken(live):
        return outcome.Stalled(_cause(live, seen.replicas), _why(live, seen.replicas), slowly=True)
    if not healthy(live):
        return _activating(rollout, live, seen.replicas, now=now)
    return _checked(rollout, live, seen.check, now=now)


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


def _activating(
    rollout: Rollout, live: observed.Resource, replicas: Sequence[observed.Resource], *, now: datetime
) -> outcome.Outcome:
    created = observed.moment(live.properties.get("createdTime"))
    detail = _why(live, replicas)
    if _past(rollout, created, now=now):
        message = f"not ready {rollout.deadline:g} s after its start; {detail}"
        return outcome.Stalled(Reason.DEADLINE_EXCEEDED, message, slowly=True)
    return outcome.InProgress(Reason.ROLLING_OUT, detail, created)


def _past(rollout: Rollout, since: datetime | None, *, now: datetime) -> bool:
    return since is not None and now - since > timedelta(seconds=rollout.deadline)


def _checked(
    rollout: Rollout, live: observed.Resource, check: observed.Check | None, *, now: datetime
) -> outcome.Outcome:
    serving = f"revision {live.name} serves release {rollout.release}" if rollout.release else f"{live.name} serves"
    if rollout.successes == 0 or rollout.streak >= rollout.successes:
        return outcome.Done(serving)
    if check is not None and not check.conclusive:
        return outcome.Done(f"{serving}; the check was inconclusive: {check.message}")
    if check is None or _answers(check, rollout.release):
        return outcome.InProgress(
            Reason.ROLLING_OUT, f"{live.name}: check {rollout.streak} of {rollout.successes} passed", now
        )
    created = observed.moment(live.properties.get("createdTime"))
    if _past(rollout, created, now=now):
        return outcome.Stalled(Reason.CHECK_FAILED, f"{live.name}: {check.message}", slowly=True)
    return outcome.InProgress(Reason.ROLLING_OUT, f"{live.name}: {check.message}", created)


def _answers(check: observed.Check, release: str) -> bool:
    return check.passed and check.release in (None, release)


def answers(check: observed.Check | None, release: str) -> bool:
    """Whether the endpoint answered as this release. An answer without a release counts: not every app tells."""
    return check is not None and _answers(check, release)


def _why(live: observed.Resource, replicas: Sequence[observed.Resource]) -> str:
    """The platform's own words, nearest to the container last."""
    facts = live.properties
    state = f"revision {live.name} is {facts.get('runningState') or facts.get('provisioningState')}"
    return "; ".join([state, *_words(live, replicas)])


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


CAUSES = (
    (re.compile(r"The TargetPort \d+ does not match the listening port"), Reason.PROBE_FAILED),
    (re.compile(r"FailedMount|MountVolume|[Ff]ailed to mount "), Reason.MOUNT_FAILED),
    (re.compile(r"ImagePullBackOff|ErrImagePull|[Ff]ailed to pull "), Reason.IMAGE_PULL_FAILED),
    (
        re.compile(r"Container ?[Cc]rashing|CrashLoopBackOff|Failed:Terminated|was terminated"),
        Reason.COMMAND_FAILED,
    ),
    (re.compile(r" probe failed"), Reason.PROBE_FAILED),
)
"""Recognised in the platform's words, first match first; names of apps and containers stand among them, so a row takes
whole phrases. Recorded: TargetPort, `Container crashing` (revisions-list-failed), CrashLoopBackOff, terminated;
assumed: mount, image pull and probe."""


def _cause(live: observed.Resource, replicas: Sequence[observed.Resource]) -> str:
    words = "; ".join(_words(live, replicas))
    return next((reason for pattern, reason in CAUSES if pattern.search(words)), Reason.PROVISIONING_FAILED)
