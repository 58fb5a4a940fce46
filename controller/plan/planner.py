"""What to write next, given what is wanted and what was seen; and why not, where something stands in the way.

The rules that protect the user hold here and in `steps`: nothing outside the guard list, nothing of another owner,
nothing replaced, nothing written while an operation is in flight, nothing deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from controller.model import desired, identity, observed, outcome, tags
from controller.model.conditions import Reason
from controller.plan import actions, restraint, rollout, stack, steps, workload


@dataclass(frozen=True)
class Scope:
    """`inventory` names this controller's set of objects. `allow` lists `SUBSCRIPTION[/GROUP]` it may touch, all
    when empty. `commit` is the source commit, for the tag."""

    inventory: str
    allow: tuple[str, ...] = ()
    commit: str | None = None

    def owner(self, wanted: desired.Environment | desired.InferenceApp) -> tags.Owner:
        """Who the object's resources belong to."""
        return tags.Owner(self.inventory, wanted.kind, wanted.metadata.name)

    def guard(self, environment: desired.Environment) -> outcome.Stalled | None:
        """Why the environment's group is out of bounds, or None."""
        place = f"{environment.spec.subscription_id}/{environment.spec.resource_group}"
        names = (environment.spec.subscription_id.lower(), place.lower())
        if not self.allow or any(entry.lower().rstrip("/") in names for entry in self.allow):
            return None
        return outcome.Stalled(Reason.GUARDED, f"{place} is not among the groups this controller may touch (--allow)")


def environment(
    wanted: desired.Environment, *, scope: Scope, ids: identity.Ids, seen: observed.Stack, now: datetime
) -> actions.Plan:
    """The plan for an Environment at `now` (aware)."""
    made = stack.plan(wanted, owner=scope.owner(wanted), ids=ids, seen=seen, now=now)
    why = restraint.of(wanted, now=now)
    return _guarded(restraint.held(made, why) if why else made, scope.guard(wanted))


def subject(
    wanted: desired.InferenceApp,
    *,
    stands_on: desired.Environment,
    scope: Scope,
    ids: identity.Ids,
    seen: observed.Workload,
    release: workload.Release,
    now: datetime,
) -> workload.App:
    """An InferenceApp with everything its plan at `now` (aware) depends on."""
    return workload.App(wanted, stands_on, scope.owner(wanted), ids, seen, release, scope.commit, now)


def app(one: workload.App, *, scope: Scope, course: rollout.Course) -> actions.Plan:
    """The plan for an InferenceApp whose rollout takes that course."""
    wanted = one.wanted
    made = workload.plan(one, course)
    if why := restraint.of(wanted, now=one.now):
        made = restraint.held(made, why)
    elif wanted.spec.drift == "Report":
        made = restraint.reported(made)
    return _guarded(made, scope.guard(one.stands_on))


def _guarded(made: Sequence[actions.Step], guard: outcome.Stalled | None) -> actions.Plan:
    """Out of bounds is out of bounds, whether there is something to write or not."""
    if guard is None:
        return actions.Plan(tuple(made))
    first, *rest = made
    return actions.Plan((replace(first, blocked=guard), *steps.held(rest, guard)))
