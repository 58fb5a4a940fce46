"""Who may generate, who waits, who is refused."""

from __future__ import annotations

import asyncio

import pytest

from inference import admission, metrics


def gate(
    *, places: int = 1, queue: int = 1, timeout: float = 5, capacity: int = 100, page: int = 1
) -> admission.Admission:
    return admission.Admission(
        places=places, queue=queue, timeout=timeout, capacity=capacity, page=page, measure=metrics.Metrics()
    )


async def test_the_next_in_line_gets_a_released_place() -> None:
    """First come, first served."""
    doors = gate(queue=2)
    held = await doors.place(1)
    waiting = [asyncio.create_task(doors.place(1)) for _ in range(2)]
    await asyncio.sleep(0)
    held.release()
    held.release()
    first = await waiting[0]
    assert (doors.in_flight, waiting[1].done()) == (1, False)
    first.release()
    (await waiting[1]).release()
    assert doors.in_flight == 0


async def test_a_full_queue_refuses_with_a_time_to_wait() -> None:
    """Overloaded at once, with seconds to come back after."""
    doors = gate(queue=0, timeout=600)
    await doors.place(1)
    with pytest.raises(admission.Overloaded) as refused:
        async with asyncio.timeout(1):
            await doors.place(1)
    assert refused.value.retry_after >= 1


async def test_waiting_has_an_end() -> None:
    """Overloaded after the queue's timeout, and the place in the line is gone."""
    doors = gate(timeout=0.01)
    held = await doors.place(1)
    with pytest.raises(admission.Overloaded):
        await doors.place(1)
    held.release()
    assert (await doors.place(1)).tokens == 1


async def test_tokens_are_a_limit_too() -> None:
    """A free place is not enough: the cache must have room for prompt and answer, in whole pages."""
    doors = gate(places=9, capacity=12, page=4)
    held = await doors.place(5)
    late = asyncio.create_task(doors.place(5))
    await asyncio.sleep(0)
    assert not late.done()
    held.release()
    (await late).release()


async def test_giving_up_leaves_no_place_taken() -> None:
    """A waiter cancelled in the very moment it is let in gives its place back."""
    doors = gate()
    held = await doors.place(1)
    late = asyncio.create_task(doors.place(1))
    await asyncio.sleep(0)
    held.release()
    late.cancel()
    await asyncio.wait({late})
    assert doors.in_flight == 0


async def test_closing_refuses_those_who_wait_and_those_who_come() -> None:
    """Draining for both; who is in stays in."""
    doors = gate()
    held = await doors.place(1)
    late = asyncio.create_task(doors.place(1))
    await asyncio.sleep(0)
    doors.close()
    with pytest.raises(admission.Draining):
        await late
    with pytest.raises(admission.Draining):
        await doors.place(1)
    assert doors.in_flight == 1
    held.release()
    await doors.idle()


async def test_a_held_gate_lets_nobody_in_until_it_is_resumed() -> None:
    """Who is in may end; who comes waits in the queue, its usual time and no longer, and is let in after."""
    doors = gate(places=2, queue=2, timeout=0.01)
    held = await doors.place(1)
    doors.hold()
    with pytest.raises(admission.Overloaded):
        await doors.place(1)
    late = asyncio.create_task(doors.place(1))
    await asyncio.sleep(0)
    held.release()
    await doors.idle()
    assert (doors.in_flight, late.done()) == (0, False)
    doors.resume()
    (await late).release()
