"""What must hold of a rollout at every single change in the local Azure: of the traffic, of what was rejected, and of
the bundles that may yet be gone back to.

It reads documents and files alone, so that it can't be wrong together with the controller.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.local_azure.apps import traffic

Json = dict[str, Any]

SAID = ("ACAOPS_RELEASE", "ACAOPS_ATTEMPT")
REJECTED = "acaops-rejected"
REMEMBERED = 3
"""Rejections that fit into the tag."""

PASSING = ("Retry", "Undone")
"""Decisions of people, which the controller acts on afterwards."""

_BUNDLE = re.compile(r"\b[0-9a-f]{64}\.tar\.gz\b")


def run_of(template: Mapping[str, Any]) -> str:
    """`<release>.<attempt>` as the template says it, empty where it says nothing."""
    for container in template.get("containers") or ():
        said = {one.get("name"): one.get("value") for one in container.get("env") or ()}
        if SAID[0] in said:
            return f"{said[SAID[0]]}.{said.get(SAID[1]) or 1}"
    return ""


def rejected(app: Mapping[str, Any]) -> dict[str, str]:
    """Run -> cause, by the app's tag."""
    pairs = (one.partition(":") for one in ((app.get("tags") or {}).get(REJECTED) or "").split(",") if one)
    return {run: cause for run, _, cause in pairs}


@dataclass
class Shifts:
    """`shares` is the folder of all shares, `now` Azure's time. `answers` is how many good answers in a row a revision
    owes before it gets traffic. `weights` are the shares of the traffic by the revisions' numbers, whenever they became
    others, and when."""

    shares: Path
    now: Callable[[], datetime]
    answers: int = 0
    weights: list[tuple[datetime, Mapping[int, int]]] = field(default_factory=list)
    _proven: set[str] = field(default_factory=set)
    _answered: Counter[str] = field(default_factory=Counter)
    _trusted: set[str] = field(default_factory=set)
    _bundles: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    _before: dict[str, Json] = field(default_factory=dict)

    def begin(self) -> None:
        """What was before doesn't count, but for what it proved."""
        self.weights.clear()

    def asked(self, name: str, *, good: bool) -> None:
        """The revision was asked for itself, and answered so."""
        self._answered[name] = self._answered[name] + 1 if good else 0

    def look(self, app: Json, revisions: Sequence[Json], *, up: Collection[str]) -> list[str]:
        """What is violated; `up` are the ids of the revisions that have a replica that is ready."""
        self._proven |= {one["id"] for one in revisions if one["ready"]}
        for one in revisions:
            if one["id"] not in up:
                del self._answered[one["name"]]
        before = self._before.get(app["id"])
        self._before[app["id"]] = app
        found = self._template(app, before) + self._rejections(app, before) if before else []
        if app["configuration"]["activeRevisionsMode"] == "Multiple" and app["configuration"]["ingress"]:
            found += self._traffic(app, revisions)
        return found + self._started_from(app, revisions)

    def ended(self, app: Json, revisions: Sequence[Json]) -> list[str]:
        """What must not be at the end: bundles that are gone, and rejected releases that run."""
        bad = rejected(app)
        runs = [f"rejected {run} runs at the end" for one in revisions if one["active"] and _bad(bad, run := _run(one))]
        return runs + self._started_from(app, revisions)

    def _template(self, app: Json, before: Json) -> list[str]:
        """A rejected run stays rejected: another state, or a further attempt, is another run."""
        run, last = run_of(app["template"]), run_of(before["template"])
        again = run != last and _bad(rejected(before), run)
        return [f"rejected {run} was written again"] if again else []

    def _rejections(self, app: Json, before: Json) -> list[str]:
        """Forgotten are only the oldest that don't fit, and what is said anew of the same release."""
        there, known = rejected(app), rejected(before)
        releases = {run.partition(".")[0] for run in there}
        lost = [run for run in known if run not in there and run.partition(".")[0] not in releases]
        return [f"that {run} was rejected is forgotten" for run in lost if len(there) < REMEMBERED]

    def _traffic(self, app: Json, revisions: Sequence[Json]) -> list[str]:
        """By name, in all 100, and never to what wasn't ready once or is stopped."""
        named = {one["name"]: one for one in revisions}
        shares: dict[str, int] = {}
        for entry in app["configuration"]["ingress"]["traffic"]:
            name = app["latest"] if entry.get("latestRevision") else entry.get("revisionName", "")
            shares[name] = shares.get(name, 0) + int(entry["weight"] or 0)
        shares = {name: share for name, share in shares.items() if share}
        self._note({named[name]["number"]: share for name, share in shares.items() if name in named})
        found = [] if sum(shares.values()) == 100 else [f"the traffic of {app['name']} is {shares}"]
        if not any(one["id"] in self._proven for one in revisions):
            self._trusted |= shares.keys()  # it never served: nothing is taken from anybody
            return found
        for name, share in shares.items():
            one, new = named.get(name), name not in self._trusted
            if new and (one is None or one["id"] not in self._proven):
                found.append(f"{share} % of the traffic of {app['name']} go to {name}, which never was ready")
            elif one is None or not traffic.reachable(one):
                found.append(f"{share} % of the traffic of {app['name']} go to {name}, which is stopped")
            elif new and self._answered[name] < self.answers:
                found.append(f"{share} % of the traffic go to {name}, which answered {self._answered[name]} times")
        self._trusted |= shares.keys()
        return found

    def _note(self, weights: Mapping[int, int]) -> None:
        if not self.weights or self.weights[-1][1] != weights:
            self.weights.append((self.now(), weights))

    def _started_from(self, app: Json, revisions: Sequence[Json]) -> list[str]:
        """The bundles of listed revisions: there when the revision was made, and as long as it is listed."""
        return [
            f"{one['name']} starts from {path.name}, which isn't on the share"
            for one in revisions
            for path in self._of(one)
            if not path.is_file()
        ]

    def _of(self, revision: Json) -> Collection[Path]:
        if revision["id"] not in self._bundles:
            commands = [str(one.get("command")) for one in revision["template"]["containers"]]
            names = {found for command in commands for found in _BUNDLE.findall(command)}
            self._bundles[revision["id"]] = tuple(path for name in names for path in self._paths(name))
        return self._bundles[revision["id"]]

    def _paths(self, name: str) -> Collection[Path]:
        return list(self.shares.glob(f"*/*/files/.acaops/*/*/releases/{name}")) or [self.shares / name]


def _run(revision: Json) -> str:
    return run_of(revision["template"])


def _bad(rejections: Mapping[str, str], run: str) -> bool:
    return rejections.get(run, "Retry") != "Retry"
