"""Many apps in one environment: reads are shared, writes take turns, and what rests is not read again each time."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller import loop, memory, settings
from controller.cloud import shared
from controller.model import outcome
from controller.sources import origin
from controller.status import store
from infra.local_azure import clock
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment, running

NAMES = ("chat", "chat-one", "chat-two", "chat-three")
ROTATING = ("revisions", "listKeys")
"""What is asked for an app that is read whole: its revisions, and the key for a session with its share."""

SMALL = {"cpu": 4, "memory": "8Gi"}
OLD = 60.0
"""Seconds after which nothing that was read is believed any more."""


class Sharing:
    """The stack's controller as the daemon has it: reads shared, looks spared. `seconds` is its clock; `called` who was
    told that its turn has come."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.seconds, self.called = stack, 0.0, list[store.Key]()
        self.cloud = shared.Shared(stack.cloud, lambda: self.seconds)
        stack.restart(self.cloud)
        stack.reconciler.memory = memory.Memory(sparing=True, clock=lambda: self.seconds)
        stack.reconciler.refresh, stack.reconciler.called = self.cloud.refresh, self.called.extend
        self.reads: collections.Counter[str] = collections.Counter()
        stack.cloud.calls.listen(self._heard)

    def _heard(self, kind: str, method: str, code: str, *, seconds: float, throttled: bool) -> None:
        if kind not in ("files", "token", "other"):
            self.reads[kind] += 1

    async def one_round(self) -> None:
        """A look at everything, when all that is known is old."""
        self.seconds += OLD
        await self.stack.one_round()

    async def converge(self) -> None:
        for _ in range(25):
            await self.one_round()
            if all(loop.settled(self.stack.status(key)) for key in self.stack.source.keys):
                return
        raise AssertionError([self.stack.told(key) for key in self.stack.source.keys])


@contextlib.asynccontextmanager
async def sharing(stack: Stack) -> AsyncIterator[Sharing]:
    one = Sharing(stack)
    try:
        yield one
    finally:
        await one.cloud.close()


@pytest.fixture
async def many(stack: Stack) -> AsyncIterator[Sharing]:
    """Four apps in one environment; nothing built yet."""
    stack.write(environment(), *(app(name, resources=SMALL) for name in NAMES))
    async with sharing(stack) as one:
        yield one


def keys() -> Iterator[store.Key]:
    return (("InferenceApp", name) for name in NAMES)


async def test_a_quiet_look_reads_as_much_for_many_apps_as_for_one(stack: Stack) -> None:
    """But for the rotation, in which each app is read whole once in six looks."""
    counted = []
    for names in (NAMES[:1], NAMES):
        stack.write(environment(), *map(app, names))
        async with sharing(stack) as one:
            await one.converge()
            await one.one_round()
            one.reads.clear()
            for _ in range(memory.ROTATION):
                await one.one_round()
            assert one.reads["revisions"] == len(names)
            counted.append({kind: count for kind, count in one.reads.items() if kind not in ROTATING})
    assert counted[0] == counted[1]
    assert counted[0]["containerApps"] == memory.ROTATION


async def test_a_quiet_look_writes_nothing(many: Sharing) -> None:
    """However often."""
    await many.converge()
    written = many.stack.writes()
    for _ in range(memory.ROTATION + 1):
        await many.one_round()
    assert many.stack.writes() == written


async def test_one_app_of_an_environment_is_written_at_a_time(tmp_path: Path) -> None:
    """The others wait for their turn, and say whose it is; who is done calls the next."""
    time = clock.ManualClock(datetime.now(UTC))
    async with running(tmp_path, time=time) as stack, sharing(stack) as one:
        for _ in range(10):
            await one.one_round()
            time.advance(60)
        stack.write(environment(), *map(app, NAMES[:3]))
        for _ in range(4):
            await one.one_round()
        began = {name: await stack.arm("GET", stack.ids.app(name)) is not None for name in NAMES[1:3]}
        assert began == {"chat-one": True, "chat-two": False}
        kind, reason, message = stack.told(("InferenceApp", "chat-two"))
        assert (kind, reason) == ("Reconciling", "OperationInProgress")
        assert "waits for its turn in environment env-one: InferenceApp/chat-one is being written" in message
        assert one.called == []
        for _ in range(3):
            time.advance(60)
            await one.one_round()
        assert one.called == [("InferenceApp", "chat-two")]
        assert await stack.arm("GET", stack.ids.app("chat-two"))


async def test_one_that_is_refused_holds_nobody_up(many: Sharing) -> None:
    """Its turn goes on to the next."""
    odd = {"workloadProfileName": "Consumption", "resources": {"cpu": 0.3, "memory": "0.6Gi"}}
    many.stack.write(environment(), app(NAMES[0], **odd), app(NAMES[1]))
    for _ in range(15):
        await many.one_round()
    assert many.stack.told()[0] == "Stalled"
    assert loop.settled(many.stack.status(("InferenceApp", NAMES[1])))


async def test_each_turn_wakes_the_next(many: Sharing) -> None:
    """Nobody waits for a clock."""
    one = loop.Loop(origin.Folder(many.stack.folder), many.stack.reconciler, settings.Backoff(first=0.02, most=0.05))
    try:
        await one.load()
        await many.stack.until(lambda: all(map(loop.settled, map(many.stack.reconciler.statuses.get, keys()))))
    finally:
        await one.close()


async def test_what_is_about_to_be_changed_is_read_once_more(many: Sharing) -> None:
    """What a portal user did a moment ago is there afterwards, though a look of a moment ago didn't show it."""
    stack = many.stack
    await many.converge()
    live = await stack.live_app()
    template = live["properties"]["template"]
    sidecar = {"name": "sidecar", "image": "docker.io/library/busybox:1", "resources": {"cpu": 0.25, "memory": "0.5Gi"}}
    template["containers"].append(sidecar)
    await stack.arm("PATCH", stack.ids.app("chat"), {"properties": {"template": template}})
    stack.write(environment(), app(NAMES[0], resources=SMALL, env=[{"name": "MODE", "value": "other"}]))
    await stack.one_pass(APP)
    assert (await stack.env())["MODE"] == "other"
    containers = (await stack.live_app())["properties"]["template"]["containers"]
    assert [each["name"] for each in containers] == ["chat", "sidecar"]


async def test_drift_is_seen_at_the_next_look(many: Sharing) -> None:
    """A list shows it as a read of the app does."""
    await many.converge()
    await many.stack.arm(
        "PATCH", many.stack.ids.app("chat"), {"properties": {"configuration": {"ingress": {"targetPort": 1}}}}
    )
    await many.one_round()
    assert (await many.stack.live_app())["properties"]["configuration"]["ingress"]["targetPort"] == 7860


async def test_a_lost_bundle_is_back_within_a_rotation(many: Sharing) -> None:
    """Nothing that is cheap to read tells of it."""
    await many.converge()
    [bundle] = many.stack.share.glob(".acaops/one/chat/releases/*.tar.gz")
    bundle.unlink()
    for _ in range(memory.ROTATION):
        await many.one_round()
    assert bundle.exists()


async def test_changed_content_is_seen_after_a_load(many: Sharing) -> None:
    """Until then a folder counts as unchanged for seconds."""
    await many.converge()
    release = many.stack.status().release
    (many.stack.code / "app.py").write_text("print('two')\n")
    await many.stack.one_pass(APP)
    assert many.stack.status().release == release
    many.stack.reconciler.memory.keep([many.stack.code])
    await many.stack.one_pass(APP)
    assert many.stack.status().release != release


async def test_a_look_that_rests_on_an_earlier_one_tells_the_same(many: Sharing) -> None:
    """Conditions, steps, release and endpoint."""
    await many.converge()
    told = {key: many.stack.status(key) for key in keys()}
    for _ in range(2):
        await many.one_round()
    for key, before in told.items():
        after = many.stack.status(key)
        assert (after.conditions, after.resources) == (before.conditions, before.resources)
        assert (after.release, after.endpoint) == (before.release, before.endpoint)
        assert after.passes == before.passes + 2


async def test_who_asks_after_an_app_has_it_read_whole(many: Sharing) -> None:
    """Nothing rests on earlier looks then."""
    statuses = many.stack.reconciler.statuses
    one = loop.Loop(origin.Folder(many.stack.folder), many.stack.reconciler, settings.Backoff(first=0.02, most=0.05))
    try:
        await one.load()
        await many.stack.until(lambda: all(map(loop.settled, map(statuses.get, keys()))))
        many.reads.clear()
        passes = one.asked(APP)
        await many.stack.until(lambda: many.stack.status().passes == passes)
        assert many.reads["revisions"] == 1
    finally:
        await one.close()


async def test_losing_the_memory_costs_reads_only(many: Sharing) -> None:
    """A new controller comes to the same, without a write."""
    await many.converge()
    written, told = many.stack.writes(), [many.stack.told(key) for key in keys()]
    async with sharing(many.stack) as fresh:
        await fresh.one_round()
        assert many.stack.writes() == written
        assert [many.stack.told(key) for key in keys()] == told
        assert all(isinstance(step.outcome, outcome.Done) for step in many.stack.status(ENVIRONMENT).resources)
