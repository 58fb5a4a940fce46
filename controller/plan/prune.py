"""What to delete of objects that are no longer desired, given what was seen; and what stays, and why.

Pure. An object's resources are those whose owner tag names it. Of these goes what was created for the object, where its
own deletionPolicy says Delete, dependents before what they depend on; the storage account, whose tags keep the policy,
goes last. What another object of the desired state names stays. Resource groups are never looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from controller.model import observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions

Key = tuple[str, str]
Resources = tuple[observed.Resource, ...]
State = Literal["Delete", "Deleting", "Waiting", "Kept"]

TAGGED: Mapping[Kind, str] = {
    Kind.APP: "InferenceApp",
    Kind.ENVIRONMENT: "Environment",
    Kind.WORKSPACE: "Environment",
    Kind.ACCOUNT: "Environment",
}
"""The kinds that carry owner tags, and the kind of object that they may belong to."""

LEAVING = ("deleting", "scheduledfordelete")
"""Provisioning states of what is being deleted (recorded: managedenv-get-scheduledfordelete; assumed for apps)."""


@dataclass(frozen=True)
class Seen:
    """Everything in the scopes that are looked at, whoever's it is. Ids that are keys are in lower case.

    shares    by the account's id, `storages` environment storages by the environment's: only where an account may go
    named     which object of the desired state, `kind/name`, names the resource
    """

    resources: Mapping[Kind, Resources]
    shares: Mapping[str, Resources] = field(default_factory=dict)
    storages: Mapping[str, Resources] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)

    def of(self, owner: tags.Owner, kind: Kind) -> Resources:
        """The object's resources of this kind."""
        return tuple(one for one in self.resources.get(kind, ()) if _owner(kind, one) == owner)

    def afresh(self, kind: Kind, resource_id: str, found: observed.Resource | None) -> Seen:
        """The same with what was found when the resource was read once more."""
        if kind is Kind.SHARE:
            account = resource_id.lower().partition("/fileservices/")[0]
            shares = _replaced(self.shares.get(account, ()), resource_id, found)
            return replace(self, shares={**self.shares, account: shares})
        fresh = _replaced(self.resources.get(kind, ()), resource_id, found)
        return replace(self, resources={**self.resources, kind: fresh})


@dataclass(frozen=True)
class Step:
    """What is to become of one resource. `why` explains Waiting and Kept. `place` is an app's environment, in which one
    deletion is under way at a time."""

    owner: tags.Owner
    kind: Kind
    resource_id: str
    state: State
    why: str = ""
    place: str = ""

    @property
    def name(self) -> str:
        return self.resource_id.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Plan:
    """Every step of every object that is gone. `held` says why nothing at all is deleted, where that is so."""

    steps: tuple[Step, ...] = ()
    held: str = ""

    @property
    def ready(self) -> tuple[Step, ...]:
        return () if self.held else tuple(step for step in self.steps if step.state == "Delete")

    @property
    def going(self) -> bool:
        """Whether anything is to go, now or later."""
        return any(step.state != "Kept" for step in self.steps)


def plan(seen: Seen, *, inventory: str, desired: Collection[Key], mass: bool) -> Plan:
    """For every object of `inventory` that tags name and that isn't among `desired`. `mass` allows more than half of
    the objects to go at once."""
    objects = owners(seen, inventory=inventory)
    gone = [owner for owner in objects if (owner.kind, owner.name) not in desired]
    made = Plan(_in_turn([step for owner in gone for step in steps(owner, seen)]))
    going = len({step.owner for step in made.steps if step.state != "Kept"})
    return replace(made, held=_held(going, len(desired), inventory=inventory, mass=mass))


def owners(seen: Seen, *, inventory: str | None = None) -> tuple[tags.Owner, ...]:
    """Every object that tags name, of one inventory or of all, sorted."""
    found = {_owner(kind, one) for kind, resources in seen.resources.items() for one in resources}
    ours = (owner for owner in found if owner is not None and inventory in (None, owner.inventory))
    return tuple(sorted(ours, key=str))


def steps(owner: tags.Owner, seen: Seen, *, policy: str | None = None) -> tuple[Step, ...]:
    """What is to become of the object's resources, those to go first first. `policy` counts instead of the recorded
    one."""
    if owner.kind == "InferenceApp":
        return tuple(_app(owner, one, seen, policy=policy) for one in seen.of(owner, Kind.APP))
    accounts = seen.of(owner, Kind.ACCOUNT)
    policy = policy or _recorded(accounts)
    environments = [_environment(owner, one, seen, policy=policy) for one in seen.of(owner, Kind.ENVIRONMENT)]
    workspaces = [_workspace(owner, one, seen, policy=policy) for one in seen.of(owner, Kind.WORKSPACE)]
    first = [*environments, *workspaces]
    return (*first, *(step for one in accounts for step in _account(owner, one, seen, policy=policy, after=first)))


def shown(made: Plan) -> Mapping[str, actions.Plan]:
    """The plan as those of other objects are shown, by `kind/name`."""
    found: dict[str, list[actions.Step]] = {}
    for step in made.steps:
        found.setdefault(f"{step.owner.kind}/{step.owner.name}", []).append(_shown(step, held=made.held))
    return {name: actions.Plan(tuple(each)) for name, each in found.items()}


def kept(made: Sequence[Step]) -> tuple[str, ...]:
    """One line for each resource that stays."""
    return tuple(
        f"{step.owner.kind}/{step.owner.name}: {step.kind.label} {step.name} stays: {step.why}"
        for step in made
        if step.state == "Kept"
    )


def _in_turn(made: Sequence[Step]) -> tuple[Step, ...]:
    """While an app of an environment is being deleted, another's deletion would be refused."""
    busy = {step.place: step.name for step in made if step.place and step.state == "Deleting"}
    return tuple(
        after(step, busy[step.place]) if step.state == "Delete" and step.place in busy else step for step in made
    )


def after(step: Step, other: str) -> Step:
    """The step, once the app called `other` is gone."""
    return replace(step, state="Waiting", why=f"after containerApp {other}, in the same environment")


def _held(going: int, wanted: int, *, inventory: str, mass: bool) -> str:
    """An inventory without objects is a mistake more often than a wish, so no flag says that it is meant."""
    if going and not wanted:
        return f"nothing is desired in inventory {inventory}: {_objects(going)} would be deleted, and none is"
    if going > wanted and not mass:
        told = f"{going} of {_objects(going + wanted)} of inventory {inventory} would be deleted, more than half"
        return f"{told}: allow it by --allow-mass-delete"
    return ""


def _objects(count: int) -> str:
    return f"{count} object{'s' if count != 1 else ''}"


def _owner(kind: Kind, live: observed.Resource) -> tags.Owner | None:
    """Who the tags say it belongs to; None for nobody, and for a tag that stands on the wrong kind of resource."""
    parts = (tags.find(tags.OWNER, live.tags) or "").split("/")
    if len(parts) != 3 or parts[1] != TAGGED[kind]:
        return None
    return tags.Owner(*parts)


def _recorded(accounts: Resources) -> str | None:
    """The Environment's policy, which every one of its accounts must tell."""
    told = {tags.find(tags.DELETION, one.tags) for one in accounts}
    return told.pop() if len(told) == 1 else None


def _app(owner: tags.Owner, live: observed.Resource, seen: Seen, *, policy: str | None) -> Step:
    said = policy or tags.find(tags.DELETION, live.tags)
    return replace(_first(owner, Kind.APP, live, kept=_kept(owner, live, seen, policy=said)), place=_place(live))


def _environment(owner: tags.Owner, live: observed.Resource, seen: Seen, *, policy: str | None) -> Step:
    users = [app.name for app in seen.resources.get(Kind.APP, ()) if stands_in(app, live.id)]
    waiting = f"still in use by {_listed(users)}" if users else ""
    keeping = _kept(owner, live, seen, policy=policy)
    return _first(owner, Kind.ENVIRONMENT, live, kept=keeping, waiting=waiting)


def _workspace(owner: tags.Owner, live: observed.Resource, seen: Seen, *, policy: str | None) -> Step:
    customer = live.properties.get("customerId")
    environments = seen.resources.get(Kind.ENVIRONMENT, ())
    users = [one.name for one in environments if customer and _logs_to(one) == customer]
    waiting = f"still in use by {_listed(users)}" if users else ""
    return _first(owner, Kind.WORKSPACE, live, kept=_kept(owner, live, seen, policy=policy), waiting=waiting)


def _account(
    owner: tags.Owner, live: observed.Resource, seen: Seen, *, policy: str | None, after: Sequence[Step]
) -> tuple[Step, ...]:
    """The account's one share, then the account. The share is deleted by itself because that is refused where somebody
    keeps snapshots of it. One share is ours: an account is created for it, and the share is part of it."""
    shares = seen.shares.get(live.id.lower())
    keeping = _kept(owner, live, seen, policy=policy)
    if not keeping and shares and len(shares) > 1:
        keeping = f"it holds more shares than its object's: {_listed(share.name for share in shares)}"
    waiting = next((f"waiting for {one.kind.label} {one.name}" for one in after if one.state != "Kept"), "")
    waiting = waiting or _mounted(live, seen) or ("" if shares is not None else "its shares aren't known")
    account = _first(owner, Kind.ACCOUNT, live, kept=keeping, waiting=waiting)
    if account.state == "Kept" or not shares:
        return (account,)
    (share,) = shares
    first = _first(owner, Kind.SHARE, share, waiting=waiting)
    return first, replace(account, state="Waiting", why=account.why or f"waiting for fileShare {share.name}")


def _kept(owner: tags.Owner, live: observed.Resource, seen: Seen, *, policy: str | None) -> str:
    """Why the resource stays; "" where it may go."""
    origin = tags.find(tags.ORIGIN, live.tags)
    if origin != tags.CREATED:
        return "it was there before (adopted)" if origin else f"nothing says who created it (tag {tags.ORIGIN})"
    named = seen.named.get(live.id.lower())
    if named not in (None, f"{owner.kind}/{owner.name}"):
        return f"{named} of the desired state names it"
    if policy is None:
        return f"no deletionPolicy is recorded (tag {tags.DELETION})"
    return "" if policy == "Delete" else f"deletionPolicy {policy}"


def _first(owner: tags.Owner, kind: Kind, live: observed.Resource, *, kept: str = "", waiting: str = "") -> Step:
    """The step for one resource, by the first that holds: it stays, it is going already, it must wait."""
    if kept:
        return Step(owner, kind, live.id, "Kept", kept)
    if live.state.lower() in LEAVING:
        return Step(owner, kind, live.id, "Deleting", f"{kind.label} {live.name} is being deleted")
    return Step(owner, kind, live.id, "Waiting" if waiting else "Delete", waiting)


def stands_in(app: observed.Resource, environment_id: str) -> bool:
    """Whether the app runs in the environment."""
    return _place(app) == environment_id.lower()


def _place(app: observed.Resource) -> str:
    """The id of the app's environment, in lower case."""
    return str(app.properties.get("environmentId") or app.properties.get("managedEnvironmentId") or "").lower()


def _logs_to(environment: observed.Resource) -> str | None:
    """The workspace that the environment sends its logs to, by its customer id."""
    logs = environment.properties.get("appLogsConfiguration") or {}
    found = (logs.get("logAnalyticsConfiguration") or {}).get("customerId")
    return str(found) if found else None


def _mounted(account: observed.Resource, seen: Seen) -> str:
    """Which environment mounts a share of the account, as a reason to wait; "" for none."""
    for environment, storages in seen.storages.items():
        for storage in storages:
            file = storage.properties.get("azureFile") or {}
            if str(file.get("accountName")).lower() == account.name.lower():
                return f"environment {environment.rsplit('/', 1)[-1]} mounts it as {storage.name}"
    return ""


def _replaced(resources: Resources, resource_id: str, found: observed.Resource | None) -> Resources:
    others = tuple(one for one in resources if one.id.lower() != resource_id.lower())
    return others if found is None else (*others, found)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _shown(step: Step, *, held: str) -> actions.Step:
    made = actions.Step(step.kind, step.name, step.resource_id)
    if step.state == "Kept":
        return made
    if step.state == "Deleting":
        return replace(made, blocked=outcome.InProgress(Reason.PROGRESSING, step.why))
    made = replace(made, action=actions.Action("Delete", "no longer desired"))
    if held:
        return replace(made, blocked=outcome.Stalled(Reason.GUARDED, held))
    waiting = step.state == "Waiting"
    return replace(made, blocked=outcome.Waiting(Reason.DEPENDENCY_NOT_READY, step.why)) if waiting else made
