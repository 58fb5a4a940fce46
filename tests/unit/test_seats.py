"""So many looks at a time; who goes on comes before who only looks."""

from __future__ import annotations

import asyncio

from controller import worker


async def turn() -> None:
    """Let everything that can go on go on."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_goes_on_comes_first() -> None:
    """Among their like, by the order they came in."""
    seats, order = worker.Seats(1), list[str]()

    async def look(name: str, *, first: bool) -> None:
        await seats.take(first=first)
        order.append(name)
        seats.give_back()

    await seats.take(first=False)
    looks = [look("one", first=False), look("two", first=False), look("three", first=True), look("four", first=True)]
    tasks = [asyncio.create_task(each) for each in looks]
    await turn()
    assert order == []
    seats.give_back()
    await asyncio.gather(*tasks)
    assert order == ["three", "four", "one", "two"]


async def test_no_more_than_there_are_seats() -> None:
    """The rest waits."""
    seats = worker.Seats(2)
    tasks = [asyncio.create_task(seats.take(first=False)) for _ in range(3)]
    await turn()
    assert [task.done() for task in tasks] == [True, True, False]
    seats.give_back()
    await tasks[2]


async def test_one_that_gives_up_leaves_no_seat_empty() -> None:
    """Neither in the line nor with the seat already given."""
    seats = worker.Seats(1)
    await seats.take(first=False)
    one, two, three = (asyncio.create_task(seats.take(first=False)) for _ in range(3))
    await turn()
    one.cancel()
    await turn()
    seats.give_back()
    two.cancel()
    await turn()
    assert (one.cancelled(), two.cancelled(), three.done()) == (True, True, True)
