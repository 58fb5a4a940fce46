"""What people and git services are told of changes, and what not.

No clock, network or log: time comes with the statuses and the calls. Told is

    Ready      an object became Ready, at another release or commit than was last told, or after Failing or Stalled
    Stalled    it can't go on without somebody: another reason, release or commit than was last told
    Failing    its passes fail, and have since FAILING_AFTER

and never work under way, waiting for another object, or a new message: messages carry elapsed times. An object that is
Ready when first looked at was so before, so a restart tells nothing of it. A desired state that doesn't load is told
once, not once per object.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controller.model import conditions
from controller.model.commit import Commit
from controller.model.conditions import Reason
from controller.status import store, summarize
from controller.telemetry import receivers

FAILING_AFTER = timedelta(minutes=15)
SHORT = 12
SOURCE = "Source"


@dataclass(frozen=True)
class Told:
    """What people know of an object. Two that are equal say the same. `about` is what it is told for: a reason, or the
    problems of a desired state that doesn't load."""

    state: receivers.State
    about: str
    release: str | None
    commit: str | None


@dataclass(frozen=True)
class Memory:
    """What was last told of an object, and since when its passes fail."""

    told: Told | None = None
    failing: datetime | None = None


def after(memory: Memory | None, status: store.ObjectStatus) -> tuple[Memory, receivers.Notice | None]:
    """What is to be remembered after the pass that `status` tells of, and what is to be told, if anything. `memory`
    is None for an object that was not seen yet."""
    ready, now = status.condition(conditions.READY), status.last_pass
    known = memory or Memory()
    if ready is None or now is None:
        return known, None
    known = replace(known, failing=_failing_since(known, status, ready=ready, now=now))
    told = _telling(known, status, ready=ready, now=now)
    if told is None or told == known.told:
        return known, None
    remembered = replace(known, told=told)
    if memory is None and told.state == "Ready":
        return remembered, None
    return remembered, _notice(remembered, told, status, ready=ready, now=now)


def commit_status(
    source: store.SourceStatus, wanted: Collection[store.Key], statuses: Iterable[store.ObjectStatus]
) -> receivers.CommitStatus | None:
    """How far the commit that was last looked at has come, over all `wanted` objects; None without git."""
    if source.attempted is None:
        return None
    sha = source.attempted.sha
    if source.problems:
        cause = "\n".join(source.problems)
        return receivers.CommitStatus(sha, "failure", f"it doesn't load: {source.problems[0]}", cause)
    here = [status for status in statuses if status.key in wanted and _sha(status.attempted) == sha]
    for status in here:
        if (stalled := status.condition(conditions.STALLED)) is not None:
            cause = f"{_label(status)}: {stalled.reason}"
            return receivers.CommitStatus(sha, "failure", f"{cause}: {stalled.message}", cause)
    ready = [status for status in here if _is_ready(status)]
    if len(ready) < len(wanted):
        return receivers.CommitStatus(sha, "pending", "being applied")
    releases = ", ".join(f"{status.name} serves release {status.release}" for status in ready if status.release)
    return receivers.CommitStatus(sha, "success", releases or "applied")


@dataclass
class Teller:
    """Remembers what was told, and gives `tell` what is to be told next. `inventory` names the desired state.

    `told` is for each status put into `statuses`, `loaded` for each load of the desired state. One event loop's own.
    """

    statuses: store.Store
    inventory: str
    tell: Callable[[receivers.Message], None]
    _wanted: frozenset[store.Key] = frozenset()
    _objects: dict[store.Key, Memory] = field(default_factory=dict)
    _source: Memory = field(default_factory=Memory)
    _attempted: Commit | None = None
    _commit: receivers.CommitStatus | None = None

    def told(self, status: store.ObjectStatus) -> None:
        """A pass ended. Where the desired state doesn't load, each status only repeats why."""
        if self.statuses.source.problems:
            return
        self._objects[status.key], notice = after(self._objects.get(status.key), status)
        if notice is not None:
            self.tell(notice)
        # Until a commit is told of as loaded, it isn't known which objects it has.
        if self.statuses.source.attempted == self._attempted and not self._settled(status):
            self._tell_commit()

    def loaded(self, wanted: Iterable[store.Key], *, now: datetime) -> None:
        """The desired state was looked at: its status is in `statuses`, and it names the objects `wanted`, none where
        it doesn't load."""
        source = self.statuses.source
        self._attempted = source.attempted
        if not source.problems:
            self._wanted = frozenset(wanted)
            self._objects = {key: memory for key, memory in self._objects.items() if key in self._wanted}
        self._source, notice = after_load(self._source, source, inventory=self.inventory, now=now)
        if notice is not None:
            self.tell(notice)
        self._tell_commit()

    def _settled(self, status: store.ObjectStatus) -> bool:
        """Whether `status` is of one more quiet pass, which changes nothing for its commit."""
        known = self._commit
        done = known is not None and known.state == "success" and known.sha == _sha(status.attempted)
        return done and _is_ready(status)

    def _tell_commit(self) -> None:
        """Pending is told once, at first: what was decided once is only replaced by another decision."""
        before = self._commit
        now = commit_status(self.statuses.source, self._wanted, self.statuses.snapshot().objects)
        if now is None:
            return
        if before is not None and before.sha == now.sha:
            if now.state == "pending" or (before.state, before.cause) == (now.state, now.cause):
                return
        elif before is not None and before.state == "pending":
            self.tell(receivers.CommitStatus(before.sha, "error", f"superseded by {now.sha[:SHORT]}"))
        self._commit = now
        self.tell(now)


def after_load(
    memory: Memory, source: store.SourceStatus, *, inventory: str, now: datetime
) -> tuple[Memory, receivers.Notice | None]:
    """As `after`, for the desired state as a whole: Stalled while it doesn't load, Failing when its repository can't be
    fetched for long, Ready once that is over."""
    failing = (memory.failing or now) if source.fetch_error else None
    known = replace(memory, failing=failing)
    told, message = _telling_source(known, source, now=now)
    if told is None or told == known.told or (known.told is None and told.state == "Ready"):
        return known, None
    reason, text = {
        "Ready": (Reason.READY, "the desired state is read again"),
        "Failing": (Reason.CONNECTION_FAILED, f"nothing was fetched for {_minutes(now, failing)}: {message}"),
        "Stalled": (Reason.INVALID_DESIRED_STATE, f"the desired state{_at(told.commit)} doesn't load: {message}"),
    }[told.state]
    notice = receivers.Notice(SOURCE, inventory, told.state, reason, message, text, now, commit=told.commit)
    # A healthy source is as healthy at the next commit.
    return replace(known, told=None if told.state == "Ready" else told), notice


def _telling_source(memory: Memory, source: store.SourceStatus, *, now: datetime) -> tuple[Told | None, str]:
    sha = _sha(source.attempted)
    if source.problems:
        message = summarize.bounded("\n".join(source.problems))
        return Told("Stalled", message, None, sha), message
    if source.fetch_error:
        long = memory.failing is not None and now - memory.failing >= FAILING_AFTER
        return (Told("Failing", "", None, None) if long else None), source.fetch_error
    return Told("Ready", "", None, sha), ""


def _failing_since(
    memory: Memory, status: store.ObjectStatus, *, ready: conditions.Condition, now: datetime
) -> datetime | None:
    """Work under way between two failures ends nothing; waiting for another object is no failure."""
    if ready.status == "Unknown":
        return memory.failing
    failing = ready.status == "False" and ready.reason != Reason.DEPENDENCY_NOT_READY
    stalled = status.condition(conditions.STALLED) is not None
    return (memory.failing or now) if failing and not stalled else None


def _telling(memory: Memory, status: store.ObjectStatus, *, ready: conditions.Condition, now: datetime) -> Told | None:
    """What `status` has to tell; None while that may still become anything."""
    if ready.status == "True":
        return Told("Ready", ready.reason, status.release, _sha(status.applied))
    attempted = _sha(status.attempted)
    if status.condition(conditions.STALLED) is not None:
        return Told("Stalled", ready.reason, status.release, attempted)
    known = memory.told
    # Who knows that it is stalled learns nothing from hearing that it fails.
    worse = known is not None and (known.state, known.release, known.commit) == ("Stalled", status.release, attempted)
    if ready.status == "Unknown" or memory.failing is None or now - memory.failing < FAILING_AFTER or worse:
        return None
    # Without the reason: it may change with every pass.
    return Told("Failing", "", status.release, attempted)


def _notice(
    memory: Memory, told: Told, status: store.ObjectStatus, *, ready: conditions.Condition, now: datetime
) -> receivers.Notice:
    release = f"release {status.release}" if status.release else ""
    commit = f"commit {told.commit[:SHORT]}" if told.commit else ""
    serves = ", ".join(filter(None, (release, commit, status.endpoint)))
    why = f"{ready.reason}: {ready.message}"
    text = {
        "Ready": f"{_label(status)} is Ready{': ' if serves else ''}{serves}",
        "Failing": f"{_label(status)} has been failing for {_minutes(now, memory.failing)}: {why}",
        "Stalled": f"{_label(status)} is Stalled{_at(told.commit)}: {why}",
    }[told.state]
    return receivers.Notice(
        status.kind,
        status.name,
        told.state,
        ready.reason,
        ready.message,
        text,
        now,
        release=told.release,
        commit=told.commit,
        endpoint=status.endpoint,
    )


def _minutes(now: datetime, since: datetime | None) -> str:
    return f"{int((now - (since or now)).total_seconds() // 60)} minutes"


def _is_ready(status: store.ObjectStatus) -> bool:
    ready = status.condition(conditions.READY)
    return ready is not None and ready.status == "True"


def _label(status: store.ObjectStatus) -> str:
    return f"{status.kind}/{status.name}"


def _at(sha: str | None) -> str:
    return f" at commit {sha[:SHORT]}" if sha else ""


def _sha(commit: Commit | None) -> str | None:
    return commit.sha if commit else None
