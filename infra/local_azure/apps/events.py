"""System events of each app, as its event stream tells them: kept in memory, the last few only."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from infra.local_azure import clock

_KEPT = 200


@dataclass(frozen=True)
class Event:
    """`reason` is one word, `message` a sentence. `number` grows by one with each event of the server."""

    number: int
    time: datetime
    app: str
    revision: str
    reason: str
    message: str


class Events:
    """The events of every app."""

    def __init__(self, time: clock.Clock) -> None:
        self._time = time
        self._last: dict[str, deque[Event]] = {}
        self._number = 0
        self._news = asyncio.Event()

    def tell(self, app_id: str, revision: str, reason: str, message: str) -> None:
        self._number += 1
        name = app_id.rpartition("/")[2]
        event = Event(self._number, self._time.now(), name, revision, reason, message)
        self._of(app_id).append(event)
        self._wake()

    def forget(self, app_id: str) -> None:
        """The app is gone: whoever follows its events comes to the end."""
        self._last.pop(app_id.lower(), None)
        self._wake()

    async def read(self, app_id: str, *, tail: int, follow: bool) -> AsyncIterator[Event]:
        """The last `tail` events of the app, oldest first; then, with `follow`, those to come."""
        known = list(self._of(app_id))
        for event in known[max(0, len(known) - tail) :]:
            yield event
        seen = known[-1].number if known else 0
        while follow and app_id.lower() in self._last:
            news = self._news
            for event in [item for item in self._of(app_id) if item.number > seen]:
                seen = event.number
                yield event
            await news.wait()

    def _of(self, app_id: str) -> deque[Event]:
        return self._last.setdefault(app_id.lower(), deque(maxlen=_KEPT))

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
