"""Edits of the desired state one after the other, some before the last one was carried out: the end is the same as on a
fresh cloud that was only ever given the last, and a release that crashes never disturbs the one that runs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies

from controller.model import tags
from controller.sources import manifest
from infra.local_azure import server
from infra.local_azure.apps import context
from tests.faults import case, picture, scenarios, seam, world
from tests.reconcile.stack import environment

EXAMPLES = 60
MOST_EDITS = 5
STEPS = [{"weight": 20, "hold": "10s"}]
CRASH = {"name": "LOCAL_AZURE_SIMULATE", "value": "crash"}


@dataclass(frozen=True)
class Wish:
    """One desired state. `crashes`: its release does."""

    image: int = 0
    replicas: int = 1
    mode: str = "chat"
    team: str = "one"
    code: int = 1
    secret: int = 0
    strategy: str = "Rolling"
    crashes: bool = False

    def state(self) -> scenarios.State:
        env = [{"name": "MODE", "value": self.mode}, {"name": "API_KEYS", "secretRef": "api-keys"}]
        wanted = scenarios.app(
            image=f"docker.io/pytorch/pytorch:2.9.{self.image}",
            scale={"minReplicas": 1, "maxReplicas": self.replicas},
            env=[*env, CRASH] if self.crashes else env,
            secrets=scenarios.SECRET["secrets"],
            tags={"team": self.team},
            ingress={"sticky": False},
            rollout={"strategy": self.strategy} | ({"steps": STEPS} if self.strategy == "Canary" else {}),
        )
        code = {"app.py": f"print({self.code})\n".encode()}
        return scenarios.State((environment(tags={"team": self.team}), wanted), code, scenarios.VALUES[self.secret])


@dataclass(frozen=True)
class Edit:
    """What is wished from now on, and how many looks are taken before the next edit, None for until it is done."""

    wish: Wish
    looks: int | None


WISHES = strategies.builds(
    Wish,
    image=strategies.integers(0, 1),
    replicas=strategies.integers(1, 2),
    mode=strategies.sampled_from(["chat", "batch"]),
    team=strategies.sampled_from(["one", "two"]),
    code=strategies.integers(1, 2),
    secret=strategies.integers(0, 1),
    strategy=strategies.sampled_from(["Rolling", "BlueGreen", "Canary", "Recreate"]),
    crashes=strategies.booleans(),
)
EDITS = strategies.builds(Edit, WISHES, strategies.sampled_from([None, 1, 3, 6]))
SEQUENCES = strategies.lists(EDITS, min_size=1, max_size=MOST_EDITS)


def end(local: server.Server) -> picture.Picture:
    """What two ways to the same end must agree on: everything but history, which is earlier revisions, bundles and
    secrets of theirs, and the tags that tell of them. An environment is never updated for a tag alone."""
    found: dict[str, str] = {}
    for app in local._documents.list(context.APPS):
        (latest,) = [one for one in local._documents.list(context.REVISIONS, under=app["id"]) if one["active"]]
        named = {one["secretRef"] for one in app["template"]["containers"][0]["env"] if one.get("secretRef")}
        kept = [one for one in app["configuration"]["secrets"] or () if one["name"] in named]
        # What was gone back from may still be the latest revision, with its template, and the mode stays Multiple then.
        template = app["template"] if latest["name"] == app["latest"] else latest["template"]
        ingress = {**app["configuration"]["ingress"], "traffic": latest["name"] in _served(app)}
        configuration = {**app["configuration"], "secrets": kept, "ingress": ingress, "activeRevisionsMode": ""}
        told = {name: value for name, value in app["tags"].items() if name not in HISTORY}
        shown = {"configuration": configuration, "template": template, "tags": told, "runs": latest["template"]}
        found |= {f"app {app['name']}{path}": value for path, value in picture.flat(shown).items()}
    for kind in ("microsoft.app/managedenvironments", context.STORAGES):
        for one in local._documents.list(kind):
            shown = {name: value for name, value in one.items() if name != "tags"}
            found |= {f"{one['name']}{path}": value for path, value in picture.flat(shown).items()}
    for kind in ("microsoft.storage/storageaccounts", "microsoft.operationalinsights/workspaces"):
        for one in local._documents.list(kind):
            shown = {"tags": one["resource"]["tags"], "properties": one["resource"]["properties"]}
            found |= {f"{one['resource']['name']}{path}": value for path, value in picture.flat(shown).items()}
    return found


def _served(app: Mapping[str, Any]) -> set[str]:
    """The names of the revisions that have traffic."""
    entries = app["configuration"]["ingress"]["traffic"]
    return {app["latest"] if one.get("latestRevision") else one["revisionName"] for one in entries if one["weight"]}


HISTORY = (tags.HEALTHY, tags.REJECTED, tags.ROLLOUT, tags.APPLIED, tags.COMMIT)


@dataclass
class Walks:
    """Sequences over one start, with the ends that fresh clouds came to."""

    root: Path
    count: int = 0

    def __post_init__(self) -> None:
        self._ends: dict[Wish, picture.Picture] = {}
        self._sources: dict[Wish, manifest.Source] = {}
        first, second = self._fresh(Wish()), self._fresh(Wish())
        self._mask = picture.masked(first, second)

    def check(self, edits: Sequence[Edit]) -> None:
        """Raises AssertionError where a walk doesn't end as a fresh cloud would."""
        self.count += 1
        last = replace(edits[-1].wish, crashes=False)
        found = asyncio.run(self._walk([*edits[:-1], Edit(last, None)]))
        if last not in self._ends:
            self._ends[last] = self._fresh(last)
        differing = picture.differences(self._ends[last], found, mask=self._mask)
        assert not differing, "\n".join(differing)

    def _fresh(self, wish: Wish) -> picture.Picture:
        return asyncio.run(self._walk([Edit(wish, None)]))

    async def _walk(self, edits: Sequence[Edit]) -> picture.Picture:
        folder = Path(tempfile.mkdtemp(prefix="acaops-faults-", dir=case.SCRATCH))
        try:
            async with world.opened(folder / "azure", seam.Seam(), pausing=_pausing(edits)) as here:
                here.watch.begin()
                for edit in edits:
                    await self._carried_out(here, edit)
                broken = here.broken + here.watch.ended()
                assert not broken, broken
                return end(here.local.server)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _carried_out(self, here: world.World, edit: Edit) -> None:
        """A release that crashes is looked at for a while; it may never be Ready."""
        os.environ[scenarios.VARIABLE] = edit.wish.state().secret
        drive = world.Drive(here, self._source(edit.wish))
        if edit.looks is not None:
            await drive.until(lambda: False, most=edit.looks)
        elif edit.wish.crashes:
            await drive.until(lambda: drive.ready, most=case.MOST_LOOKS // 5)
        else:
            done = await drive.converge(most=case.MOST_LOOKS)
            assert done, [here.status(key) for key in drive.keys]
            here.time.advance(world.WIND_DOWN)

    def _source(self, wish: Wish) -> manifest.Source:
        if wish not in self._sources:
            folder = self.root / f"{len(self._sources)}"
            wish.state().write(folder)
            self._sources[wish] = manifest.load(folder / "desired_state")
        return self._sources[wish]


def _pausing(edits: Sequence[Edit]) -> tuple[str, ...]:
    """Where an old revision is stopped first, nobody serves for a while."""
    return ("chat",) if any(edit.wish.strategy == "Recreate" for edit in edits) else ()


def run(root: Path, *, seed: int, examples: int) -> tuple[int, list[str]]:
    """So many sequences by the seed, after those that go back: how many were walked, and what is wrong."""
    walks = Walks(root)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(SEQUENCES)
    def by_chance(edits: Sequence[Edit]) -> None:
        walks.check(edits)

    broken = []
    for walk in (lambda: _back(walks), by_chance):
        try:
            walk()
        except AssertionError as error:
            broken.append("\n".join([str(error), *getattr(error, "__notes__", ())]))
    return walks.count, broken


def _back(walks: Walks) -> None:
    """A, something broken, A again."""
    for good in (Wish(), Wish(image=1, secret=1, strategy="BlueGreen")):
        bad = replace(good, crashes=True, code=2)
        walks.check([Edit(good, None), Edit(bad, None), Edit(good, None)])
