"""What a controller may forget at any moment: sums of files, checks in a row, and how an app looked when nothing was
to be done for it.

It saves reads and work, and decides nothing: without it every pass reads and plans everything, and comes to the same.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr

from controller import diagnosis
from controller.model import content, desired, observed, outcome, releases
from controller.model.conditions import Reason
from controller.plan import actions, rollout
from controller.sources import content as folders
from controller.sources import manifest

ROTATION = 6
"""Looks at a settled app of which one reads everything."""

HELD = 5.0
"""Seconds for which a folder's content counts as unchanged while nothing was loaded: file events lead to a load."""


@dataclass
class Streak:
    """Checks in a row that named one release on one revision (its id), the last one and when it was made; `lives` are
    the replicas then, and how often their containers had been restarted."""

    release: str = ""
    revision: str = ""
    count: int = 0
    check: observed.Check | None = None
    at: datetime | None = None
    lives: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Basis:
    """All that the plan and the verdict on an app rest on, but for its revisions, its replicas and its files on the
    share: those are worth a read of their own while these are as they were."""

    wanted: desired.InferenceApp
    stands_on: desired.Environment
    digest: str
    secrets: Mapping[str, SecretStr]
    stack: observed.Stack
    app: observed.Resource | None


@dataclass(frozen=True)
class Trial:
    """How a rollout stands: the run that is `wanted`, the one that is `serving` or is to serve, the revision it is
    judged by, the verdict on that and its cause, and the course that follows. `serving` is None for what isn't a
    release of ours. `watched` is when it started, while it may yet be gone back from."""

    wanted: releases.Run
    serving: releases.Run | None
    candidate: observed.Resource | None
    verdict: outcome.Outcome
    cause: diagnosis.Cause | None
    watched: datetime | None
    course: rollout.Course


@dataclass(frozen=True)
class Resting:
    """An app for which nothing was left to do, or which waits for what its basis says. `looks` may still rest on it."""

    basis: Basis
    seen: observed.Workload
    plan: actions.Plan
    trial: Trial
    looks: int


@dataclass
class _Folder:
    since: float
    task: asyncio.Task[content.Content]


@dataclass
class Memory:
    """`streaks` and `causes` are by the app's name, causes then by the revision's id. `sparing` says whether looks may
    rest on earlier ones: it needs somebody who reports changed files (`keep`). `clock` gives seconds since any moment.
    """

    hashes: folders.Memory = field(default_factory=dict)
    streaks: dict[str, Streak] = field(default_factory=dict)
    causes: dict[str, dict[str, diagnosis.Cause]] = field(default_factory=dict)
    sparing: bool = False
    clock: Callable[[], float] = time.monotonic
    _resting: dict[str, Resting] = field(default_factory=dict)
    _contents: dict[tuple[object, ...], _Folder] = field(default_factory=dict)

    def keep(self, contents: Collection[Path]) -> None:
        """The desired state was loaded: look at folders again, and forget the sums of files that lie in none of
        these."""
        kept = set(contents)
        self.hashes = {path: known for path, known in self.hashes.items() if not kept.isdisjoint(path.parents)}
        self._contents.clear()

    def forget(self, kind: str, name: str) -> None:
        """An object isn't desired any more. Only apps are known here."""
        if kind == "InferenceApp":
            self.stir(name)
            self.streaks.pop(name, None)
            self.causes.pop(name, None)

    def cause(self, name: str, revision_id: str, found: diagnosis.Cause | None) -> diagnosis.Cause | None:
        """What is wrong with a revision of the app called `name`. That it ran out of memory is said once, and then
        hidden by its restarts."""
        if found is not None and found.code == Reason.OUT_OF_MEMORY:
            self.causes.setdefault(name, {})[revision_id] = found
        hidden = found is not None and found.code == Reason.COMMAND_FAILED
        return self.causes.get(name, {}).get(revision_id, found) if hidden else found

    async def collected(self, loaded: manifest.LoadedApp) -> content.Content:
        """The app's content; apps of one folder share the work. Raises folders.ContentError."""
        if not self.sparing:
            return await asyncio.to_thread(self._collect, loaded)
        key, now = (loaded.contents, loaded.top), self.clock()
        held = self._contents.get(key)
        if held is None or now - held.since > HELD or (held.task.done() and held.task.exception()):
            held = _Folder(now, asyncio.create_task(asyncio.to_thread(self._collect, loaded)))
            held.task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._contents = {each: other for each, other in self._contents.items() if now - other.since <= HELD}
            self._contents[key] = held
        # Whoever is cancelled leaves the others waiting.
        return held.task.result() if held.task.done() else await asyncio.shield(held.task)

    def resting(self, name: str, basis: Basis) -> Resting | None:
        """How the app called `name` looked, where nothing it rests on is different. One without `looks` is to be read
        whole: it's its turn."""
        known = self._resting.get(name)
        if known is None or known.basis != basis:
            return None
        self._resting[name] = replace(known, looks=max(0, known.looks - 1))
        return known

    def rest(self, name: str, basis: Basis, *, seen: observed.Workload, plan: actions.Plan, by: Trial) -> None:
        """Until its basis changes, or its turn comes, another look would find the same. The first turn comes at any
        time, so that not all come at once."""
        known = self._resting.get(name)
        if not self.sparing or (known is not None and known.seen is seen):
            return
        again = known is not None and known.basis == basis
        looks = ROTATION - 1 if again else zlib.crc32(name.encode()) % ROTATION
        self._resting[name] = Resting(basis, seen, plan, by, looks)

    def stir(self, name: str) -> None:
        """Something is under way, or nobody knows."""
        self._resting.pop(name, None)

    def _collect(self, loaded: manifest.LoadedApp) -> content.Content:
        return folders.collect(loaded.contents, top=loaded.top, memory=self.hashes)
