"""Whether an app fits where it is to run: its profile's machine, the room for a rollout, the quota, the image's name.

Pure. The Environment's own checks, and the language of both, are in `preflight`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from controller.model import desired, observed
from controller.model.kinds import Kind
from controller.plan import actions, machines, preflight
from controller.plan.preflight import Finding, Question

_SLACK = 1e-9


@dataclass(frozen=True)
class App:
    """An InferenceApp and what it is about to write. `peers` are the other apps on the same Environment."""

    wanted: desired.InferenceApp
    stands_on: desired.Environment
    seen: observed.Stack
    plan: actions.Plan
    peers: tuple[desired.InferenceApp, ...] = ()

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What must be known for `findings`. An environment that isn't there yet tells no quota."""
        machine, environment = self._machine, self.seen.environment
        if not self._starts or self._never_there or environment is None:
            return ()
        if machine is None or not (machine.serverless and machine.gpus):
            return ()
        return (Question("environment", self.stands_on.spec.subscription_id, environment.id),)

    def findings(self, answers: preflight.Answers) -> Iterator[Finding]:
        """Everything worth saying, given the answers to `questions`."""
        if not self._starts:
            return
        yield from image(self.wanted.spec.image)
        if self._never_there:
            yield self._no_profile()
        elif self._machine is not None:
            yield from self._on(self._machine, answers)

    @cached_property
    def _starts(self) -> bool:
        """Whether replicas will start: by another template, or elsewhere."""
        action = preflight.coming(self.plan, Kind.APP)
        if action is None or action.verb == "Create":
            return action is not None
        return not {"template", "workloadProfileName"}.isdisjoint(action.body.get("properties") or {})

    @cached_property
    def _profile(self) -> preflight.Profile:
        """As the Environment has it; loading saw to it that it does."""
        name = self.wanted.spec.workload_profile_name
        for one in self.stands_on.spec.container_apps.workload_profiles:
            if one.name == name:
                return preflight.Profile(name, one.type, one.maximum_count or 0)
        return preflight.Profile(name, desired.SERVERLESS)

    @property
    def _machine(self) -> machines.Machine | None:
        """None for a type that isn't known here: then Azure has to judge."""
        return machines.find(self._profile.type)

    @property
    def _never_there(self) -> bool:
        """Whether the environment lacks the profile, and nobody is to add it. Consumption is always there."""
        live, name = self.seen.environment, self._profile.name
        observing = self.stands_on.spec.mode == "Observe"
        return observing and live is not None and name.lower() not in {"consumption", *preflight.profiles(live)}

    def _no_profile(self) -> Finding:
        there = ", ".join(one.said for one in preflight.profiles(self.seen.environment).values())
        told = (
            f"spec.workloadProfileName: the managed environment has no workload profile {self._profile.said}, only "
            f"{there or 'Consumption'}, and Environment {self.stands_on.metadata.name}, in mode Observe, adds none; "
            "add it in Azure or set mode: Manage there"
        )
        return Finding("error", "profile", told)

    def _on(self, machine: machines.Machine, answers: preflight.Answers) -> Iterator[Finding]:
        profile = self._profile
        if problem := _too_large(self.wanted.spec.resources, profile, machine):
            yield Finding("error", "resources", problem)
        elif not machine.serverless:
            yield from self._room(machine)
        for question in self.questions:
            answer = answers[question]
            if isinstance(answer, preflight.Unanswered):
                yield preflight.unanswered(question, answer)
            else:
                yield from self._quota(machine, preflight.quota(answer, machine.quota))

    def _room(self, machine: machines.Machine) -> Iterator[Finding]:
        """A new revision starts beside the old one: it takes one replica more than the app serves with."""
        profile = self._profile
        holds = _replicas(self.wanted, machine)
        taken = sum(_served(one) / max(1, _replicas(one, machine)) for one in (self.wanted, *self._neighbours))
        needed = math.ceil(taken + 1 / holds - _SLACK)
        if needed > profile.most:
            told = (
                f"workload profile {profile.said} of Environment {self.stands_on.metadata.name}: maximumCount "
                f"{profile.most} leaves no room for a new revision beside the one that serves: a rollout would wait "
                f"for a machine; raise maximumCount to {needed}"
            )
            yield Finding("warning", "room", told)
        most = self.wanted.spec.scale.max_replicas
        if most > holds * profile.most:
            told = (
                f"spec.scale.maxReplicas: {most} can't all run: workload profile {profile.said} holds "
                f"{holds * profile.most} at maximumCount {profile.most}; raise that or lower maxReplicas"
            )
            yield Finding("warning", "room", told)

    @property
    def _neighbours(self) -> Iterator[desired.InferenceApp]:
        """Peers on the same profile."""
        name = self.wanted.spec.workload_profile_name.lower()
        return (one for one in self.peers if one.spec.workload_profile_name.lower() == name)

    def _quota(self, machine: machines.Machine, usage: preflight.Usage | None) -> Iterator[Finding]:
        """Of serverless GPUs, which count per environment. What is in use may be the old revision's, which runs on
        until the new one serves."""
        profile = self._profile
        if usage is None:
            told = f"unknown: the GPU quota of {profile.said}: the environment tells none called {machine.quota}"
            yield Finding("note", "quota", told)
            return
        needed = machine.gpus * _served(self.wanted)
        told = f"workload profile {profile.said}: a new revision needs {preflight.gpus(needed)}, the environment has"
        if usage.limit < machine.gpus:
            yield Finding("error", "quota", f"{told} none: {usage}; {preflight.MORE} or name another profile")
        elif usage.left < needed:
            told = f"{told} {usage.left:g} left: {usage}; the rollout would wait for capacity; {preflight.MORE}"
            yield Finding("warning", "quota", told)
        elif usage.limit < machine.gpus * self.wanted.spec.scale.max_replicas:
            most = self.wanted.spec.scale.max_replicas
            told = f"spec.scale.maxReplicas: {most} can't all run: {usage}; lower it or {preflight.MORE}"
            yield Finding("warning", "quota", told)


def image(name: str) -> Iterator[Finding]:
    """A name that may mean other code tomorrow."""
    tagged, _, digest = name.partition("@")
    tag = tagged.rpartition("/")[2].partition(":")[2]
    if digest or tag not in ("", "latest"):
        return
    said = "has the tag latest" if tag else "has no tag, which means latest"
    told = f"spec.image: {name} {said}: a restart may run other code; name a version or a digest"
    yield Finding("warning", "image", told)


def _too_large(wanted: desired.Resources, profile: preflight.Profile, machine: machines.Machine) -> str | None:
    """Why no machine holds one replica."""
    cpu, memory = wanted.cpu, _memory(wanted)
    asked = f"spec.resources: cpu {cpu:g}, memory {wanted.memory}"
    if machine.type == desired.SERVERLESS:
        if cpu <= machine.cores and (cpu * 4).is_integer() and memory == 2 * cpu:
            return None
        # documented: the pairs that the Consumption profile takes
        return (
            f"{asked}: workload profile {profile.said} takes 0.25 to {machine.cores:g} cores in steps of 0.25, each "
            f"with 2Gi, as in {{cpu: {machine.cores:g}, memory: {machine.memory:g}Gi}}; set such a pair or name "
            "another profile"
        )
    if machine.replicas(cpu, memory) >= 1:
        return None
    return (
        f"{asked}: don't fit workload profile {profile.said}, whose machines have {machine.said}; lower them or name "
        "a larger profile"
    )


def _replicas(one: desired.InferenceApp, machine: machines.Machine) -> int:
    return machine.replicas(one.spec.resources.cpu, _memory(one.spec.resources))


def _served(one: desired.InferenceApp) -> int:
    """The replicas at least that an app serves with; one that sleeps is awake when it's used."""
    return max(1, one.spec.scale.min_replicas)


def _memory(wanted: desired.Resources) -> float:
    return float(wanted.memory.removesuffix("Gi"))
