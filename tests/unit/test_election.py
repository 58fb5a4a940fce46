"""Who of several controllers writes, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import structlog

from controller import election
from controller.cloud import lease
from controller.model import outcome
from controller.model.conditions import Reason

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
AWAY = outcome.OutcomeError(outcome.Transient(Reason.CONNECTION_FAILED, "the share is away"))


@dataclass
class World:
    """Time, which passes only in `to`, and the lease as the service keeps it. `before` and `after` are called with each
    request and answer, and may fail, or stop the process for a while."""

    now: float = 1000.0
    holder: str | None = None
    ends: float = 0.0
    asked: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda request: None
    after: Callable[[str], None] = lambda request: None
    told: list[bool] = field(default_factory=list)
    until: float = 1000.0
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)
    paused: bool = False

    def candidate(self) -> election.Election:
        return election.Election(
            Lease(self),
            duration=15,
            told=self.told.append,
            clock=lambda: self.now,
            now=lambda: START,
            pause=self.pause,
        )

    async def pause(self, seconds: float) -> None:
        due = self.now + seconds
        async with self.turn:
            while due > self.until:
                self.paused = True
                self.turn.notify_all()
                await self.turn.wait()
            self.paused = False
        self.now = max(self.now, due)

    async def to(self, moment: float) -> None:
        """Let time pass up to `moment`; all that is due until then is done."""
        await self.let(moment)
        async with self.turn:
            await self.turn.wait_for(lambda: self.paused)
        self.now = max(self.now, moment)

    async def let(self, moment: float) -> None:
        """Let time pass up to `moment`, without waiting for it."""
        async with self.turn:
            self.until, self.paused = moment, False
            self.turn.notify_all()

    def free(self) -> bool:
        return self.holder is None or self.now >= self.ends


@dataclass
class Lease:
    """One candidate's way to it."""

    world: World
    mine: str = ""

    def _ask(self, request: str) -> None:
        self.world.asked.append(request)
        self.world.before(request)

    async def look(self) -> lease.Held | None:
        self._ask("look")
        return None if self.world.free() else lease.Held(self.world.holder or "", START)

    async def acquire(self, *, seconds: int, name: str, now: datetime) -> bool:
        self._ask("acquire")
        if not self.world.free() and self.world.holder != name:
            return False
        self.mine, self.world.holder, self.world.ends = name, name, self.world.now + seconds
        self.world.after("acquire")
        return True

    async def renew(self) -> bool:
        self._ask("renew")
        if self.world.holder != self.mine:
            return False
        self.world.ends = self.world.now + 15
        self.world.after("renew")
        return True

    async def release(self) -> None:
        self._ask("release")
        if self.world.holder == self.mine:
            self.world.holder = None


@dataclass
class Ran:
    """What was done with leading."""

    one: election.Election
    led: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    stood_by: asyncio.Event = field(default_factory=asyncio.Event)

    def lead(self) -> None:
        self.led.set()

    async def stand_by(self) -> None:
        self.lost.set()
        await self.stood_by.wait()


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Ran]:
    made = Ran(world.candidate())
    task = asyncio.create_task(made.one.run(lead=made.lead, stand_by=made.stand_by))
    try:
        async with asyncio.timeout(10):
            yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def stopped(seconds: float, world: World, *, at: str) -> Callable[[str], None]:
    """The process is stopped for so long, once, when it makes the request `at`."""
    left = [at]

    def stop(request: str) -> None:
        if request in left:
            left.remove(request)
            world.now += seconds

    return stop


def refused(one: election.Election) -> str:
    """Why the fence lets nothing through."""
    with pytest.raises(outcome.OutcomeError) as raised:
        one.fence()
    assert isinstance(raised.value.outcome, outcome.Waiting)
    assert raised.value.outcome.reason == Reason.NOT_LEADER
    return raised.value.outcome.message


def test_alone_it_always_leads() -> None:
    """Nobody is elected, and nothing is asked."""
    one = election.Election()
    one.fence()
    assert (one.leading, one.single, one.undecided) == (True, True, None)
    assert one.leader.as_json() == {"state": "single", "holder": None, "since": None}


async def test_it_renews_and_goes_on_leading() -> None:
    """Three times in the length of a lease; each change is told once."""
    world = World()
    async with running(world) as made:
        for seconds in range(61):
            await world.to(1000.0 + seconds)
            made.one.fence()
        assert not made.lost.is_set()
    assert world.asked == ["look", "acquire", *["renew"] * 12]
    assert world.told == [False, True]


async def test_another_holds_it() -> None:
    """It stands by, writes nothing, and says who leads and since when."""
    world = World(holder="other:1:a", ends=1030.0)
    async with running(world) as made:
        await world.to(1029.0)
        assert not made.led.is_set()
        assert refused(made.one) == "other:1:a leads, this controller stands by"
        assert made.one.leader == election.Leader("standby", "other:1:a", START)
    assert set(world.asked) == {"look"}


async def test_it_takes_over_soon_after_the_lease_ran_out() -> None:
    """Within one poll of it."""
    world = World(holder="killed:1:a", ends=1015.0)
    async with running(world) as made:
        await world.to(1015.0 + election.POLL)
        made.one.fence()
        assert made.one.leader.holder == made.one.name


async def test_what_it_is_worth_counts_from_before_the_request() -> None:
    """An answer that took long to come is worth so much less; nothing is written in the last of it."""
    world = World()
    world.after = lambda request: setattr(world, "now", world.now + 4.0)
    async with running(world) as made:
        await world.to(1000.0)
        assert world.now == 1004.0
        world.now = 1000.0 + 11.9
        made.one.fence()
        world.now = 1000.0 + 12.0
        refused(made.one)


async def test_a_process_that_was_stopped_writes_nothing_more() -> None:
    """Stopped past its lease: the fence is down at once, before anything was asked or noticed."""
    world = World()
    async with running(world) as made:
        await world.to(1000.0)
        made.one.fence()
        world.now += 40.0
        refused(made.one)
        assert made.one.leader.state == "standby"
        assert not made.lost.is_set()


@pytest.mark.parametrize("at", ["acquire", "renew"])
async def test_a_process_that_was_stopped_while_it_asked(at: str) -> None:
    """An answer that was read too late is worth nothing."""
    world = World()
    world.after = stopped(40.0, world, at=at)
    async with running(world) as made:
        await world.let(1005.0)
        await made.lost.wait()
        refused(made.one)


async def test_who_lost_it_lets_its_work_end_before_it_leads_again() -> None:
    """An old plan must not be carried out under a new lease."""
    world = World()
    async with running(world) as made:
        await world.to(1000.0)
        made.led.clear()
        world.holder, world.ends = "other:1:a", 1006.0
        await world.let(1100.0)
        await made.lost.wait()
        world.now = 1100.0
        assert world.asked == ["look", "acquire", "renew"]
        made.stood_by.set()
        await world.to(1102.0)
        assert made.led.is_set()
    assert world.told == [False, True, False, True]


async def test_an_answer_after_its_end_is_a_new_beginning() -> None:
    """Who was without it for a moment has let its work go, and takes its own lease again."""
    world = World()

    def late(request: str) -> None:
        if request != "renew" or world.now >= 1013.0:
            return
        if world.now < 1011.0:
            raise AWAY
        world.now = 1013.0

    world.before = late
    async with running(world) as made:
        made.stood_by.set()
        await world.to(1011.0)
        assert made.lost.is_set()
        await world.to(1015.0)
        made.one.fence()
    assert world.told == [False, True, False, True]


async def test_a_share_that_is_away_ends_it_when_the_lease_does() -> None:
    """Until then it leads; it is told once when it went away, and once when it is back."""
    world = World()

    def away(request: str) -> None:
        if 1006.0 < world.now < 1100.0:
            raise AWAY

    world.before = away
    with structlog.testing.capture_logs() as logged:
        async with running(world) as made:
            made.stood_by.set()
            await world.to(1016.9)
            made.one.fence()
            await world.to(1017.0)
            refused(made.one)
            await world.to(1099.0)
            assert not made.one.leading
            await world.to(1102.0)
            made.one.fence()
    warned = [one["event"] for one in logged if one["log_level"] == "warning"]
    assert warned == ["the lease can't be asked for", "no longer leading"]


async def test_an_answer_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the lease is the most that one request may take."""
    monkeypatch.setattr(election, "RENEWALS", 1500)
    world = World()
    one = world.candidate()
    silent = asyncio.Event()

    async def look(self: Lease) -> lease.Held | None:
        await silent.wait()
        return None

    monkeypatch.setattr(Lease, "look", look)
    with pytest.raises(outcome.OutcomeError, match="the lease's share gave no answer in"):
        async with one.held(lambda: None):
            pytest.fail("it leads")


async def test_before_the_first_answer_nothing_is_decided() -> None:
    """Why is told; who never got an answer isn't ready."""
    world = World()
    one = world.candidate()
    assert one.undecided == "the lease was not asked for yet"

    def away(request: str) -> None:
        raise AWAY

    world.before = away
    async with running(world) as made:
        await world.to(1010.0)
        assert made.one.undecided == "the share is away"
        assert refused(made.one) == "the lease can't be had: the share is away"


async def test_held_for_the_length_of_a_block() -> None:
    """Let go at its end, for anybody to take at once."""
    world = World()
    one = world.candidate()
    async with one.held(lambda: None):
        one.fence()
        assert world.holder == one.name
    assert world.holder is None
    refused(one)


async def test_held_by_another() -> None:
    """Who it is, is named, and the block isn't entered."""
    world = World(holder="other:1:a", ends=1015.0)
    with pytest.raises(election.HeldError, match="other:1:a leads"):
        async with world.candidate().held(lambda: None):
            pytest.fail("it leads")


async def test_lost_within_a_block() -> None:
    """The block is told, so that it can end."""
    world = World()
    lost = asyncio.Event()
    async with asyncio.timeout(10), world.candidate().held(lost.set):
        world.holder, world.ends = "other:1:a", 1100.0
        await world.let(1005.0)
        await lost.wait()
    assert world.holder == "other:1:a"


async def test_a_lease_that_can_not_be_released_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no reason to fail."""
    world = World()
    one = world.candidate()
    async with one.held(lambda: None):

        def away(request: str) -> None:
            raise AWAY

        world.before = away
    refused(one)


def test_the_clock_goes_on_while_the_process_does_not() -> None:
    """It is the one that counts sleep, where the system has such a clock."""
    before = election.boottime()
    assert election.boottime() >= before > 0
