"""Where a replica's requests go against where its app listens: they move there, or the difference is told.

It finds listening ports and changes a `Door`; it knows no process's state and no probe but its port and result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from infra.local_azure.runtime import groups, probes

_LOOK_EVERY_S = 0.25


@dataclass
class Door:
    """A replica's loopback port for the revision's target port; `port` may still move to the target itself."""

    target: int
    port: int


class Listening:
    """One container at its replica's door, if there is one. `note` writes a line to the container's log.

    `hint` says where the app listens instead, "" mostly; `changed` is called when that differs.
    """

    def __init__(self, door: Door | None, *, note: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.hint = ""
        self._door = door
        self._note = note
        self._changed = changed
        self._looked = float("-inf")
        self._address_checked = False

    def port(self, wanted: int) -> int:
        """The loopback port on which the container's port `wanted` is to be asked."""
        door = self._at(wanted)
        return wanted if door is None else door.port

    async def heard(self, wanted: int, result: probes.Result, *, session: int) -> None:
        """Take note of a check of port `wanted`, made while the container runs in `session`."""
        door = self._at(wanted)
        if door is None:
            return
        if result.refused:
            await self._find(door, session)
        elif result.ok:
            self._tell("")
            await self._check_address(door, session)

    def _at(self, wanted: int) -> Door | None:
        return self._door if self._door is not None and self._door.target == wanted else None

    async def _find(self, door: Door, session: int) -> None:
        """Nobody listens where it should: move to the target port itself, or say where it listens instead."""
        now = asyncio.get_running_loop().time()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        ports = [one.port for one in await asyncio.to_thread(groups.listeners, session)]
        if door.target in ports and door.port != door.target:
            door.port = door.target
            self._note(f"the app listens on its target port {door.target}, not on PORT; requests go there")
        elif ports and door.port not in ports:
            # recorded: runningStateDetails of a revision with the wrong port
            self._tell(f"The TargetPort {door.target} does not match the listening port {ports[0]}.")

    async def _check_address(self, door: Door, session: int) -> None:
        if self._address_checked:
            return
        self._address_checked = True
        found = [one for one in await asyncio.to_thread(groups.listeners, session) if one.port == door.port]
        if found and all(one.local_only for one in found):
            self._note("the app listens on the loopback address only: Azure couldn't reach it; use 0.0.0.0")

    def _tell(self, hint: str) -> None:
        if hint != self.hint:
            self.hint = hint
            self._changed()
