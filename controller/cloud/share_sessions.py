"""Sessions with file shares, each used by all who need that share at the same time: one reading of the account's keys,
one limit on what is in flight. It knows nothing of files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from controller.cloud import port

IDLE = 10.0
"""Seconds after which a session that nobody uses is closed: keys aren't kept."""

OLDEST = 30.0
"""Seconds after which a session is given to nobody else: keys are rotated."""


@dataclass
class _Open:
    session: port.ShareSession
    entered: asyncio.Task[port.Share]
    since: float
    users: int = 0
    retired: bool = False
    idle: asyncio.TimerHandle | None = None


class Sessions:
    """All shares' sessions, by the account's id and the share's name. `clock` gives seconds since any moment; `failed`
    is told the account's id where something failed in one: its keys may have been rotated."""

    def __init__(self, *, clock: Callable[[], float], failed: Callable[[str], None]) -> None:
        self._clock = clock
        self._failed = failed
        self._open: dict[tuple[str, str], _Open] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def share(self, key: tuple[str, str], begin: Callable[[], port.ShareSession]) -> port.ShareSession:
        """To be entered with `async with`; `begin` gives a session where none is open."""
        return Shared(self, key, begin)

    async def close(self) -> None:
        """Close every session, in use or not."""
        for one in tuple(self._open.values()):
            one.retired, one.users = True, 0
            self._close(one)
        self._open.clear()
        await asyncio.gather(*self._closing)

    def enter(self, key: tuple[str, str], begin: Callable[[], port.ShareSession]) -> _Open:
        """One more user of the session that is open, or of a new one."""
        found = self._open.get(key)
        if found is None or found.retired or self._clock() - found.since > OLDEST:
            if found is not None:
                self._retire(found)
            session = begin()
            found = _Open(session, asyncio.create_task(session.__aenter__()), self._clock())
            self._open[key] = found
        if found.idle is not None:
            found.idle.cancel()
            found.idle = None
        found.users += 1
        return found

    def leave(self, key: tuple[str, str], one: _Open, *, failed: bool) -> None:
        """A session in which something failed is given to nobody else."""
        one.users -= 1
        if failed:
            one.retired = True
            self._failed(key[0])
        if one.retired and self._open.get(key) is one:
            del self._open[key]
        if one.users == 0 and one.retired:
            self._close(one)
        elif one.users == 0:
            one.idle = asyncio.get_running_loop().call_later(IDLE, self._idled, key, one)

    def _idled(self, key: tuple[str, str], one: _Open) -> None:
        if self._open.get(key) is one:
            del self._open[key]
        one.retired = True
        self._close(one)

    def _retire(self, one: _Open) -> None:
        one.retired = True
        if one.users == 0:
            self._close(one)

    def _close(self, one: _Open) -> None:
        if one.idle is not None:
            one.idle.cancel()
            one.idle = None
        task = asyncio.create_task(_closed(one))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _closed(one: _Open) -> None:
    await asyncio.wait([one.entered])
    if not one.entered.cancelled() and one.entered.exception() is None:
        await one.session.__aexit__(None, None, None)


class Shared:
    """A session that others may be using too."""

    def __init__(self, sessions: Sessions, key: tuple[str, str], begin: Callable[[], port.ShareSession]) -> None:
        self._sessions, self._key, self._begin = sessions, key, begin
        self._one: _Open | None = None

    async def __aenter__(self) -> port.Share:
        one = self._sessions.enter(self._key, self._begin)
        try:
            # One that is cancelled leaves the others waiting.
            share = await asyncio.shield(one.entered)
        except BaseException as error:
            self._sessions.leave(self._key, one, failed=isinstance(error, Exception))
            raise
        self._one = one
        return share

    async def __aexit__(self, *exc: object) -> None:
        assert self._one is not None, "it was entered"
        self._sessions.leave(self._key, self._one, failed=any(each is not None for each in exc))
