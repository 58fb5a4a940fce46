"""What a rollout goes by and comes to: an app's revisions and tags as they were seen, the verdict that comes in, and
the course of one pass that comes out. Which run is wanted, and which is to serve, follows from what was seen alone.

Nothing is remembered between passes but what stands in the template, the traffic and the tags. It must not know how a
template is rendered, nor what the next step is: that is `takeover`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from controller.model import observed, outcome, releases, tags
from controller.plan import template

Traffic = list[dict[str, Any]]


@dataclass(frozen=True)
class Seen:
    """An app's revisions, oldest first, and what its tags say of releases. `app` is None where there is none yet."""

    app: observed.Resource | None
    revisions: Sequence[observed.Resource] = ()

    @cached_property
    def rejections(self) -> tuple[releases.Rejection, ...]:
        return releases.rejections(self._tag(tags.REJECTED))

    @cached_property
    def progress(self) -> releases.Progress | None:
        return releases.progress(self._tag(tags.ROLLOUT))

    @cached_property
    def run(self) -> releases.Run | None:
        """The run that the app's own template is of."""
        return template.run_of(self.app.properties.get("template") or {}) if self.app else None

    @property
    def multiple(self) -> bool:
        return str(self._configuration.get("activeRevisionsMode")).lower() == "multiple"

    @cached_property
    def latest(self) -> observed.Resource | None:
        name = self.app.properties.get("latestRevisionName") if self.app else None
        return next((one for one in self.revisions if one.name == name), None)

    @cached_property
    def weights(self) -> Mapping[str, int]:
        """The share of the traffic, in percent, by revision name, where it is more than none."""
        found: dict[str, int] = {}
        for entry in (self._configuration.get("ingress") or {}).get("traffic") or ():
            name = self.latest.name if entry.get("latestRevision") and self.latest else entry.get("revisionName")
            if name and entry.get("weight"):
                found[str(name)] = found.get(str(name), 0) + int(entry["weight"])
        return found

    @property
    def stable(self) -> observed.Resource | None:
        """The revision that has the traffic beside the latest one, or the latest itself where it has all of it."""
        serving = [one for one in self.revisions if one.name in self.weights]
        others = [one for one in serving if one is not self.latest]
        return max(others or serving, key=lambda one: self.weights[one.name], default=None)

    @property
    def healthy(self) -> str | None:
        """The release that was healthy when the template was last changed."""
        return self._tag(tags.HEALTHY)

    def rejected(self, run: releases.Run) -> releases.Rejection | None:
        return releases.rejected(self.rejections, run)

    def weight(self, one: observed.Resource) -> int:
        return self.weights.get(one.name, 0) if self.multiple else 100 * (one is self.latest)

    def shares(self, one: observed.Resource) -> bool:
        """Whether it has some of the traffic, and another revision the rest."""
        return self.multiple and 0 < self.weight(one) < 100

    def candidate(self, run: releases.Run) -> observed.Resource | None:
        """The revision by which `run` is judged: the latest one, or else one that has traffic."""
        served = [self.stable] if self.multiple and self.stable else []
        return next((one for one in (self.latest, *served) if one is not None and run_of(one) == run), None)

    def fallback(self, run: releases.Run) -> observed.Resource | None:
        """The newest listed revision to go back to from `run`: of the release known to be healthy, else any that ended
        or runs healthy."""
        others = [one for one in reversed(self.revisions) if self._fits(one, run)]
        known = [one for one in others if _release(one) == self.healthy]
        return next(iter([*known, *(one for one in others if one.properties.get("healthState") == "Healthy")]), None)

    def _fits(self, one: observed.Resource, run: releases.Run) -> bool:
        its = run_of(one)
        return its is not None and its.release != run.release and not self.rejected(its)

    @property
    def _configuration(self) -> Mapping[str, Any]:
        return (self.app.properties.get("configuration") or {}) if self.app else {}

    def _tag(self, name: str) -> str | None:
        return tags.find(name, self.app.tags) if self.app else None


@dataclass(frozen=True)
class Judged:
    """The verdict on the candidate. `started` is when its container started, aware; None where nobody knows.
    `restarted` is when the last of its containers was started anew, where that was looked at."""

    verdict: outcome.Outcome
    started: datetime | None = None
    restarted: datetime | None = None


@dataclass(frozen=True)
class Course:
    """What one pass may do. The app's template becomes that of `run`: rendered from the desired state, or `back`, a
    listed revision's; with `kept` it is left as it is. `traffic` None leaves that as it is.

    `tags` cause a write, `notes` ride along, None to take one away. `reason` says why, where it is the rollout's doing.
    `first` are revisions to be stopped before the template is written, `stop` those to be stopped when nothing else is
    left to write, `start` is one that somebody stopped. `holds` is why the next step isn't due yet. `rejection` is of
    the run that is wanted.
    """

    run: releases.Run
    mode: str
    traffic: Traffic | None = None
    back: Mapping[str, Any] | None = None
    kept: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str | None] = field(default_factory=dict)
    reason: str = ""
    first: tuple[observed.Resource, ...] = ()
    stop: tuple[observed.Resource, ...] = ()
    start: observed.Resource | None = None
    holds: outcome.InProgress | None = None
    rejection: releases.Rejection | None = None


def wanted(release: str, seen: Seen) -> releases.Run:
    """The run of the wanted release: the attempt that is live, or the next one where that was asked for."""
    said = releases.attempt(seen.rejections, release)
    live = seen.run
    return releases.Run(release, max(said, live.attempt) if live and live.release == release else said)


def effective(run: releases.Run, seen: Seen) -> releases.Run:
    """What is to serve: the wanted run, or what was gone back to from a rejected one."""
    if not seen.rejected(run):
        return run
    there = [seen.run, run_of(seen.stable) if seen.multiple and seen.stable else None]
    found = [one for one in there if one is not None and one.release != run.release and not seen.rejected(one)]
    if found:
        return found[0]
    back = seen.fallback(run)
    return its_run(back) if back else run


def run_of(one: observed.Resource) -> releases.Run | None:
    """The run that a revision's template says it is of."""
    return template.run_of(one.properties.get("template") or {})


def its_run(one: observed.Resource) -> releases.Run:
    """The same of one that is known to be of a release."""
    found = run_of(one)
    assert found is not None, "only a revision of a release is gone back to"
    return found


def _release(one: observed.Resource) -> str | None:
    found = run_of(one)
    return found.release if found else None
