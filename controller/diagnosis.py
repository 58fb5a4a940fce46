"""Pure: what is wrong with a revision, as one named cause, from what the platform, its endpoint and its log say.

All that it knows are the tables in `causes`; the first row that fits decides. What follows from a cause is decided
elsewhere, and so is what may be shown of a log: what comes in here is taken to be free of secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from controller import causes
from controller.causes import Source
from controller.model import observed
from controller.model.conditions import Reason

RESTARTS = 2
"""Starts anew after which a container that isn't ready counts as crashing: the platform's own word for it stands only
while the container waits."""

LONGEST = 300
"""Characters of somebody else's words that are quoted."""

MOST = 20
"""Pieces of evidence that are kept."""

WAITING = frozenset({Reason.NO_CAPACITY, Reason.QUOTA_EXCEEDED, Reason.IMAGE_PULL_FAILED, Reason.MOUNT_FAILED})
"""Codes that say nothing of a release: the same one runs once there is a GPU, a registry that answers, a share."""

_EXIT = re.compile(r"was terminated with reason: (.+)")
_STARTED = re.compile(r"[Ss]tarted at: (.+?)\.?$")
_STARTED_AS = "%m/%d/%Y %I:%M:%S %p"
_BEFORE = re.compile(r"CrashLoopBackOff|was terminated")

_Said = Mapping[Source, Sequence[str]]


@dataclass(frozen=True)
class Evidence:
    """What is known of one revision. `replicas` are its own; `log` the last lines of a container that isn't ready,
    oldest first, read only where something went wrong. `overdue` says that it should have been ready by now."""

    revision: observed.Resource
    replicas: tuple[observed.Resource, ...] = ()
    check: observed.Check | None = None
    log: tuple[str, ...] = ()
    app: observed.Resource | None = None
    overdue: bool = False


@dataclass(frozen=True)
class Cause:
    """`code` is one of Reason's; `message` one sentence with the words it rests on, and the remedy where there is one;
    `evidence` what was said. `assumed`: it isn't known that the service says it so, or means that by it."""

    code: str
    message: str
    evidence: tuple[str, ...]
    assumed: bool


def of(evidence: Evidence) -> Cause | None:
    """The cause of what is wrong; None while nothing is: a revision that serves, or that is on its way.

    A single exit is no cause yet, unless memory ran out: the platform starts the container anew.
    """
    if _healthy(evidence.revision) and not _refused(evidence.check):
        return None
    said, troubled = _said(evidence), _troubled(evidence)
    found = next(_matches((*causes.HELD, *causes.BROKEN) if troubled else causes.HELD, said), None)
    if found is None:
        return _cause(causes.UNKNOWN, "", said) if troubled else None
    return _cause(*found, said)


def waits(cause: Cause) -> bool:
    """Whether it says nothing of the release, which then isn't rejected for it."""
    return cause.code in WAITING


def started(replicas: Iterable[observed.Resource]) -> datetime | None:
    """When the earliest container started, aware; None while none did.

    By the words of one that runs (recorded: replicas-list, "Container started at: 5/24/2025 4:35:31 PM.", in UTC as
    the replica's createdTime beside it). Of one that was started anew they would tell the last start, and the deadline
    of an app that crashes would never come: for those it is when the replica was created.
    """
    known = [_start(replica, container) for replica in replicas for container in _containers(replica)]
    return min((one for one in known if one is not None), default=None)


def restarted(replicas: Iterable[observed.Resource]) -> datetime | None:
    """When the last of the containers that were started anew began to run, aware; None where none was."""
    anew = [one for replica in replicas for one in _containers(replica) if _restarts(one)]
    found = [_STARTED.search(str(one.get("runningStateDetails") or "")) for one in anew]
    return max((at for words in found if words and (at := _moment(words[1])) is not None), default=None)


def _start(replica: observed.Resource, container: observed.Body) -> datetime | None:
    words = str(container.get("runningStateDetails") or "")
    if _restarts(container) or _BEFORE.search(words):
        return replica.created
    found = _STARTED.search(words)
    return _moment(found[1]) if found else None


def _moment(words: str) -> datetime | None:
    try:
        return datetime.strptime(words, _STARTED_AS).replace(tzinfo=UTC)
    except ValueError:
        return observed.moment(words)


def _healthy(revision: observed.Resource) -> bool:
    facts = revision.properties
    return (facts.get("provisioningState"), facts.get("healthState")) == ("Provisioned", "Healthy")


def _refused(check: observed.Check | None) -> bool:
    """The app answered, or should have, and not well."""
    return check is not None and check.conclusive and not check.passed


def _troubled(evidence: Evidence) -> bool:
    """Whether it is known that something is wrong, though not what."""
    facts = evidence.revision.properties
    containers = [one for replica in evidence.replicas for one in _containers(replica)]
    return (
        evidence.overdue
        or bool(evidence.log)
        or "Failed" in (facts.get("provisioningState"), facts.get("runningState"))
        or facts.get("healthState") == "Unhealthy"
        or _healthy(evidence.revision)  # then its endpoint is what is wrong
        or (evidence.app is not None and evidence.app.failed)
        or any(_crashing(one) for one in containers)
    )


def _crashing(container: observed.Body) -> bool:
    words = str(container.get("runningStateDetails"))
    return not container.get("ready") and ("CrashLoopBackOff" in words or _restarts(container) >= RESTARTS)


def _restarts(container: observed.Body) -> int:
    return int(container.get("restartCount") or 0)


def _containers(replica: observed.Resource) -> Sequence[observed.Body]:
    return replica.properties.get("containers") or ()


def _said(evidence: Evidence) -> _Said:
    """Everybody's words; of the log the newest line first."""
    check, app = evidence.check, evidence.app
    containers = [words for replica in evidence.replicas for words in _of_replica(replica)]
    return {
        Source.REVISION: list(_of_revision(evidence.revision)),
        Source.CONTAINER: containers,
        Source.EXIT: [found[1] for words in containers if (found := _EXIT.search(words))],
        Source.CHECK: [check.message] if check and _refused(check) else [],
        Source.LOG: [line for line in reversed(evidence.log) if line.strip()],
        Source.APP: [str(app.properties.get("deploymentErrors") or "")] if app and app.failed else [],
    }


def _of_revision(revision: observed.Resource) -> Iterator[str]:
    facts = revision.properties
    yield from (str(facts[key]) for key in ("runningStateDetails", "provisioningError") if facts.get(key))
    yield ", ".join(str(facts.get(key)) for key in ("provisioningState", "healthState", "runningState"))


def _of_replica(replica: observed.Resource) -> Iterator[str]:
    """Its own words, and those of its containers that aren't ready."""
    waiting = [one for one in _containers(replica) if not one.get("ready")]
    yield from (
        str(one["runningStateDetails"]) for one in (replica.properties, *waiting) if one.get("runningStateDetails")
    )
    yield from (f"restarted {_restarts(one)} times" for one in waiting if _restarts(one) >= RESTARTS)


def _matches(rows: Iterable[causes.Row], said: _Said) -> Iterator[tuple[causes.Row, str]]:
    for row in rows:
        everything = (words for source in row.sources for words in said[source])
        yield from ((row, words) for words in everything if re.search(row.pattern, words))


def _cause(row: causes.Row, words: str, said: _Said) -> Cause:
    quoted = _quoted(words, row.pattern)
    told = f"{row.told}: {quoted.rstrip('.')}" if quoted else row.told
    message = f"{told}; {row.remedy}" if row.remedy else told
    return Cause(row.code, message, _evidence(said, quoted), assumed=row.known == causes.ASSUMED)


def _quoted(words: str, pattern: str) -> str:
    """What fits: of an object of JSON, as many apps log, the value that does."""
    words = next((value for value in _values(words) if re.search(pattern, value)), words)
    found = re.search(pattern, words)
    return _shortened(words, at=found.start() if found else 0)


def _shortened(words: str, *, at: int) -> str:
    """In one line; of long ones the part about `at`: a whole traceback may stand in one."""
    begin = max(0, at - LONGEST // 3) if len(words) > LONGEST else 0
    before, after = "…" if begin else "", "…" if begin + LONGEST < len(words) else ""
    return f"{before}{' '.join(words[begin : begin + LONGEST].split())}{after}"


def _values(words: str) -> list[str]:
    """The texts in an object of JSON."""
    try:
        body = json.loads(words) if words.startswith("{") else {}
    except (ValueError, RecursionError):
        return []
    return [value for value in body.values() if isinstance(value, str)]


def _evidence(said: _Said, quoted: str) -> tuple[str, ...]:
    """The platform's words and the endpoint's, what decided, and the log's last line; each once."""
    others = [
        words for source in (Source.REVISION, Source.CONTAINER, Source.APP, Source.CHECK) for words in said[source]
    ]
    told = [quoted, *(_shortened(words, at=0) for words in [*others, *said[Source.LOG][:1]])]
    return tuple(dict.fromkeys(words for words in told if words))[:MOST]
