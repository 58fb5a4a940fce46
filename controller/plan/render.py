"""A plan as people and programs read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from controller.model import outcome
from controller.plan import actions

SIGNS = {"Create": "+", "Update": "~", "Upload": "^", "Mirror": "^", "Delete": "-"}
LEFT = "="
SHOWN = 240
"""The longest value a line shows, in characters."""


def lines(name: str, plan: actions.Plan) -> Iterator[str]:
    """One line per step that does something, is in the way or leaves something alone, then one per field."""
    for step in plan.steps:
        if step.action is None and step.blocked is None and not step.left:
            continue
        words = [step.action.verb, step.kind.label, step.name] if step.action else [step.kind.label, step.name]
        yield f"{_sign(step)} {name}  {' '.join(words)}{_why(step)}"
        for change in step.action.changes if step.action else step.left:
            yield f"    {change.path}: {_value(change.before)} -> {_value(change.after)}"


def as_json(plan: actions.Plan) -> list[dict[str, Any]]:
    """Every step: kind, name, resource, verb (null for none), reason, newRevision, blocked, changes, left, leftFor
    (null where nothing is left)."""
    return [
        {
            "step": step.kind.label,
            "name": step.name,
            "resource": step.resource_id,
            "verb": step.action.verb if step.action else None,
            "reason": step.action.reason if step.action else None,
            "newRevision": bool(step.action and step.action.rolls),
            "blocked": _blocked(step.blocked),
            "changes": _changes(step.action.changes if step.action else ()),
            "left": _changes(step.left),
            "leftFor": step.left_for or None,
        }
        for step in plan.steps
    ]


def _changes(changes: Sequence[actions.Change]) -> list[dict[str, Any]]:
    return [{"path": change.path, "before": _json(change.before), "after": _json(change.after)} for change in changes]


def _sign(step: actions.Step) -> str:
    if step.action:
        return SIGNS[step.action.verb]
    return "!" if step.blocked else LEFT


def _why(step: actions.Step) -> str:
    reasons = [step.action.reason] if step.action and step.action.reason else []
    if step.left:
        reasons.append(f"left alone: {step.left_for}")
    if step.action and step.action.rolls:
        reasons.append("a new revision")
    if isinstance(step.blocked, outcome.Stalled):
        reasons.append(f"STOPPED: {step.blocked.message}")
    elif step.blocked and step.blocked.message:
        reasons.append(f"later: {step.blocked.message}")
    return f"  ({'; '.join(reasons)})" if reasons else ""


def _blocked(blocked: outcome.Outcome | None) -> dict[str, str] | None:
    if blocked is None or isinstance(blocked, outcome.Done):
        return None
    return {"outcome": type(blocked).__name__, "reason": blocked.reason, "message": blocked.message}


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_plain))


def _value(value: Any) -> str:
    text = json.dumps(value, default=_plain)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return "(secret)" if isinstance(value, (SecretStr, actions.Lookup)) else str(value)
