"""What a plan can't show by itself: whether Azure would take what it writes, and whether the app would run then.

Pure: which questions to ask, and what the answers mean. Only what is about to be written is judged, so that a settled
object asks nothing, and what the planner says already isn't said again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from controller.model import desired, identity, observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, machines, steps

Level = Literal["error", "warning", "note"]
Json = Mapping[str, Any]

ENVIRONMENTS = "ManagedEnvironmentCount"
"""The quota of a subscription in a region that every environment counts against (recorded: locations' usages)."""

MORE = "ask for more in the Azure portal (Quotas)"


@dataclass(frozen=True)
class Finding:
    """An `error` can't work as it stands, a `warning` may not be meant, a `note` is good to know or couldn't be looked
    at. `check` names the check in a word; `message` the field, its value and what to do."""

    level: Level
    check: str
    message: str


@dataclass(frozen=True)
class Question:
    """One read. `of` is what it asks about: an account's name, a region's code, an environment's id."""

    about: Literal["name", "profiles", "quota", "environment"]
    subscription: str
    of: str


@dataclass(frozen=True)
class Unanswered:
    """A read that gave nothing, and why; `reason` is one of `conditions.Reason`."""

    reason: str
    message: str


Answer = tuple[Json, ...] | Unanswered
"""The items of the service's list. For a name: none where it can be had, else one with the service's `message`."""

Answers = Mapping[Question, Answer]

# What isn't known without the answer, and the permission that it takes (documented: the providers' operations).
_UNKNOWN = {
    "name": ("whether the storage account's name is free", "Microsoft.Storage/checknameavailability/read"),
    "profiles": (
        "which workload profiles the region offers",
        "Microsoft.App/locations/availablemanagedenvironmentsworkloadprofiletypes/read",
    ),
    "quota": ("what quota is left in the region", "Microsoft.App/locations/usages/read"),
    "environment": ("what quota is left in the environment", "Microsoft.App/managedEnvironments/usages/read"),
}


def coming(plan: actions.Plan, kind: Kind) -> actions.Action | None:
    """What will be written of `kind`, now or once something else is there. None where nothing is, or something is in
    the way for good, which the plan says. A reader, who may do less than the controller, is no such thing."""
    found = None
    for step in plan.steps:
        stop = step.blocked.reason if isinstance(step.blocked, outcome.Stalled) else None
        if stop in (Reason.GUARDED, Reason.OWNED_BY_OTHER):
            return None
        if step.kind is kind and stop in (None, Reason.FORBIDDEN):
            found = step.action
    return found


def unanswered(question: Question, answer: Unanswered) -> Finding:
    """What it means that `question` wasn't answered: an error only where the service doesn't know the region."""
    what, permission = _UNKNOWN[question.about]
    namespace = permission.partition("/")[0]
    match answer.reason:
        case Reason.REGISTERING | Reason.NOT_REGISTERED:
            told = f"{namespace} isn't registered in subscription {question.subscription} yet; it will be registered"
            return Finding("note", "provider", told)
        case Reason.FORBIDDEN:
            return Finding("note", question.about, f"unknown: {what}: needs {permission}")
        case Reason.INVALID_REQUEST if question.about in ("profiles", "quota"):
            told = f"spec.location: {question.of}: {answer.message}; choose a region that Microsoft.App is offered in"
            return Finding("error", "region", told)
    return Finding("note", question.about, f"unknown: {what}: {answer.message}")


@dataclass(frozen=True)
class Environment:
    """An Environment and what it is about to write."""

    wanted: desired.Environment
    ids: identity.Ids
    seen: observed.Stack
    plan: actions.Plan

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What must be known for `findings`."""
        asked = []
        subscription, location = self.wanted.spec.subscription_id, self._location
        account, environment = coming(self.plan, Kind.ACCOUNT), coming(self.plan, Kind.ENVIRONMENT)
        if account and account.verb == "Create":
            asked.append(Question("name", subscription, self.ids.names.account))
        # Also for an environment without dedicated profiles: its region may not be one.
        if location and environment and (self._creates or self._new):
            asked.append(Question("profiles", subscription, location))
        if location and environment and (self._creates or self._raised):
            asked.append(Question("quota", subscription, location))
        return tuple(asked)

    def findings(self, answers: Answers) -> Iterator[Finding]:
        """Everything worth saying, given the answers to `questions`."""
        for question in self.questions:
            answer = answers[question]
            if isinstance(answer, Unanswered):
                yield unanswered(question, answer)
            elif question.about == "name":
                yield from self._taken(answer)
            elif question.about == "profiles":
                yield from self._not_offered(answer)
            else:
                yield from self._over_quota(answer)

    @property
    def _creates(self) -> bool:
        return self.seen.environment is None

    @cached_property
    def _location(self) -> str | None:
        """The region's code."""
        said = steps.location(self.seen.environment) or self.wanted.spec.location or steps.location(self.seen.group)
        return "".join(letter for letter in said.lower() if letter not in " ()") if said else None

    @cached_property
    def _dedicated(self) -> tuple[tuple[str, desired.WorkloadProfile], ...]:
        """The dedicated profiles by the field they stand in. Serverless GPU types are in no list and no quota of a
        region (recorded: location-workloadprofile-types-gpu)."""
        there = enumerate(self.wanted.spec.container_apps.workload_profiles)
        return tuple((f"spec.containerApps.workloadProfiles[{at}]", one) for at, one in there if not one.serverless)

    @cached_property
    def _held(self) -> dict[str, int]:
        """How many machines each live profile may have, by its lower-case name."""
        return {name: one.most for name, one in profiles(self.seen.environment).items()}

    @cached_property
    def _new(self) -> tuple[tuple[str, desired.WorkloadProfile], ...]:
        return tuple((field, one) for field, one in self._dedicated if one.name.lower() not in self._held)

    @cached_property
    def _raised(self) -> int:
        """GPUs that the dedicated profiles may hold beyond what they may hold now."""
        return sum(
            max(0, (one.maximum_count or 0) - self._held.get(one.name.lower(), 0)) * _gpus(one)
            for _, one in self._dedicated
        )

    def _taken(self, refusals: tuple[Json, ...]) -> Iterator[Finding]:
        for refusal in refusals:
            why = str(refusal["message"]).rstrip(".")
            told = f"storage account {self.ids.names.account!r} can't be created: {why}"
            yield Finding("error", "name", f"{told}; set spec.storage.accountName to another name")

    def _not_offered(self, types: tuple[Json, ...]) -> Iterator[Finding]:
        offered = [str(one.get("name")) for one in types]
        known = {name.lower() for name in offered}
        for field, one in self._new:
            if one.type.lower() not in known:
                told = f"{field}.type: region {self._location} has no {one.type}; it has {', '.join(offered) or 'none'}"
                yield Finding("error", "region", f"{told}; choose one of these types or another region")

    def _over_quota(self, usages: tuple[Json, ...]) -> Iterator[Finding]:
        environments = quota(usages, ENVIRONMENTS)
        if self._creates and environments and environments.left < 1:
            told = f"region {self._location} has no room for an environment: {environments}; {MORE}"
            yield Finding("error", "quota", told)
        if self._raised:
            yield from self._over_gpus(quota(usages, machines.DEDICATED_GPUS))

    def _over_gpus(self, usage: Usage | None) -> Iterator[Finding]:
        if usage is None:
            told = f"unknown: the GPU quota: region {self._location} tells none called {machines.DEDICATED_GPUS}"
            yield Finding("note", "quota", told)
            return
        if usage.left >= self._raised:
            return
        # Every new profile must be able to have a machine at all.
        least = sum(max(1, one.minimum_count or 0) * _gpus(one) for _, one in self._new)
        asked = ", ".join(f"{field} ({one.name}, {one.type})" for field, one in self._dedicated if _gpus(one))
        told = (
            f"{asked}: up to {gpus(self._raised)} more by maximumCount, but region {self._location} has "
            f"{usage.left:g} left: {usage}"
        )
        if usage.left < least:
            yield Finding("error", "quota", f"{told}; {MORE}, or choose another region or a Consumption-GPU type")
        else:
            yield Finding("warning", "quota", f"{told}; lower maximumCount or {MORE}")


@dataclass(frozen=True)
class Usage:
    """One quota: what is in use, and the most."""

    name: str
    current: float
    limit: float

    @property
    def left(self) -> float:
        return max(0.0, self.limit - self.current)

    def __str__(self) -> str:
        return f"{self.current:g} of {self.limit:g} in use ({self.name})"


def quota(usages: tuple[Json, ...], name: str) -> Usage | None:
    """The usage called `name` (recorded: managedenv-usages), None where it isn't told."""
    for one in usages:
        if str((one.get("name") or {}).get("value")).lower() == name.lower():
            return Usage(name, float(one.get("currentValue") or 0), float(one.get("limit") or 0))
    return None


@dataclass(frozen=True)
class Profile:
    """A workload profile as apps see it. `most` is its maximumCount, 0 for serverless ones."""

    name: str
    type: str
    most: int = 0

    @property
    def said(self) -> str:
        """As people read it."""
        return self.name if self.name == self.type else f"{self.name} ({self.type})"


def profiles(live: observed.Resource | None) -> dict[str, Profile]:
    """Those of an environment, by lower-case name."""
    there = (live.properties.get("workloadProfiles") or ()) if live else ()
    return {
        str(one.get("name")).lower(): Profile(
            str(one.get("name")), str(one.get("workloadProfileType")), int(one.get("maximumCount") or 0)
        )
        for one in there
    }


def gpus(count: int) -> str:
    return f"{count} GPU{'s' if count > 1 else ''}"


def _gpus(one: desired.WorkloadProfile) -> int:
    machine = machines.find(one.type)
    return machine.gpus if machine else 0
