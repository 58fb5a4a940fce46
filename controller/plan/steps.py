"""How a step comes to be: what is missing is created, what differs is updated, and what stands in the way says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from controller.model import moments, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, bodies, diff

MISSING, ADOPTED, CHANGED, DRIFT, FAILED = "missing", "adopted", "changed", "drift", "failed"
"""Reasons of writes: there is nothing yet; what was found isn't ours yet; the desired state changed; somebody else
changed what is ours; the last operation failed."""

RESEND_AFTER = timedelta(seconds=600)
"""How old a failure is before the same is sent again."""


def step(kind: Kind, resource_id: str, wanted: bodies.Wanted, live: observed.Resource | None) -> actions.Step:
    """The step for a resource without tags of ours."""
    made = actions.Step(kind, resource_id.rsplit("/", 1)[-1], resource_id)
    if live is None:
        return replace(made, action=actions.Action("Create", MISSING, body=wanted.create))
    found = diff.changes(wanted.owned, live.body)
    if found:
        made = replace(made, action=actions.Action("Update", CHANGED, found, diff.patch(wanted.owned, live.body)))
    if not live.settled:
        return block(made, _busy(made, live))
    return block(made, _immutable(kind, live, diff.changes(wanted.immutable, live.body)))


def _busy(made: actions.Step, live: observed.Resource) -> outcome.InProgress:
    """An operation is in flight. A newer state of an app is written as soon as it ends: what it brings is outdated."""
    told = f"{made.kind.label} {live.name} is {live.state}"
    if made.action is None or made.kind is not Kind.APP:
        return outcome.InProgress(Reason.PROVISIONING, told, live.changed)
    since = f" since {moments.rfc3339(live.changed)}" if live.changed else ""
    waits = f"{told}{since}; what is newer waits for its end"
    return outcome.InProgress(Reason.OPERATION_IN_PROGRESS, waits, live.changed, awaited=True)


def owned(
    kind: Kind, resource_id: str, wanted: bodies.Wanted, live: observed.Resource | None, *, owner: tags.Owner
) -> actions.Step:
    """The step for a resource that carries our tags: created with them, adopted by adding them. The notes ride along
    with a write and never cause one."""
    if live is None:
        ours = {**wanted.tags, **wanted.note, tags.OWNER: str(owner), tags.ORIGIN: tags.CREATED}
        return step(kind, resource_id, bodies.Wanted({**wanted.create, "tags": ours}), None)
    ours = tags.spelled({**wanted.tags, tags.OWNER: str(owner)}, live.tags)
    adopting = tags.find(tags.OWNER, live.tags) is None
    if adopting:
        ours |= tags.spelled({tags.ORIGIN: tags.ADOPTED}, live.tags)
    made = step(kind, resource_id, replace(wanted, owned={**wanted.owned, "tags": ours}), live)
    if made.action:
        body = {**made.action.body, "tags": {**live.tags, **ours, **tags.spelled(wanted.note, live.tags)}}
        reason = ADOPTED if adopting else changed(wanted, live)
        made = replace(made, action=replace(made.action, reason=reason, body=body))
    return replace(made, blocked=other_owner(owner, live) or made.blocked)


def changed(wanted: bodies.Wanted, live: observed.Resource) -> str:
    """Why there is a difference: with the record of what is owned still the wanted one, somebody else made it."""
    recorded = wanted.note.get(tags.APPLIED)
    return DRIFT if recorded and tags.find(tags.APPLIED, live.tags) == recorded else CHANGED


def again(
    made: actions.Step,
    live: observed.Resource | None,
    *,
    update: Mapping[str, Any],
    create: Mapping[str, Any] | None = None,
    now: datetime,
) -> actions.Step:
    """The step for a resource that is as wanted but for its last operation, which failed: written again, once that is
    some time ago by the service's own word. `create`, if given, is sent instead, for a resource that never came to be;
    of one that acaops didn't create nothing is, nor where there is nothing to send."""
    if live is None or made.action or made.blocked or not live.failed:
        return made
    if live.changed is None or now - live.changed < RESEND_AFTER:
        return made
    if create is not None and tags.find(tags.ORIGIN, live.tags) != tags.CREATED:
        return made
    if create is not None:
        return replace(made, action=actions.Action("Create", FAILED, body={**create, "tags": dict(live.tags)}))
    return replace(made, action=actions.Action("Update", FAILED, body=update)) if update else made


def held(made: Iterable[actions.Step], why: outcome.Outcome | None) -> tuple[actions.Step, ...]:
    """Hold back every action of an object."""
    return tuple(block(step, why) if step.action else step for step in made)


def after(made: actions.Step, *needs: tuple[str, observed.Resource | None]) -> actions.Step:
    """Hold the step's action back until every resource it needs is usable. `needs` are (what to call it, what was
    seen)."""
    missing = [what for what, live in needs if live is None or not live.usable]
    if made.action is None or not missing:
        return made
    return block(made, outcome.Waiting(Reason.DEPENDENCY_NOT_READY, f"waiting for the {missing[0]}"))


def block(made: actions.Step, why: outcome.Outcome | None) -> actions.Step:
    """Block a step, unless it is blocked already: the first reason is the one nearest to the resource."""
    return made if why is None or made.blocked is not None else replace(made, blocked=why)


def other_owner(owner: tags.Owner, live: observed.Resource) -> outcome.Stalled | None:
    """A resource of somebody else's is never written."""
    other = tags.other_owner(owner, live.tags)
    if other is None:
        return None
    return outcome.Stalled(Reason.OWNED_BY_OTHER, f"{live.name} belongs to {other} (tag {tags.OWNER}); not touched")


def location(live: observed.Resource | None) -> str | None:
    """Where a resource lies, in the words Azure answered."""
    return str(live.body["location"]) if live and live.body.get("location") else None


def _immutable(kind: Kind, live: observed.Resource, frozen: Sequence[actions.Change]) -> outcome.Stalled | None:
    if not frozen:
        return None
    said = "; ".join(f"{change.path} is {change.before!r}, wanted {change.after!r}" for change in frozen)
    return outcome.Stalled(Reason.IMMUTABLE_FIELD, f"{kind.label} {live.name} exists and can't be changed: {said}")
