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
    state = live.state.lower()
    if state in ("failed", "canceled"):
        why = str(live.properties.get("deploymentErrors") or f"provisioningState is {live.state}")
        return outcome.Stalled(Reason.PROVISIONING_FAILED, f"{kind.label} {live.name}: {why}", slowly=True)
    if not live.settled:
        return outcome.InProgress(Reason.PROVISIONING, f"{kind.label} {live.name} is {live.state}", changed(live))
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
        return outcome.InProgress(Reason.ROLLING_OUT, f"waiting for the revision of release {rollout.release}")
    if broken(live):
        return outcome.Stalled(_cause(live, seen.replicas), _why(live, seen.replicas), slowly=True)
    if not healthy(live):
        return _activating(rollout, live, seen.replicas, now=now)
    return _checked(rollout, live, seen.check, now=now)


def healthy(live: observed.Resource) -> bool:
    """Provisioned, Healthy, and Running or at rest (recorded: revisions-list-activating)."""
    facts = live.properties
    words = (facts.get("provisioningState"), facts.get("healthState"), facts.get("runningState"))
    return words[:2] == ("Provisioned", "Healthy") and words[2] in ("Running", "RunningAtMaxScale", "ScaledToZero")


def broken(live: observed.Resource) -> bool:
    """Failed by the platform's own word (recorded: revisions-list-failed)."""
    facts = live.properties
    return "Failed" in (facts.get("provisioningState"), facts.get("runningState"))


def changed(live: observed.Resource) -> datetime | None:
    """When the resource was last written, aware; the service sends it with and without a zone."""
    return moment((live.body.get("systemData") or {}).get("lastModifiedAt"))


def moment(text: object) -> datetime | None:
    """A timestamp of the service as an aware datetime: `Z`, an offset or nothing at its end, 0 to 7 digits."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?", text) if isinstance(text, str) else None
    return None if match is None else datetime.fromisoformat(f"{match[1]}{(match[2] or '.0').ljust(7, '0')}+00:00")


def _activating(
    rollout: Rollout, live: observed.Resource, replicas: Sequence[observed.Resource], *, now: datetime
) -> outcome.Outcome:
    created = moment(live.properties.get("createdTime"))
    detail = _why(live, replicas)
    if created and now - created > timedelta(seconds=rollout.deadline):
        message = f"not ready {rollout.deadline:g} s after its start; {detail}"
        return outcome.Stalled(Reason.DEADLINE_EXCEEDED, message, slowly=True)
    return outcome.InProgress(Reason.ROLLING_OUT, detail, created)


def _checked(
    rollout: Rollout, live: observed.Resource, check: observed.Check | None, *, now: datetime
) -> outcome.Outcome:
    serving = f"revision {live.name} serves release {rollout.release}"
    if rollout.successes == 0 or rollout.streak >= rollout.successes:
        return outcome.Done(serving)
    if check is not None and not check.conclusive:
        return outcome.Done(f"{serving}; the check was inconclusive: {check.message}")
    if check is None or _answers(check, rollout.release):
        return outcome.InProgress(
            Reason.ROLLING_OUT, f"{live.name}: check {rollout.streak} of {rollout.successes} passed", now
        )
    created = moment(live.properties.get("createdTime"))
    if created and now - created > timedelta(seconds=rollout.deadline):
        return outcome.Stalled(Reason.CHECK_FAILED, f"{live.name}: {check.message}", slowly=True)
    return outcome.InProgress(Reason.ROLLING_OUT, f"{live.name}: {check.message}", created)


def _answers(check: observed.Check, release: str) -> bool:
    return check.passed and check.release in (None, release)


def answers(check: observed.Check | None, release: str) -> bool:
    """Whether the endpoint answered as this release. An answer without a release counts: not every app tells."""
    return check is not None and _answers(check, release)


def _why(live: observed.Resource, replicas: Sequence[observed.Resource]) -> str:
    """The platform's own words, nearest to the container first."""
    facts = live.properties
    state = f"revision {live.name} is {facts.get('runningState') or facts.get('provisioningState')}"
    words = [str(facts.get(key)) for key in ("runningStateDetails", "provisioningError") if facts.get(key)]
    words += [
        str(container.get("runningStateDetails"))
        for replica in replicas
        for container in replica.properties.get("containers") or ()
        if container.get("runningStateDetails") and not container.get("ready")
    ]
    return "; ".join([state, *dict.fromkeys(words)])


CAUSES = (
    (re.compile(r"mount", re.IGNORECASE), Reason.MOUNT_FAILED),
    (re.compile(r"ImagePull|ErrImage|pulling image", re.IGNORECASE), Reason.IMAGE_PULL_FAILED),
    (re.compile(r"Container crashing|CrashLoopBackOff|terminated", re.IGNORECASE), Reason.COMMAND_FAILED),
    (re.compile(r"TargetPort|probe", re.IGNORECASE), Reason.PROBE_FAILED),
)
"""Recognised in the platform's words, first match first. Recorded: `Container crashing` (revisions-list-failed),
CrashLoopBackOff, TargetPort; assumed: the mount and image-pull wordings."""


def _cause(live: observed.Resource, replicas: Sequence[observed.Resource]) -> str:
    words = _why(live, replicas)
    return next((reason for pattern, reason in CAUSES if pattern.search(words)), Reason.PROVISIONING_FAILED)
