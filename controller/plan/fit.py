"""Whether an app fits where it is to run: its profile's machine, the room for a rollout, the quota, the image's name;
and what a rollout will do that may not be meant.

Pure. The Environment's own checks, and the language of both, are in `preflight`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from controller.model import desired, fields, observed
from controller.model.kinds import Kind
from controller.plan import actions, machines, preflight, weights
from controller.plan.preflight import Finding, Question

_SLACK = 1e-9

RECREATE = "set spec.rollout.strategy to Recreate, which stops the old one first"


@dataclass(frozen=True)
class App:
    """An InferenceApp and what it is about to write. `peers` are the other apps on the same Environment; `live` is what
    was seen of it, None where it isn't there."""

    wanted: desired.InferenceApp
    stands_on: desired.Environment
    seen: observed.Stack
    plan: actions.Plan
    peers: tuple[desired.InferenceApp, ...] = ()
    live: observed.Workload | None = None

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
        if self._action is None:
            return
        yield from self._modes()
        yield from self._sessions(self._action)
        if not self._starts:
            return
        yield from image(self.wanted.spec.image)
        yield from deadline(self.wanted.spec)
        yield from self._model()
        if self._never_there:
            yield self._no_profile()
        elif self._machine is not None:
            yield from self._on(self._machine, answers)

    @cached_property
    def _action(self) -> actions.Action | None:
        return preflight.coming(self.plan, Kind.APP)

    @cached_property
    def _starts(self) -> bool:
        """Whether replicas will start: by another template, or elsewhere."""
        action = self._action
        if action is None or action.verb == "Create":
            return action is not None
        return not {"template", "workloadProfileName"}.isdisjoint(action.body.get("properties") or {})

    @cached_property
    def _listed(self) -> desired.WorkloadProfile | None:
        return machines.profile(self.wanted, self.stands_on)

    @cached_property
    def _profile(self) -> preflight.Profile:
        """As the Environment has it; loading saw to it that it does."""
        one = self._listed
        if one is None:
            return preflight.Profile(self.wanted.spec.workload_profile_name, desired.SERVERLESS)
        return preflight.Profile(one.name, one.type, one.maximum_count or 0)

    @property
    def _machine(self) -> machines.Machine | None:
        """None for a type that isn't known here: then Azure has to judge."""
        return machines.of(self.wanted, self.stands_on)

    @property
    def _never_there(self) -> bool:
        """Whether the environment lacks the profile, and nobody is to add it. Consumption is always there."""
        live, name = self.seen.environment, self._profile.name
        observing = self.stands_on.spec.mode == "Observe"
        return observing and live is not None and name.lower() not in {"consumption", *preflight.profiles(live)}

    @property
    def _body(self) -> preflight.Json:
        """The live app's properties; none where there is no app."""
        return self.live.app.properties if self.live and self.live.app else {}

    def _model(self) -> Iterator[Finding]:
        """Of the folders on the share, where a new release is to load them."""
        model, seen = self.wanted.spec.model, self.live.weights if self.live else None
        if model is None:
            return
        folders = " and ".join(folder for folder in (model.base, model.adapter) if folder)
        if seen is not None:
            yield from weights.findings(model, seen)
        elif self.seen.share is None:
            told = f"spec.model: the share isn't there yet: upload {folders} once it is; the release waits for it"
            yield Finding("note", "model", told)
        elif self.seen.keys is None:
            told = (
                f"unknown: whether {folders} are on the share: needs Microsoft.Storage/storageAccounts/listKeys/action"
            )
            yield Finding("note", "model", told)

    def _no_profile(self) -> Finding:
        there = ", ".join(one.said for one in preflight.profiles(self.seen.environment).values())
        told = (
            f"spec.workloadProfileName: the managed environment has no workload profile {self._profile.said}, only "
            f"{there or 'Consumption'}, and Environment {self.stands_on.metadata.name}, in mode Observe, adds none; "
            "add it in Azure or set mode: Manage there"
        )
        return Finding("error", "profile", told)

    def _modes(self) -> Iterator[Finding]:
        """A change of the revision mode, which is carried out in steps."""
        there = (self._body.get("configuration") or {}).get("activeRevisionsMode")
        rollout = self.wanted.spec.rollout
        wish = "Multiple" if rollout.beside else "Single"
        if there is None or str(there).lower() == wish.lower():
            return
        how = (
            "before a new revision is made; the one that serves keeps all traffic until that is proven"
            if rollout.beside
            else "once the latest revision has all traffic; the others are stopped then"
        )
        told = f"spec.rollout.strategy: {rollout.strategy}: the revision mode {there} becomes {wish}, {how}"
        yield Finding("note", "mode", told)

    def _sessions(self, action: actions.Action) -> Iterator[Finding]:
        """Sticky sessions that are about to be set, and that nobody asked for."""
        spec = self.wanted.spec
        if not spec.sticky or spec.ingress.sticky is not None:
            return
        config = (action.body.get("properties") or {}).get("configuration") or {}
        if action.verb == "Create" or (config.get("ingress") or {}).get("stickySessions"):
            told = (
                f"spec.scale.maxReplicas: {spec.scale.max_replicas}: sticky sessions are set, so that a client stays "
                "with one replica; if the app keeps no sessions set spec.ingress.sticky to false"
            )
            yield Finding("note", "sessions", told)

    def _on(self, machine: machines.Machine, answers: preflight.Answers) -> Iterator[Finding]:
        yield from self._pair(machine)
        yield from self._given_up(machine)
        if not machine.serverless:
            yield from self._room(machine)
        for question in self.questions:
            answer = answers[question]
            if isinstance(answer, preflight.Unanswered):
                yield preflight.unanswered(question, answer)
            else:
                yield from self._quota(machine, preflight.quota(answer, machine.quota))

    def _pair(self, machine: machines.Machine) -> Iterator[Finding]:
        """Cores and memory that don't go together. What others added to the app counts too, so then Azure judges."""
        cpu, memory = machines.resources(self.wanted, self.stands_on)
        others = len((self._body.get("template") or {}).get("containers") or ()) > 1
        if others or machine.pairable(cpu, machines.gib(memory)):
            return
        # documented: the pairs that the Consumption profile takes
        told = (
            f"spec.resources: cpu {cpu:g}, memory {memory}: workload profile {self._profile.said} takes 0.25 to "
            f"{machine.cores:g} cores in steps of 0.25, each with 2Gi, as in {machine.largest}; set such a pair or "
            "name another profile"
        )
        yield Finding("error", "resources", told)

    def _given_up(self, machine: machines.Machine) -> Iterator[Finding]:
        """A GPU that is let go before the new revision has one. Machines that are kept in any case stay."""
        kept = (self._listed.minimum_count or 0) if self._listed else 0
        if self.wanted.spec.rollout.strategy != "Recreate" or not machine.gpus or not self._old:
            return
        if kept >= self._machines(machine, beside=False):
            return
        told = (
            "spec.rollout.strategy: Recreate stops the old revision first: nothing answers until the new one is ready, "
            f"and the {preflight.gpus(machine.gpus * self._old)} it lets go on workload profile {self._profile.said} "
            "may not come back"
        )
        yield Finding("warning", "recreate", told)

    @cached_property
    def _new(self) -> int:
        """Replicas that a new revision starts with."""
        return _served(self.wanted)

    @cached_property
    def _old(self) -> int:
        """Replicas that hold a place on the profile until a new revision serves, as far as known; none where the app
        isn't there, or runs elsewhere."""
        body = self._body
        if not body or str(body.get("workloadProfileName")).lower() != self._profile.name.lower():
            return 0
        least = int(((body.get("template") or {}).get("scale") or {}).get("minReplicas") or 0)
        revisions = self.live.revisions if self.live else ()
        running = sum(int(one.properties.get("replicas") or 0) for one in revisions if one.properties.get("active"))
        return max(1, least, running)

    def _machines(self, machine: machines.Machine, *, beside: bool) -> int:
        """How many machines the apps on the profile need, `beside` in a rollout that keeps the old revision until the
        new one has as many replicas (documented: "Zero downtime deployment")."""
        mine = self._new + (max(self._old, self._new) if beside else 0)
        others = sum(_served(one) / self._holds(one, machine) for one in self._neighbours)
        return math.ceil(others + mine / self._holds(self.wanted, machine) - _SLACK)

    def _holds(self, one: desired.InferenceApp, machine: machines.Machine) -> int:
        """Replicas of an app that one machine has room for."""
        cpu, memory = machines.resources(one, self.stands_on)
        return max(1, machine.replicas(cpu, machines.gib(memory)))

    def _room(self, machine: machines.Machine) -> Iterator[Finding]:
        profile, beside = self._profile, self.wanted.spec.rollout.strategy != "Recreate"
        where = f"workload profile {profile.said} of Environment {self.stands_on.metadata.name}: maximumCount"
        alone, needed = self._machines(machine, beside=False), self._machines(machine, beside=beside)
        if alone > profile.most:
            told = f"{where} {profile.most} is too few for the apps on it; raise maximumCount to {needed}"
            yield Finding("warning", "room", told)
        elif needed > profile.most:
            told = (
                f"{where} {profile.most} leaves no room for a new revision beside the one that serves: a rollout would "
                f"wait for a machine; raise maximumCount to {needed}, or {RECREATE}"
            )
            yield Finding("warning", "room", told)
        most, holds = self.wanted.spec.scale.max_replicas, self._holds(self.wanted, machine)
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
        until the new one serves, unless it is stopped first."""
        profile, recreate = self._profile, self.wanted.spec.rollout.strategy == "Recreate"
        if usage is None:
            told = f"unknown: the GPU quota of {profile.said}: the environment tells none called {machine.quota}"
            yield Finding("note", "quota", told)
            return
        needed, freed = machine.gpus * self._new, machine.gpus * self._old
        told = f"workload profile {profile.said}: a new revision needs {preflight.gpus(needed)}, the environment has"
        if usage.limit < machine.gpus:
            yield Finding("error", "quota", f"{told} none: {usage}; {preflight.MORE} or name another profile")
        elif usage.left + (freed if recreate else 0) < needed:
            helps = not recreate and 0 < needed <= usage.left + freed
            remedy = f"{preflight.MORE}, or {RECREATE}" if helps else preflight.MORE
            told = f"{told} {usage.left:g} left: {usage}; the rollout would wait for capacity; {remedy}"
            yield Finding("warning", "quota", told)
        elif usage.limit < machine.gpus * self.wanted.spec.scale.max_replicas:
            most = self.wanted.spec.scale.max_replicas
            told = f"spec.scale.maxReplicas: {most} can't all run: {usage}; lower it or {preflight.MORE}"
            yield Finding("warning", "quota", told)


def deadline(spec: desired.AppSpec) -> Iterator[Finding]:
    """A release that is given up while its probes would still wait for it."""
    limit, budget = spec.rollout.deadline, spec.startup_budget
    if spec.probes is None and limit < budget:
        told = (
            f"spec.rollout.deadline: {fields.duration(limit)} is shorter than spec.startupBudget, "
            f"{fields.duration(budget)}: a release that needs longer to start is given up before; raise the deadline "
            "or lower the budget"
        )
        yield Finding("warning", "deadline", told)


def image(name: str) -> Iterator[Finding]:
    """A name that may mean other code tomorrow."""
    tagged, _, digest = name.partition("@")
    tag = tagged.rpartition("/")[2].partition(":")[2]
    if digest or tag not in ("", "latest"):
        return
    said = "has the tag latest" if tag else "has no tag, which means latest"
    told = f"spec.image: {name} {said}: a restart may run other code; name a version or a digest"
    yield Finding("warning", "image", told)


def _served(one: desired.InferenceApp) -> int:
    """The replicas at least that an app serves with; one that sleeps is awake when it's used."""
    return max(1, one.spec.scale.min_replicas)
