"""Who gets a machine, who waits for one, and in which words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.local_azure import clock, replicas, scenario
from infra.local_azure.runtime import places
from infra.local_azure.scenario import Rule

NODE = {"cores": 24.0, "memory": 220.0, "gpus": 1, "quota": "Dedicated", "scope": "region", "granted": 16.0}


class Room:
    """Places on a clock that stands still, in pools that the test changes."""

    def __init__(self) -> None:
        self.time = clock.ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.scenario = scenario.Scenario()
        self.pools: dict[str, replicas.Pool] = {}
        self.places = places.Places(self.time, self.scenario, lambda name: self.pools.get(name))
        self.told: list[str] = []

    def want(self, pool: str, *, cores: float = 1.0, memory: float = 2.0) -> places.Place:
        demand = replicas.Demand(pool, pool.upper(), cores, memory)
        return self.places.want(demand, lambda: self.told.append(pool))


@pytest.fixture
def room() -> Room:
    return Room()


def dedicated(nodes: int, **values: float) -> replicas.Pool:
    return replicas.Pool(nodes=nodes, **{**NODE, **values})  # type: ignore[arg-type]


def serverless(granted: float, *, quota: str = "T4s", scope: str = "env") -> replicas.Pool:
    return replicas.Pool(nodes=None, cores=8, memory=56, gpus=1, quota=quota, scope=scope, granted=granted)


def words(place: places.Place) -> tuple[str, str] | None:
    return (place.shortage.container, place.shortage.revision) if place.shortage is not None else None


def test_a_replica_without_a_known_pool_has_a_place(room: Room) -> None:
    """Consumption isn't limited."""
    assert [words(room.want("consumption")) for _ in range(100)] == [None] * 100


def test_the_one_who_waits_longest_gets_the_gpu_that_becomes_free(room: Room) -> None:
    """First come, first served, and told."""
    room.pools["gpu"] = dedicated(1)
    first, second, third = (room.want("gpu") for _ in range(3))
    full = (
        "Unschedulable on legion. 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        "Unschedulable: insufficient nvidia.com/gpu.",
    )
    assert [words(place) for place in (first, second, third)] == [None, full, full]
    room.places.leave(first)
    assert [words(place) for place in (second, third)] == [None, full]
    assert room.told == ["gpu"]


def test_one_that_leaves_the_queue_is_skipped(room: Room) -> None:
    """A replica that is stopped while it waits takes nothing."""
    room.pools["gpu"] = dedicated(1)
    first, second, third = (room.want("gpu") for _ in range(3))
    room.places.leave(second)
    room.places.leave(first)
    assert words(third) is None


def test_replicas_share_a_machine_as_far_as_its_gpus_cores_and_memory_go(room: Room) -> None:
    """The first thing that lacks is named."""
    room.pools["gpu"] = dedicated(2, gpus=4, cores=96, memory=880)
    assert [words(room.want("gpu", cores=12)) for _ in range(8)] == [None] * 8
    assert "Unschedulable: insufficient nvidia.com/gpu." in (words(room.want("gpu")) or ())
    room.pools["d4"] = dedicated(2, gpus=0, cores=4, memory=16)
    assert [words(room.want("d4", cores=2, memory=4)) for _ in range(4)] == [None] * 4
    assert words(room.want("d4", cores=0.5)) == (
        "Unschedulable on legion. 0/2 nodes are available: 2 Insufficient cpu.",
        "Unschedulable: insufficient cpu.",
    )
    room.pools["e4"] = dedicated(1, gpus=0, cores=4, memory=16)
    room.want("e4", cores=1, memory=16)
    assert "Unschedulable: insufficient memory." in (words(room.want("e4")) or ())


def test_fractions_of_a_core_fill_a_machine_exactly(room: Room) -> None:
    """Ten tenths are one."""
    room.pools["d"] = dedicated(1, gpus=0, cores=1, memory=100)
    assert [words(room.want("d", cores=0.1)) for _ in range(10)] == [None] * 10
    assert words(room.want("d", cores=0.1)) is not None


def test_an_environments_quota_of_serverless_gpus_counts_over_its_profiles(room: Room) -> None:
    """Two profiles of one type share it; another environment has its own."""
    room.pools |= {"a": serverless(2), "b": serverless(2), "c": serverless(2, scope="elsewhere")}
    first = room.want("a")
    assert [words(room.want(pool)) for pool in ("b", "c", "c")] == [None, None, None]
    late = room.want("b")
    exceeded = ("Unschedulable on legion. quota of T4s exceeded.", "Unschedulable: quota of T4s exceeded.")
    assert words(late) == exceeded
    room.places.leave(first)
    assert words(late) is None


def test_the_subscriptions_quota_counts_the_gpus_of_machines_that_run(room: Room) -> None:
    """Two machines with two GPUs each need four, whoever uses them."""
    room.pools |= {name: dedicated(5, gpus=2, granted=4) for name in ("a", "b")}
    assert [words(room.want("a")) for _ in range(3)] == [None, None, None]
    assert "Unschedulable: quota of Dedicated exceeded." in (words(room.want("b")) or ())
    assert words(room.want("a")) is None


def test_other_counts_of_the_profile_let_the_next_one_in(room: Room) -> None:
    """Not in the middle of the change that says so, but right after it."""
    room.pools["gpu"] = dedicated(1)
    room.want("gpu")
    waiting = room.want("gpu")
    room.pools["gpu"] = dedicated(2)
    room.places.look()
    assert room.told == []
    room.time.advance(0)
    assert (words(waiting), room.told) == (None, ["gpu"])


def test_a_scenario_says_how_many_fit_whatever_the_profiles_counts(room: Room) -> None:
    """Also on Consumption, where nothing else limits; other profiles are left alone."""
    room.pools["gpu"] = dedicated(1)
    room.scenario.play(Rule("capacity", profile="GPU", replicas=2), Rule("capacity", profile="CONS*", replicas=0))
    assert [words(room.want(pool)) for pool in ("gpu", "gpu", "free")] == [None] * 3
    assert "0/2 nodes are available: 2 Insufficient nvidia.com/gpu." in (words(room.want("gpu")) or ("",))[0]
    assert words(room.want("consumption")) == (
        "Unschedulable on legion. 0/1 nodes are available: 1 Insufficient cpu.",
        "Unschedulable: insufficient cpu.",
    )


def test_a_capacity_grows_once_somebody_waited_for_it(room: Room) -> None:
    """The time runs from the first who waits."""
    room.pools["gpu"] = dedicated(1)
    room.scenario.play(Rule("capacity", profile="GPU", replicas=0, then=1, after=600.0))
    room.time.advance(3600)
    first, second = room.want("gpu"), room.want("gpu")
    room.time.advance(599)
    assert words(first) is not None
    room.time.advance(1)
    assert (words(first), words(second) is None) == (None, False)


def test_a_scenarios_quota_holds_in_place_of_the_real_one(room: Room) -> None:
    """And whoever waits comes in as soon as the rule is gone."""
    room.pools["t4"] = serverless(5)
    room.scenario.play(Rule("quota", profile="T*", gpus=0))
    waiting = room.want("t4")
    assert "Unschedulable: quota of T4s exceeded." in (words(waiting) or ())
    room.scenario.play()
    room.time.advance(0)
    assert words(waiting) is None


def test_nobody_is_placed_once_it_is_closed(room: Room) -> None:
    """What leaves at a server's end makes room for nobody."""
    room.pools["gpu"] = dedicated(1)
    first, second = room.want("gpu"), room.want("gpu")
    room.places.close()
    room.places.leave(first)
    room.places.leave(second)
    assert room.told == []
