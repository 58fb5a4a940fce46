"""Clouds that do something of their own at each write: `port.Cloud` around the real one."""

from __future__ import annotations

import asyncio
from typing import Any

from controller.cloud import port

SHARE_WRITES = ("upload", "write", "delete", "prune")


class Around:
    """Passes everything on to `inner`; `before` and `after` are called with each write."""

    def __init__(self, inner: port.Cloud) -> None:
        self.inner = inner

    async def before(self, what: str) -> None:
        pass

    async def after(self, what: str) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def create(self, kind: Any, resource_id: str, body: Any) -> None:
        await self.around(f"create {kind.label}", self.inner.create, kind, resource_id, body)

    async def update(self, kind: Any, resource_id: str, body: Any) -> None:
        await self.around(f"update {kind.label}", self.inner.update, kind, resource_id, body)

    def share(self, account: Any, name: str) -> _ShareSession:
        return _ShareSession(self, self.inner.share(account, name))

    async def around(self, what: str, call: Any, *given: Any) -> Any:
        await self.before(what)
        result = await call(*given)
        await self.after(what)
        return result


class _ShareSession:
    def __init__(self, cloud: Around, inner: port.ShareSession) -> None:
        self._cloud, self._inner = cloud, inner

    async def __aenter__(self) -> _Share:
        return _Share(self._cloud, await self._inner.__aenter__())

    async def __aexit__(self, *exc: object) -> None:
        await self._inner.__aexit__(*exc)


class _Share:
    def __init__(self, cloud: Around, inner: port.Share) -> None:
        self._cloud, self._inner = cloud, inner

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name not in SHARE_WRITES:
            return call
        return lambda path, *given: self._cloud.around(f"{name} {path}", call, path, *given)


class Killed(BaseException):
    """Nothing runs after it: it is no Exception, so no handler of the controller's catches it."""


class Killing(Around):
    """Is killed once `after` writes are done; nothing is written from then on."""

    def __init__(self, inner: port.Cloud, *, after: int) -> None:
        super().__init__(inner)
        self.left = after
        self.done: list[str] = []

    async def before(self, what: str) -> None:
        if self.left == 0:
            raise Killed(what)

    async def after(self, what: str) -> None:
        self.done.append(what)
        self.left -= 1
        if self.left == 0:
            raise Killed(what)


class Held(Around):
    """Holds every write back until `release` is set; `begun` says that one waits."""

    def __init__(self, inner: port.Cloud) -> None:
        super().__init__(inner)
        self.begun, self.release = asyncio.Event(), asyncio.Event()

    async def before(self, what: str) -> None:
        self.begun.set()
        await self.release.wait()
