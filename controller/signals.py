"""How a person or a service manager ends a program, or asks it to look again: signals, and waits that an event ends, in
the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import NoReturn

SAME_MOMENT = 0.5
"""Seconds within which signals count as one."""

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended."""


async def waited(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the event, so many seconds at most; None sets no limit. Not wait_for: Python 3.11's loses a cancellation
    that comes in the same turn as the event."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _leave() -> NoReturn:
    """End at once. Azure goes on with what was begun; the next start finds it."""
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def handled(stop: Callable[[], None], *, again: Callable[[], None] | None = None) -> Iterator[None]:
    """SIGINT and SIGTERM call `stop`; the second one ends the process. Two at the same moment are one: a terminal and
    the program that started this may both pass on a Ctrl-C. SIGHUP calls `again`, where there is one."""
    loop = asyncio.get_running_loop()
    first: float | None = None

    def handle() -> None:
        nonlocal first
        if first is None:
            first = loop.time()
            stop()
        elif loop.time() - first > SAME_MOMENT:
            _leave()

    handlers = {signal.SIGINT: handle, signal.SIGTERM: handle} | ({signal.SIGHUP: again} if again else {})
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
