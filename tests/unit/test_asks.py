"""What asks for another load, gathered until somebody takes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controller import follow

LONG = 3600.0


async def test_asks_come_to_one_load() -> None:
    """Whatever came since the last one is in it; then there is nothing until its time."""
    asks = follow.Asks()
    asks.changed([Path("/a")])
    asks.changed([Path("/a"), Path("/b")])
    asks.push()

    assert await asks.wait(LONG) == follow.Asked(frozenset({Path("/a"), Path("/b")}), pushed=True)
    assert await asks.wait(0) == follow.Asked(frozenset(), pushed=False)


async def test_everything_is_more_than_what_changed() -> None:
    asks = follow.Asks()
    asks.changed([Path("/a")])
    asks.everything()

    assert await asks.wait(LONG) == follow.Asked(None, pushed=False)


async def test_an_ask_ends_the_wait() -> None:
    """Also one that comes while somebody waits."""
    asks = follow.Asks()
    waiting = asyncio.create_task(asks.wait(LONG))
    await asyncio.sleep(0)
    asks.push()

    assert (await waiting).pushed
