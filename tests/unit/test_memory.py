"""What is remembered between looks: content that several apps share, and how an app looked that rests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controller import diagnosis, memory
from controller.model import desired, observed, outcome, releases
from controller.model.conditions import Reason
from controller.plan import actions, rollout
from controller.sources import content, manifest
from tests.unit.plan import wanted

RUN = releases.Run("r1")
TRIAL = memory.Trial(RUN, RUN, None, outcome.Done(), None, None, rollout.Course(RUN, "Single"))
APP = observed.Resource({"id": "/app", "properties": {"latestRevisionName": "one"}})


class Time:
    """Seconds that pass when told to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def known(time: Time) -> memory.Memory:
    return memory.Memory(sparing=True, clock=time)


@pytest.fixture
def loaded(tmp_path: Path) -> manifest.LoadedApp:
    (tmp_path / "app.py").write_text("one")
    return manifest.Loaded(wanted.app(), "app.yaml", 1, tmp_path, ((tmp_path, "code"),))


def basis(app: observed.Resource | None = APP, environment: desired.Environment | None = None) -> memory.Basis:
    return memory.Basis(wanted.app(), environment or wanted.environment(), "digest", {}, observed.Stack(), app)


def rest(known: memory.Memory, name: str = "chat", *, on: memory.Basis | None = None) -> None:
    on = on or basis()
    seen = observed.Workload(on.stack, on.app)
    known.rest(name, on, seen=seen, plan=actions.Plan(()), by=TRIAL)


def spared(known: memory.Memory, name: str = "chat", *, on: memory.Basis | None = None) -> bool:
    found = known.resting(name, on or basis())
    return bool(found and found.looks)


async def test_apps_of_one_folder_share_the_work(known: memory.Memory, loaded: manifest.LoadedApp) -> None:
    """At the same time, and for seconds after."""
    one, two = await asyncio.gather(known.collected(loaded), known.collected(loaded))
    assert one is two
    assert await known.collected(loaded) is one


@pytest.mark.parametrize("ends", ["load", "time"])
async def test_content_is_looked_at_again(
    known: memory.Memory, loaded: manifest.LoadedApp, time: Time, ends: str
) -> None:
    """After a load, which a file event leads to, and after seconds where no event comes."""
    before = await known.collected(loaded)
    (loaded.folder / "app.py").write_text("two, longer")
    assert await known.collected(loaded) is before
    if ends == "load":
        known.keep([loaded.folder])
    else:
        time.seconds += memory.HELD + 1
    assert (await known.collected(loaded)).digest != before.digest


async def test_content_that_cannot_be_published_is_looked_at_each_time(
    known: memory.Memory, loaded: manifest.LoadedApp
) -> None:
    """It is mended at any moment."""
    (loaded.folder / "app.py").rename(loaded.folder / "bad:name")
    with pytest.raises(content.ContentError):
        await known.collected(loaded)
    (loaded.folder / "bad:name").rename(loaded.folder / "app.py")
    assert (await known.collected(loaded)).files


async def test_one_that_spares_nothing_looks_each_time(loaded: manifest.LoadedApp) -> None:
    """As `acaops plan` does."""
    known = memory.Memory()
    before = await known.collected(loaded)
    assert await known.collected(loaded) is not before
    rest(known)
    assert known.resting("chat", basis()) is None


def test_an_app_is_read_whole_once_in_a_rotation(known: memory.Memory) -> None:
    """The first time at any point in it, so that not all are at the same."""
    first = set()
    for name in map(str, range(50)):
        rest(known, name)
        first.add(next(look for look in range(memory.ROTATION) if not spared(known, name)))
        for _ in range(2):
            rest(known, name)
            assert [spared(known, name) for _ in range(memory.ROTATION)] == [True] * (memory.ROTATION - 1) + [False]
    assert first == set(range(memory.ROTATION))


@pytest.mark.parametrize(
    "other",
    [
        basis(None),
        basis(observed.Resource({"id": "/app", "properties": {"latestRevisionName": "two"}})),
        basis(environment=wanted.environment(location="elsewhere")),
    ],
)
def test_nothing_rests_on_what_is_different(known: memory.Memory, other: memory.Basis) -> None:
    """The app, its revision's name, its environment."""
    rest(known)
    assert known.resting("chat", basis()) is not None
    assert known.resting("chat", other) is None


def test_one_that_stirs_does_not_rest(known: memory.Memory) -> None:
    """Until it is settled again."""
    rest(known)
    known.stir("chat")
    known.stir("chat")
    assert known.resting("chat", basis()) is None


def test_that_memory_ran_out_is_remembered(known: memory.Memory) -> None:
    """Restarts hide it; another revision has causes of its own."""
    ended = diagnosis.Cause(Reason.COMMAND_FAILED, "it ends", (), assumed=False)
    killed = diagnosis.Cause(Reason.OUT_OF_MEMORY, "it needs more", (), assumed=False)
    assert known.cause("chat", "/r1", None) is None
    assert known.cause("chat", "/r1", ended) is ended
    assert known.cause("chat", "/r1", killed) is killed
    assert known.cause("chat", "/r1", ended) is killed
    assert known.cause("chat", "/r1", None) is None
    assert known.cause("chat", "/r2", ended) is ended


@pytest.mark.parametrize(("kind", "kept"), [("InferenceApp", False), ("Environment", True)])
def test_what_is_gone_is_forgotten(known: memory.Memory, kind: str, *, kept: bool) -> None:
    """An app, with its checks and its causes; not one that is called like an environment, nor another one."""
    killed = diagnosis.Cause(Reason.OUT_OF_MEMORY, "it needs more", (), assumed=False)
    for name in ("chat", "other"):
        rest(known, name)
        known.streaks[name] = memory.Streak("r1", "/r1")
        known.cause(name, "/r1", killed)
    known.forget(kind, "chat")
    known.forget(kind, "never-there")
    for name, there in {"chat": kept, "other": True}.items():
        assert [name in known.streaks, name in known.causes, known.resting(name, basis()) is not None] == [there] * 3
