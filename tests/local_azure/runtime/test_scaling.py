"""The count of replicas by requests: up at once, down late, to zero after the cool-down and back on a request."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.local_azure import clock, replicas
from infra.local_azure.runtime import scaling

KEY = "app--one"


class World:
    """One revision under watch, and the counts it was told to have."""

    def __init__(self) -> None:
        self.time = clock.ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.counts: list[int] = []
        self.scaling = scaling.Scaling(self.time)
        self.news = asyncio.Event()
        self.scaling.scaled = self._scaled

    def _scaled(self, key: str, count: int) -> None:
        assert key == KEY
        self.counts.append(count)
        self.news.set()

    async def until(self, counts: list[int]) -> None:
        """The counts it was told are these by now."""
        async with asyncio.timeout(5):
            while self.counts != counts:
                self.news.clear()
                await self.news.wait()

    def watch(self, *, least: int = 0, most: int = 10, concurrent: int | None = 10, cooldown: float = 300.0) -> None:
        self.scaling.watch(KEY, replicas.Scale(least, most, concurrent, cooldown))

    @contextlib.contextmanager
    def open(self, count: int) -> Any:
        """`count` requests under way."""
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(self.scaling.request(KEY))
            yield


@pytest.fixture
def world() -> World:
    return World()


def test_one_replica_for_every_so_many_requests_at_a_time(world: World) -> None:
    """Rounded up, looked at every 15 s."""
    world.watch(least=1, concurrent=4)
    with world.open(9):
        world.time.advance(14.9)
        assert world.counts == []
        world.time.advance(0.1)
        assert world.counts == [3]


def test_short_requests_count_by_their_rate(world: World) -> None:
    """The requests of the past 15 s, divided by 15, though none is under way when it is looked at."""
    world.watch(least=1, concurrent=4)
    for _ in range(15 * 9):
        with world.open(1):
            pass
    world.time.advance(15)
    assert world.counts == [3]


def test_more_come_in_steps_up_to_the_most(world: World) -> None:
    """1, 4, 8, 10."""
    world.watch(concurrent=1, most=10)
    with world.open(50):
        world.time.advance(60)
    assert world.counts == [4, 8, 10]


def test_fewer_come_only_after_five_quiet_minutes(world: World) -> None:
    """A single look that asks for more keeps them."""
    world.watch(least=1, concurrent=1)
    with world.open(4):
        world.time.advance(15)
    world.time.advance(150)
    with world.open(3):
        world.time.advance(15)
    world.time.advance(284)
    assert world.counts == [4, 3]
    world.time.advance(30)
    assert world.counts == [4, 3, 1]


def test_without_requests_the_last_replica_goes_after_the_cool_down(world: World) -> None:
    """The template's own; a request under way keeps it for as long as it takes."""
    world.watch(cooldown=60)
    with world.open(1):
        world.time.advance(1000)
    world.time.advance(59)
    assert world.counts == []
    world.time.advance(15)
    assert world.counts == [0]


def test_a_least_of_one_stays(world: World) -> None:
    """No cool-down ends there."""
    world.watch(least=1)
    world.time.advance(10_000)
    assert world.counts == []


@pytest.mark.parametrize("scale", [{"least": 2, "most": 2}, {"least": 1, "concurrent": None}])
def test_what_requests_dont_decide_is_left_alone(world: World, scale: dict[str, Any]) -> None:
    """A fixed count, and rules of other kinds."""
    world.watch(**scale)
    with world.open(100):
        world.time.advance(1000)
    assert world.counts == []


async def test_a_request_wakes_a_revision_at_zero_and_waits(world: World) -> None:
    """One replica is asked for however many wait; all go on once it is ready."""
    world.watch(cooldown=15)
    world.time.advance(15)
    waiting = [asyncio.create_task(world.scaling.awake(KEY, limit_s=5)) for _ in range(3)]
    await world.until([0, 1])
    world.scaling.noted(KEY, ready=False)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    world.scaling.noted(KEY, ready=True)
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await world.scaling.awake(KEY, limit_s=5) is False
    assert world.counts == [0, 1]


async def test_waiting_has_a_limit(world: World) -> None:
    """Then the replica goes on starting, for whoever asks next."""
    world.watch(cooldown=15)
    world.time.advance(15)
    with pytest.raises(TimeoutError):
        await world.scaling.awake(KEY, limit_s=0.01)
    assert world.counts == [0, 1]


async def test_who_waits_for_a_revision_that_stops_looks_again(world: World) -> None:
    """Another one may have its traffic by then."""
    world.watch(cooldown=15)
    world.time.advance(15)
    waiting = asyncio.create_task(world.scaling.awake(KEY, limit_s=5))
    await world.until([0, 1])
    world.scaling.forget(KEY)
    assert await waiting is True


async def test_a_request_that_outlives_its_revision_counts_for_nobody(world: World) -> None:
    """Neither for the revision's next start nor as a timer that is left."""
    world.watch(least=1, concurrent=1)
    with world.open(5):
        world.watch(least=1, concurrent=1)
        world.time.advance(15)
    world.time.advance(15)
    assert world.counts == []


def test_instant_time_scales_nothing() -> None:
    """With a time scale of 0 every cool-down would be over before it began."""
    still = scaling.Scaling(clock.ScaledClock(0))
    still.watch(KEY, replicas.Scale(0, 10, 10, 300.0))
    with still.request(KEY):
        pass
