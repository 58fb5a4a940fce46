"""The statuses in memory: what was last told of each object and of the source.

One event loop's own: no locks, and nothing here that decides anything. Losing it costs little: conditions are made
again by a pass over each object, why a release failed is read from its share, and which releases there were is Azure's
own list of revisions. What a history says of those that became Ready is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import structlog

from controller.model import conditions, moments, outcome, releases
from controller.model.commit import Commit
from controller.status import summarize

HISTORY_LENGTH = 5

PruneState = Literal["Deleting", "Deleted", "Waiting", "Held", "Kept", "Failed"]

Key = tuple[str, str]
Condition = conditions.Condition
Subscriber = Callable[["ObjectStatus"], None]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class HistoryEntry:
    """A release that became Ready, or failed, at `when`; `revision` is the name of its revision in Azure."""

    release: str
    revision: str
    when: datetime
    result: Literal["Ready", "Failed"]
    message: str

    def as_json(self) -> dict[str, Any]:
        return {
            "release": self.release,
            "revision": self.revision,
            "when": _stamp(self.when),
            "result": self.result,
            "message": self.message,
        }


@dataclass(frozen=True)
class Drift:
    """A field that somebody else changed, seen by the last pass. `path` is dotted, in the resource as Azure has it;
    `left` says that it is left as it is, else it was put back."""

    resource: str
    path: str
    left: bool

    def as_json(self) -> dict[str, Any]:
        return {"resource": self.resource, "path": self.path, "left": self.left}


@dataclass(frozen=True)
class Failure:
    """How an attempt at a release failed: `revision` is the name of its revision in Azure, `cause` a reason, `evidence`
    the words it was recognised by, `log` the last lines of its container, without secrets. `rejected` says that it
    isn't tried again by itself."""

    release: str
    attempt: int
    revision: str
    cause: str
    message: str
    evidence: tuple[str, ...]
    log: tuple[str, ...]
    when: datetime
    rejected: bool

    @property
    def run(self) -> releases.Run:
        return releases.Run(self.release, self.attempt)

    def as_json(self) -> dict[str, Any]:
        return {
            "release": self.release,
            "attempt": self.attempt,
            "revision": self.revision,
            "cause": self.cause,
            "message": self.message,
            "evidence": list(self.evidence),
            "log": list(self.log),
            "when": _stamp(self.when),
            "rejected": self.rejected,
        }


@dataclass(frozen=True)
class Suspended:
    """Why an object is left alone, and until when; None for as long as its spec says so."""

    reason: str
    until: datetime | None

    def as_json(self) -> dict[str, Any]:
        return {"reason": self.reason, "until": _stamp(self.until)}


@dataclass(frozen=True)
class ObjectStatus:
    """All that is told of one object. `attempted` is the commit the last pass was made at, `applied` the last one that
    was Ready; both None without git. `last_pass` is None and `passes` 0 before the first pass."""

    kind: str
    name: str
    conditions: tuple[Condition, ...] = ()
    source_revision: str = ""
    attempted: Commit | None = None
    applied: Commit | None = None
    release: str | None = None
    endpoint: str | None = None
    resources: tuple[summarize.StepReport, ...] = ()
    drift: tuple[Drift, ...] = ()
    suspended: Suspended | None = None
    last_error: str | None = None
    failure: Failure | None = None
    history: tuple[HistoryEntry, ...] = ()
    last_pass: datetime | None = None
    passes: int = 0

    @property
    def key(self) -> Key:
        return (self.kind, self.name)

    def condition(self, kind: str) -> Condition | None:
        """The condition of type `kind`, None where it isn't there."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def as_json(self) -> dict[str, Any]:
        """The shape that `/status` and `acaops status -o json` give; times are RFC 3339 in UTC."""
        return {
            "kind": self.kind,
            "name": self.name,
            "conditions": [_condition(condition) for condition in self.conditions],
            "sourceRevision": self.source_revision,
            "lastAttempted": self.attempted.as_json() if self.attempted else None,
            "lastApplied": self.applied.as_json() if self.applied else None,
            "release": self.release,
            "endpoint": self.endpoint,
            "resources": [_step(step) for step in self.resources],
            "drift": [each.as_json() for each in self.drift],
            "suspended": self.suspended.as_json() if self.suspended else None,
            "lastError": self.last_error,
            "failure": self.failure.as_json() if self.failure else None,
            "history": [entry.as_json() for entry in self.history],
            "lastPass": _stamp(self.last_pass),
            "passes": self.passes,
        }


@dataclass(frozen=True)
class Pruned:
    """A resource of an object that isn't desired any more. `step` is its kind's label; `state` one of

    Deleting   its deletion was begun
    Deleted    it is gone; told of by who waited for it, a status lists only what is there
    Waiting    it goes later; `message` says after what
    Held       nothing at all is deleted, and why
    Kept       it stays, and why
    Failed     its deletion was refused, and how

    `kind` and `name` are the object's. All but `message` is empty where what there is couldn't be read.
    """

    kind: str
    name: str
    step: str
    resource: str
    state: PruneState
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "step": self.step,
            "resource": self.resource,
            "state": self.state,
            "message": self.message,
        }


@dataclass(frozen=True)
class SourceStatus:
    """What was last loaded from `folder`, a folder's path or a repository's address.

    revision     the last state that loaded whole, `commit` its commit, `loaded_at` when; None until one did
    attempted    the commit that was last looked at, whether it loads or not
    problems     why that one isn't applied
    fetched_at   when the remote repository last gave its newest commit; `fetch_error` why it doesn't now
    notice       what people should know though it isn't wrong
    pruning      what is being deleted, or stays, of objects that aren't desired any more
    """

    folder: str
    revision: str = ""
    loaded_at: datetime | None = None
    problems: tuple[str, ...] = ()
    commit: Commit | None = None
    attempted: Commit | None = None
    fetched_at: datetime | None = None
    fetch_error: str | None = None
    notice: str = ""
    pruning: tuple[Pruned, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "revision": self.revision,
            "loadedAt": _stamp(self.loaded_at),
            "commit": self.commit.as_json() if self.commit else None,
            "attempted": self.attempted.as_json() if self.attempted else None,
            "fetchedAt": _stamp(self.fetched_at),
            "fetchError": self.fetch_error,
            "notice": self.notice,
            "pruning": [one.as_json() for one in self.pruning],
            "problems": list(self.problems),
        }


@dataclass(frozen=True)
class Snapshot:
    """Everything at one moment; the objects sorted by kind and name."""

    source: SourceStatus
    objects: tuple[ObjectStatus, ...]

    def as_json(self) -> dict[str, Any]:
        return {"source": self.source.as_json(), "objects": [status.as_json() for status in self.objects]}


class Store:
    """The statuses by kind and name, and the source's in `source`."""

    def __init__(self, source: SourceStatus) -> None:
        self.source = source
        self._objects: dict[Key, ObjectStatus] = {}
        self._subscribers: list[Subscriber] = []

    def get(self, key: Key) -> ObjectStatus | None:
        return self._objects.get(key)

    def find(self, kind: str, name: str) -> ObjectStatus | None:
        """The status of `name`, whatever the case of `kind`."""
        wanted = (kind.casefold(), name)
        return next((one for key, one in self._objects.items() if (key[0].casefold(), key[1]) == wanted), None)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.source, tuple(self._objects[key] for key in sorted(self._objects)))

    def replace(self, status: ObjectStatus) -> ObjectStatus | None:
        """Put `status` in the place of what was told before, tell the subscribers, and give what it replaced."""
        before = self._objects.get(status.key)
        self._objects[status.key] = status
        for subscriber in tuple(self._subscribers):
            _tell(subscriber, status)
        return before

    def forget(self, key: Key) -> None:
        """Drop an object that is no longer desired; one that isn't here is fine."""
        self._objects.pop(key, None)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with each status put from now on. Gives the call that ends it, which may be repeated."""
        self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    def unready(self, wanted: Iterable[Key]) -> tuple[str, ...]:
        """Why a first full picture is still missing, where the source names the objects `wanted`; empty when ready."""
        if self.source.loaded_at is None:
            missing = self.source.fetch_error or f"the desired state in {self.source.folder} was not loaded yet"
            return self.source.problems or (missing,)
        return tuple(f"{kind}/{name} had no pass yet" for kind, name in wanted if not self._passes((kind, name)))

    def _passes(self, key: Key) -> int:
        status = self._objects.get(key)
        return 0 if status is None else status.passes


def remembered(history: tuple[HistoryEntry, ...], entry: HistoryEntry) -> tuple[HistoryEntry, ...]:
    """`history` (newest last, at most five) with `entry`, unless it only repeats what the newest one says.

    So a release is entered when it becomes Ready or first fails, and again after a rollback to it.
    """
    if history and (history[-1].release, history[-1].result) == (entry.release, entry.result):
        return history
    return (*history, replace(entry, message=summarize.bounded(entry.message)))[-HISTORY_LENGTH:]


def _tell(subscriber: Subscriber, status: ObjectStatus) -> None:
    """A display that breaks must not break the pass whose status it shows."""
    try:
        subscriber(status)
    except Exception:
        _log.exception("a subscriber to the status failed", kind=status.kind, name=status.name)


def _condition(condition: Condition) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": _stamp(condition.changed),
        "observedRevision": condition.revision,
    }


def _step(step: summarize.StepReport) -> dict[str, Any]:
    verdict = step.outcome
    since = verdict.since if isinstance(verdict, outcome.InProgress) else None
    after = verdict.after if isinstance(verdict, outcome.Waiting | outcome.Transient) else None
    return {
        "name": step.name,
        "resource": step.resource,
        "verb": step.verb,
        "outcome": type(verdict).__name__,
        "reason": "" if isinstance(verdict, outcome.Done) else verdict.reason,
        "message": verdict.message,
        "since": _stamp(since),
        "after": after,
    }


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moments.rfc3339(moment)
