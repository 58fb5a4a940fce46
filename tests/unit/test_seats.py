"""So many looks at a time; who goes on comes before who only looks."""

from __future__ import annotations

import asyncio

from controller import worker
from controller.status import store

NAMES = ("one", "two", "three")


def key(name: str) -> store.Key:
    return ("InferenceApp", name)


async def turn() -> None:
    """Let everything that can go on go on."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_goes_on_comes_first() -> None:
    """Among their like, by the order they came in."""
    seats, order = worker.Seats(1), list[str]()

    async def look(name: str, *, first: bool) -> None:
        await seats.take(key(name), first=first)
        order.append(name)
        seats.give_back()

    await seats.take(key("held"), first=False)
    looks = [look("one", first=False), look("two", first=False), look("three", first=True), look("four", first=True)]
    tasks = [asyncio.create_task(each) for each in looks]
    await turn()
    assert order == []
    seats.give_back()
    await asyncio.gather(*tasks)
    assert order == ["three", "four", "one", "two"]


async def test_one_in_the_line_may_come_to_go_on() -> None:
    """Then it comes before those that were there first."""
    seats = worker.Seats(0)
    tasks = [asyncio.create_task(seats.take(key(name), first=False)) for name in NAMES]
    await turn()
    seats.prefer(key("three"))
    seats.prefer(key("somebody else"))
    seats.give_back()
    await turn()
    assert [task.done() for task in tasks] == [False, False, True]
    for _ in NAMES[1:]:
        seats.give_back()
    await asyncio.gather(*tasks)


async def test_no_more_than_there_are_seats() -> None:
    """The rest waits."""
    seats = worker.Seats(2)
    tasks = [asyncio.create_task(seats.take(key(name), first=False)) for name in NAMES]
    await turn()
    assert [task.done() for task in tasks] == [True, True, False]
    seats.give_back()
    await tasks[2]


async def test_one_that_gives_up_leaves_no_seat_empty() -> None:
    """Neither in the line nor with the seat already given."""
    seats = worker.Seats(1)
    await seats.take(key("held"), first=False)
    one, two, three = (asyncio.create_task(seats.take(key(name), first=False)) for name in NAMES)
    await turn()
    one.cancel()
    await turn()
    seats.give_back()
    two.cancel()
    await turn()
    assert (one.cancelled(), two.cancelled(), three.done()) == (True, True, True)
