"""Requests to ARM keep to its token buckets, in order, on our side of the wire."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from controller.cloud import azure as adapter
from controller.cloud import pacing
from controller.model import kinds, outcome
from controller.model.conditions import Reason

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Slow, Stub, Virtual

S = "/subscriptions/s"
GROUP = f"{S}/resourceGroups/g"
APP = f"{GROUP}/providers/Microsoft.App/containerApps/one"
LEFT = pacing.REMAINING
SLOW_DOWN = {"error": {"code": "429", "message": "Too many requests. Retry after 7 seconds."}}
WEST = {"location": "westus3"}


def target(method: str, path: str = APP) -> pacing.Target:
    found = pacing.target(method, URL(f"https://arm{path}"))
    assert found is not None
    return found


async def held(call: Any) -> outcome.Waiting:
    """What a request that isn't sent is told."""
    with pytest.raises(outcome.OutcomeError) as raised:
        await call
    judged = raised.value.outcome
    assert isinstance(judged, outcome.Waiting)
    assert judged.reason == Reason.THROTTLED
    return judged


async def drawn(pace: pacing.Pacing, wanted: pacing.Target, count: int) -> list[pacing.Turn]:
    """So many requests, made and answered."""
    turns = [await pace.turn(wanted) for _ in range(count)]
    for turn in turns:
        turn.end()
    return turns


@pytest.mark.parametrize(
    ("method", "path", "at_once", "rate"),
    [("GET", APP, 225, 25), ("HEAD", GROUP, 225, 25), ("PATCH", GROUP, 190, 10), ("DELETE", APP, 190, 10)],
)
async def test_so_many_go_at_once_and_the_rest_at_arms_rate(
    virtual: Virtual, method: str, path: str, at_once: int, rate: int
) -> None:
    """Reads 250 and 25 a second, writes and deletes 200 and 10 a second, less one second's worth."""
    pace = pacing.Pacing(virtual.clock)
    await drawn(pace, target(method, path), at_once)
    assert virtual.seconds == 0
    await drawn(pace, target(method, path), rate * 3)
    assert virtual.seconds == pytest.approx(3.0)


async def test_each_purpose_and_subscription_has_its_own(virtual: Virtual) -> None:
    """Reads don't hold up writes, nor one subscription another."""
    pace = pacing.Pacing(virtual.clock)
    await drawn(pace, target("GET"), 225)
    await pace.turn(target("PATCH"))
    await pace.turn(target("DELETE"))
    await pace.turn(target("GET", "/subscriptions/other"))
    assert virtual.slept == []
    await pace.turn(target("GET", "/SUBSCRIPTIONS/S"))
    assert virtual.slept == [pytest.approx(1 / 25)]


async def test_first_come_first_served(virtual: Virtual) -> None:
    """Whoever waits goes in the order of coming, and how long it took is told."""
    pace, order = pacing.Pacing(virtual.clock), list[int]()
    told: list[tuple[str, float]] = []
    pace.listen(lambda bucket, *, seconds: told.append((bucket, seconds)))
    await drawn(pace, target("DELETE"), 190)

    async def one(number: int) -> None:
        await pace.turn(target("DELETE"))
        order.append(number)

    await asyncio.gather(*(one(number) for number in range(20)))
    assert order == list(range(20))
    assert told == [("deletes", pytest.approx((number + 1) / 10)) for number in range(20)]


async def test_a_long_wait_is_handed_back(virtual: Virtual) -> None:
    """No request sits in line for more than 20 seconds: it is told when to come again, and the line stays short."""
    pace = pacing.Pacing(virtual.clock)
    await drawn(pace, target("DELETE"), 190)
    waiting = [asyncio.create_task(pace.turn(target("DELETE"))) for _ in range(250)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [one for one in results if isinstance(one, outcome.OutcomeError)]
    assert len(refused) == 50
    assert refused[0].outcome == outcome.Waiting(
        Reason.THROTTLED, "held back: Azure allows no more deletes in subscription s for 20 s", 21
    )
    assert virtual.seconds == pytest.approx(20.0)


async def test_who_gives_up_leaves_the_line() -> None:
    """A cancelled wait takes nothing and holds nobody up."""
    now, asleep = 0.0, asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    pace = pacing.Pacing(pacing.Clock(lambda: now, sleep))
    await drawn(pace, target("DELETE"), 190)
    waiting = [asyncio.create_task(pace.turn(target("DELETE"))) for _ in range(3)]
    await asleep.wait()
    for one in (waiting[1], waiting[0]):
        one.cancel()
    now = 0.1
    await asyncio.wait_for(waiting[2], timeout=5)
    assert [one.cancelled() for one in waiting] == [True, True, False]
    asleep.clear()
    last = asyncio.create_task(pace.turn(target("DELETE")))
    await asleep.wait()
    now = 0.2
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)
    await asyncio.wait_for(pace.turn(target("DELETE")), timeout=5)


async def test_arms_count_lowers_ours(virtual: Virtual) -> None:
    """Others may draw from the same buckets: what ARM says is left, of the principal's or of all, is believed."""
    pace = pacing.Pacing(virtual.clock)
    (turn,) = await drawn(pace, target("GET"), 1)
    pace.answered(target("GET"), turn, {f"{LEFT}reads": "100", f"{LEFT}global-reads": "9"})
    await drawn(pace, target("GET"), 9)
    assert virtual.seconds == 0
    await drawn(pace, target("GET"), 2)
    assert virtual.seconds > 0


async def test_what_is_under_way_is_not_counted_yet(virtual: Virtual) -> None:
    """Where others draw too, ARM's count is good only for what isn't on its way to it."""
    pace = pacing.Pacing(virtual.clock)
    (turn,) = await drawn(pace, target("GET"), 1)
    under_way = [await pace.turn(target("GET")) for _ in range(20)]
    pace.answered(target("GET"), turn, {f"{LEFT}reads": "25"})
    await drawn(pace, target("GET"), 5)
    assert virtual.slept == []
    await drawn(pace, target("GET"), 1)
    assert len(virtual.slept) == 1
    for one in under_way:
        one.end()


async def test_arms_count_never_raises_ours(virtual: Virtual) -> None:
    """A large number is not a permission; nor is a number that can't be read, or another purpose's."""
    pace = pacing.Pacing(virtual.clock)
    turns = await drawn(pace, target("GET"), 225)
    for value in ("16499", "-3", "many"):
        pace.answered(target("GET"), turns[0], {f"{LEFT}global-reads": value, f"{LEFT}writes": "0"})
    await pace.turn(target("PATCH"))
    assert virtual.slept == []
    await pace.turn(target("GET"))
    assert virtual.slept == [pytest.approx(1 / 25)]


async def test_what_came_back_meanwhile_is_added_to_arms_count(virtual: Virtual) -> None:
    """An answer that took long speaks of when it was asked for."""
    pace = pacing.Pacing(virtual.clock)
    (turn,) = await drawn(pace, target("GET"), 1)
    virtual.seconds += 0.2
    pace.answered(target("GET"), turn, {f"{LEFT}reads": "5"})
    await drawn(pace, target("GET"), 10)
    assert virtual.slept == []
    await pace.turn(target("GET"))
    assert len(virtual.slept) == 1


async def test_counting_alike_costs_no_pace(virtual: Virtual) -> None:
    """ARM's count is a whole number; where it agrees with ours, rounding down is no loss."""
    pace = pacing.Pacing(virtual.clock)
    for number in range(450):
        turn = await pace.turn(target("DELETE"))
        left = 200 - number - 1 + virtual.seconds * 10
        pace.answered(target("DELETE"), turn, {f"{LEFT}deletes": str(int(left + 1e-6))})
    assert virtual.seconds == pytest.approx(26.0)


async def test_a_429_closes_until_it_said(virtual: Virtual) -> None:
    """Nothing goes out before; then one, and the rest at the usual rate."""
    pace = pacing.Pacing(virtual.clock)
    (turn,) = await drawn(pace, target("GET"), 1)
    pace.refused(turn, {}, 17.0)
    await pace.turn(target("GET"))
    assert virtual.seconds == pytest.approx(17.0)
    await pace.turn(target("GET"))
    assert virtual.seconds == pytest.approx(17.0 + 1 / 25)
    pace.refused(turn, {}, None)
    await pace.turn(target("GET"))
    assert virtual.seconds == pytest.approx(17.0 + 1 / 25 + pacing.PAUSE, abs=0.05)
    await pace.turn(target("PATCH"))


async def test_a_429_is_felt_by_those_in_line() -> None:
    """Who waited for a moment and would now wait for minutes is handed back, with all behind."""
    now, asleep, wake = 0.0, asyncio.Event(), asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await wake.wait()

    pace = pacing.Pacing(pacing.Clock(lambda: now, sleep))
    turns = await drawn(pace, target("DELETE"), 190)
    waiting = [asyncio.create_task(held(pace.turn(target("DELETE")))) for _ in range(5)]
    await asleep.wait()
    pace.refused(turns[0], {}, 120.0)
    now = 0.5
    wake.set()
    assert {one.after for one in await asyncio.gather(*waiting)} == {120}


async def test_a_bucket_of_unknown_size_is_learned(virtual: Virtual) -> None:
    """App writes are counted by type too. Nothing is held back before ARM told; then no more than it said."""
    pace = pacing.Pacing(virtual.clock)
    turns = await drawn(pace, target("PUT"), 3)
    for number, turn in enumerate(turns):
        pace.answered(target("PUT"), turn, {f"{LEFT}resource-requests": str(29 - number)})
    await drawn(pace, target("PUT"), 27)
    assert virtual.seconds == 0
    # Assumed to be full again in five minutes: a hundred tokens, one in three seconds.
    await pace.turn(target("PUT"))
    assert virtual.seconds == pytest.approx(3.0)
    virtual.slept.clear()
    await drawn(pace, target("PUT", f"{GROUP}/providers/Microsoft.App/managedEnvironments/e"), 5)
    await drawn(pace, target("POST", f"{APP}/listSecrets"), 5)
    await drawn(pace, target("PATCH", GROUP), 5)
    assert virtual.slept == []


async def test_a_learned_bucket_follows_arms_count_up(virtual: Virtual) -> None:
    """Its refill is a guess, so a count that is higher than ours is taken."""
    pace = pacing.Pacing(virtual.clock)
    (turn,) = await drawn(pace, target("PUT"), 1)
    pace.answered(target("PUT"), turn, {f"{LEFT}resource-requests": "0"})
    (turn,) = await drawn(pace, target("PUT"), 1)
    assert virtual.seconds == pytest.approx(3.0)
    await pace.turn(target("PUT", f"{GROUP}/providers/Microsoft.App/containerApps/under-way"))
    virtual.slept.clear()
    pace.answered(target("PUT"), turn, {f"{LEFT}resource-requests": "50"})
    await drawn(pace, target("PUT"), 49)
    assert virtual.slept == []
    await drawn(pace, target("PUT"), 1)
    assert len(virtual.slept) == 1


async def test_one_who_is_handed_back_has_taken_nothing(virtual: Virtual) -> None:
    """A write that can't have its type's token leaves alone those that all writes share, and the other way round."""
    pace = pacing.Pacing(virtual.clock)
    (turn,) = await drawn(pace, target("PUT"), 1)
    pace.refused(turn, {f"{LEFT}resource-requests": "0"}, 100.0)
    for _ in range(300):
        await held(pace.turn(target("PUT")))
    (other,) = await drawn(pace, target("PATCH", GROUP), 1)
    await drawn(pace, target("PATCH", GROUP), 188)
    assert virtual.slept == []
    pace.answered(target("PUT"), turn, {f"{LEFT}resource-requests": "5"})
    virtual.seconds += 100
    pace.refused(other, {}, 30.0)
    for _ in range(50):
        await held(pace.turn(target("PUT")))
    virtual.seconds += 30
    await pace.turn(target("PUT"))
    assert virtual.slept == []


async def test_a_429_names_what_is_empty(virtual: Virtual) -> None:
    """Where it says that the type's bucket is, other writes go on."""
    pace = pacing.Pacing(virtual.clock)
    (turn,) = await drawn(pace, target("PUT"), 1)
    pace.refused(turn, {f"{LEFT}resource-requests": "0", f"{LEFT}writes": "190"}, 60.0)
    assert (await held(pace.turn(target("PUT")))).after == 60
    await drawn(pace, target("PATCH", GROUP), 10)
    assert virtual.slept == []


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/subscriptions", None),
        ("GET", "/metadata/endpoints", None),
        ("GET", "/accountone/share-one/subscriptions/x", None),
        ("GET", "/Subscriptions/S", pacing.Target("s", "reads", "", "GET  ")),
        ("PUT", APP, pacing.Target("s", "writes", "microsoft.app/containerapps", "PUT microsoft.app/containerapps ")),
        (
            "POST",
            f"{APP}/revisions/r/restart",
            pacing.Target(
                "s", "writes", "microsoft.app/containerapps", "POST microsoft.app/containerapps revisions/restart"
            ),
        ),
    ],
)
def test_what_a_request_draws_from_is_in_its_address(method: str, path: str, found: pacing.Target | None) -> None:
    """Purpose, subscription and type; names are left out."""
    assert pacing.target(method, URL(f"https://arm{path}")) == found


async def test_a_429_holds_back_the_next_request(
    stub: Stub, paced: adapter.Azure, names: Names, virtual: Virtual
) -> None:
    """Over the wire: one refused request, and the next one goes out when ARM said. The text counts as the header
    does, also for a write, whose answer the SDK reads as a stream."""
    stub.answer(200, {"id": names.app})
    stub.answer(429, SLOW_DOWN)
    stub.answer(200, {"id": names.app})
    stub.answer(429, SLOW_DOWN, {"Retry-After": "300"})
    await paced.read(kinds.Kind.APP, names.app)
    assert (await held(paced.read(kinds.Kind.APP, names.app))).after == 7
    assert await paced.read(kinds.Kind.APP, names.app) is not None
    assert virtual.seconds == pytest.approx(7.0)
    await held(paced.create(kinds.Kind.APP, names.app, WEST))
    assert len(stub.asked) == 4
    refused = await held(paced.update(kinds.Kind.APP, names.app, WEST))
    assert (refused.after, len(stub.asked)) == (300, 4)


async def test_arms_count_is_read_off_each_answer(
    stub: Stub, paced: adapter.Azure, names: Names, virtual: Virtual
) -> None:
    """Over the wire: none left, so the next write waits; it is told that three are, so three go at once."""
    for left in (0, 3, 2, 1, 0):
        stub.answer(202, None, {f"{LEFT}resource-requests": str(left)})
    for waited in (0, 3, 3, 3, 3, 6):
        await paced.update(kinds.Kind.APP, names.app, WEST)
        assert virtual.seconds == pytest.approx(waited)


async def test_no_request_is_refused_by_the_local_azure(slow: Slow, names: Names, virtual: Virtual) -> None:
    """Its buckets and ours agree: many more calls than fit in one go, none of them answered by a 429."""
    codes: Counter[str] = Counter()

    async def sleep(seconds: float) -> None:
        await virtual.sleep(seconds)
        # Its clock knows no less than microseconds.
        slow.time.advance(seconds + 1e-6)

    async with adapter.Azure(slow.server.url, clock=pacing.Clock(lambda: virtual.seconds, sleep)) as cloud:
        cloud.calls.listen(lambda kind, method, code, *, seconds, throttled: codes.update([code]))
        await cloud.create(kinds.Kind.GROUP, names.group, WEST)
        for count in (225, 75):
            await asyncio.gather(*(cloud.read(kinds.Kind.GROUP, names.group) for _ in range(count)))
    assert codes == {"200": 302, "201": 1}
    assert virtual.seconds == pytest.approx(3.0, abs=0.05)
