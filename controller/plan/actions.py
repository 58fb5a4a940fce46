"""What a plan is made of: steps in the order things depend on each other, each with at most one action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from controller.model import content, outcome
from controller.model.kinds import Kind

Verb = Literal["Create", "Update", "Upload", "Mirror", "Delete", "Activate", "Deactivate"]


@dataclass(frozen=True)
class Change:
    """One owned field that differs. `path` is a dotted path into the resource; values as JSON, secrets masked."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Lookup:
    """A secret that is read only when the action runs, so that no plan ever holds one.

    `source` is workspace-key, account-key or app-secret; `name` the key's digest or the secret's name.
    """

    source: Literal["workspace-key", "account-key", "app-secret"]
    resource_id: str
    name: str = ""


@dataclass(frozen=True)
class Mirror:
    """Files to write and paths to remove, and the manifests that say so before and after."""

    put: tuple[content.File, ...]
    delete: tuple[str, ...]
    manifest_path: str
    during: Mapping[str, str]
    after: Mapping[str, str]


@dataclass(frozen=True)
class Action:
    """One write. `body` is the request's, with `Lookup` and SecretStr values where secrets go.

    For content: `path` is the bundle's path on the share and `keep` the digests of bundles that stay there, or `mirror`
    what to do there.
    """

    verb: Verb
    reason: str
    changes: tuple[Change, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    keep: tuple[str, ...] = ()
    mirror: Mirror | None = None

    @property
    def rolls(self) -> bool:
        """Whether the update makes a new revision: any difference in the template does, an equal one sent again doesn't
        (recorded: revisions of ~145 updates without one)."""
        return self.verb == "Update" and bool(self.changes) and "template" in (self.body.get("properties") or {})


@dataclass(frozen=True)
class Step:
    """One resource of the object. `blocked` says why the action (if any) can't run now, or why there is none. `left`
    are differences that are seen and left alone; `left_for` says why: mode Observe, drift Report, suspended."""

    kind: Kind
    name: str
    resource_id: str
    action: Action | None = None
    blocked: outcome.Outcome | None = None
    left: tuple[Change, ...] = ()
    left_for: str = ""

    @property
    def ready(self) -> Action | None:
        """The action, if it can run now."""
        return None if self.blocked else self.action


@dataclass(frozen=True)
class Plan:
    """All steps of one object; `wave`s follow from their order and `blocked`."""

    steps: tuple[Step, ...]

    @property
    def ready(self) -> tuple[Step, ...]:
        """Steps to run now, side by side."""
        return tuple(step for step in self.steps if step.ready)

    @property
    def pending(self) -> bool:
        """Something is left to write, now or later."""
        return any(step.action for step in self.steps)
