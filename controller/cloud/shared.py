"""A cloud whose reads are shared: one list of a resource group's apps serves every app in it, and whoever asks for the
same thing at the same time waits for one request.

What it holds is never older than seconds and never older than a write of ours. Nothing rests on it: without it
everything is read, and planned, the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import SecretStr

from controller.cloud import port, share_sessions
from controller.cloud.collection import Answer, Collection, Pending
from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind

Value = TypeVar("Value")

LISTED = (Kind.ACCOUNT, Kind.WORKSPACE, Kind.ENVIRONMENT, Kind.STORAGE, Kind.APP)
"""Kinds that one list may answer for: of a resource group, for storages of an environment."""

ALONE = (Kind.GROUP, Kind.FILE_SERVICE, Kind.SHARE)
"""Kinds of which there is one in its place."""

SETTLED = 10.0
"""Seconds for which an answer about a settled app holds."""

STEADY = 60.0
"""The same about what apps stand on, which hardly ever changes."""

NEWBORN = 30.0
"""Seconds after a create of ours in which an absence isn't believed."""

FORBIDDEN = 600.0
"""Seconds after a list was refused in which each resource is read by itself: roles may be on single resources."""

KEYS = 60.0
"""Seconds for which an account's keys are held, unless a session with a share of it fails before."""


class Shared:
    """`port.Cloud` around `cloud`. `clock` gives seconds since any moment."""

    def __init__(self, cloud: port.Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._clock = clock
        self._order = itertools.count(1)
        self._collections: dict[tuple[Kind, str], Collection] = {}
        self._created: dict[str, float] = {}
        self._keys: dict[str, asyncio.Task[tuple[SecretStr, ...]]] = {}
        self._sessions = share_sessions.Sessions(clock=clock, failed=lambda account_id: self.refresh([account_id]))

    async def read(self, kind: Kind, resource_id: str) -> observed.Resource | None:
        if kind not in LISTED and kind not in ALONE:
            return await self._cloud.read(kind, resource_id)
        held, name, now = self._held(kind, _scope(kind, resource_id)), resource_id.lower(), self._clock()
        held.asked(name, now=now)
        answer = held.fresh(name, now=now) or await self._asked(held, kind, resource_id)
        return self._believed(kind, resource_id, answer.resource if answer else None)

    async def listed(self, kind: Kind, scope: str) -> tuple[observed.Resource, ...]:
        if kind not in LISTED or len(_segments(scope)) != (8 if kind is Kind.STORAGE else 4):
            return await self._cloud.listed(kind, scope)
        held = self._held(kind, scope)
        found = held.all(now=self._clock())
        if found is not None:
            return found
        answers = await self._joined(held, None, lambda order: self._list(held, kind, scope, order=order))
        return tuple(answer.resource for answer in answers.values() if answer.resource)

    def refresh(self, resource_ids: Iterable[str]) -> None:
        """The next read of these goes to Azure itself."""
        order = next(self._order)
        for resource_id in resource_ids:
            name, kind = resource_id.lower(), _kind(resource_id)
            self._keys.pop(name, None)
            if kind is not None:
                self._held(kind, _scope(kind, resource_id)).mark(name, order)

    async def create(self, kind: Kind, resource_id: str, body: Mapping[str, Any]) -> None:
        with self._written(resource_id):
            await self._cloud.create(kind, resource_id, body)
        self._created[resource_id.lower()] = self._clock()

    async def update(self, kind: Kind, resource_id: str, body: Mapping[str, Any]) -> None:
        with self._written(resource_id):
            await self._cloud.update(kind, resource_id, body)

    async def delete(self, kind: Kind, resource_id: str) -> None:
        self._created.pop(resource_id.lower(), None)
        with self._written(resource_id):
            await self._cloud.delete(kind, resource_id)

    async def activate(self, revision_id: str) -> None:
        with self._written(revision_id.rsplit("/", 2)[0]):
            await self._cloud.activate(revision_id)

    async def deactivate(self, revision_id: str) -> None:
        with self._written(revision_id.rsplit("/", 2)[0]):
            await self._cloud.deactivate(revision_id)

    async def register(self, namespace: str, subscription: str) -> None:
        await self._cloud.register(namespace, subscription)

    async def revisions(self, app_id: str) -> tuple[observed.Resource, ...]:
        return await self._cloud.revisions(app_id)

    async def replicas(self, revision_id: str) -> tuple[observed.Resource, ...]:
        return await self._cloud.replicas(revision_id)

    async def logs(
        self, app: observed.Resource, replica: observed.Resource, container: str, *, tail: int
    ) -> tuple[str, ...]:
        return await self._cloud.logs(app, replica, container, tail=tail)

    def follow(
        self, app: observed.Resource, replica: observed.Resource, container: str, *, tail: int
    ) -> AsyncGenerator[str, None]:
        return self._cloud.follow(app, replica, container, tail=tail)

    async def account_keys(self, account_id: str) -> tuple[SecretStr, ...]:
        name = account_id.lower()
        task = self._keys.get(name)
        if task is None or (task.done() and not _final(task)):
            task = self._keys[name] = _begun(self._cloud.account_keys(account_id))
            asyncio.get_running_loop().call_later(KEYS, self._keys.pop, name, None)
        return await asyncio.shield(task)

    async def workspace_key(self, workspace_id: str) -> SecretStr:
        return await self._cloud.workspace_key(workspace_id)

    async def app_secrets(self, app_id: str) -> Mapping[str, SecretStr]:
        return await self._cloud.app_secrets(app_id)

    def share(
        self,
        account: observed.Resource,
        name: str,
        *,
        keys: Callable[[], Awaitable[tuple[SecretStr, ...]]] | None = None,
    ) -> port.ShareSession:
        given = keys or (lambda: self.account_keys(account.id))
        return self._sessions.share((account.id.lower(), name), lambda: self._cloud.share(account, name, keys=given))

    async def check(self, url: str) -> observed.Check:
        return await self._cloud.check(url)

    async def close(self) -> None:
        """End what was begun here. The cloud itself stays open, for whoever opened it."""
        pending = [each.task for held in self._collections.values() for each in held.pending.values()]
        tasks = [*pending, *self._keys.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sessions.close()

    async def _asked(self, held: Collection, kind: Kind, resource_id: str) -> Answer | None:
        """By the list where that serves others too, else by itself. A request in flight is joined."""
        name, scope = resource_id.lower(), _scope(kind, resource_id)
        if self._by_list(held, kind, name):
            try:
                listing = self._joined(held, None, lambda order: self._list(held, kind, scope, order=order), name=name)
                return (await listing).get(name)
            except outcome.OutcomeError as error:
                if not _forbidden(error):
                    raise
                held.single = self._clock() + FORBIDDEN
        reading = self._joined(held, name, lambda order: self._get(held, kind, resource_id, order=order), name=name)
        return (await reading)[name]

    def _by_list(self, held: Collection, kind: Kind, name: str) -> bool:
        def joins(key: str | None) -> bool:
            pending = held.pending.get(key)
            return pending is not None and held.valid(pending.order, name)

        return joins(None) or (kind in LISTED and not joins(name) and held.shared(name, now=self._clock()))

    async def _joined(
        self,
        held: Collection,
        key: str | None,
        begin: Callable[[int], Coroutine[Any, Any, Mapping[str, Answer]]],
        *,
        name: str | None = None,
    ) -> Mapping[str, Answer]:
        """The answers of the request in flight for `key`, where it may speak of `name`; else of one that begins now."""
        pending = held.pending.get(key)
        if pending is None or not held.valid(pending.order, name):
            order = next(self._order)
            pending = held.pending[key] = Pending(order, _begun(begin(order)))
            pending.task.add_done_callback(lambda _: held.ended(key, order))
        # Whoever is cancelled leaves the others waiting.
        return await asyncio.shield(pending.task)

    async def _get(self, held: Collection, kind: Kind, resource_id: str, *, order: int) -> Mapping[str, Answer]:
        answer = Answer(await self._cloud.read(kind, resource_id), order, self._clock())
        held.put(resource_id.lower(), answer)
        return {resource_id.lower(): answer}

    async def _list(self, held: Collection, kind: Kind, scope: str, *, order: int) -> Mapping[str, Answer]:
        found = await self._cloud.listed(kind, scope)
        return held.put_all(found, order=order, at=self._clock())

    def _believed(self, kind: Kind, resource_id: str, found: observed.Resource | None) -> observed.Resource | None:
        """A service may not know at once what it has just accepted."""
        name = resource_id.lower()
        if found is not None:
            self._created.pop(name, None)
        elif self._clock() - self._created.get(name, -NEWBORN) < NEWBORN:
            short = resource_id.rpartition("/")[2]
            message = f"{kind.label} {short} was just created and isn't visible yet"
            raise outcome.OutcomeError(outcome.Waiting(Reason.PROGRESSING, message, after=1))
        return found

    @contextlib.contextmanager
    def _written(self, resource_id: str) -> Iterator[None]:
        """What is asked before or during the write says nothing of what comes of it, nor of what lies below."""
        self._outdate(resource_id)
        try:
            yield
        finally:
            self._outdate(resource_id)

    def _outdate(self, resource_id: str) -> None:
        self.refresh([resource_id])
        name, order = resource_id.lower(), next(self._order)
        for (_, scope), held in self._collections.items():
            if scope == name or scope.startswith(f"{name}/"):
                held.floor = order

    def _held(self, kind: Kind, scope: str) -> Collection:
        key = (kind, scope.lower())
        if key not in self._collections:
            self._collections[key] = Collection(SETTLED if kind is Kind.APP else STEADY)
        return self._collections[key]


_KINDS = {str(kind).lower(): kind for kind in (*LISTED, *ALONE)}


def _kind(resource_id: str) -> Kind | None:
    """The kind of a resource by its id; None for one whose reads aren't shared."""
    segments = _segments(resource_id.lower())
    return Kind.GROUP if len(segments) == 4 else _KINDS.get("/".join([*segments[5:6], *segments[6::2]]))


@functools.lru_cache(maxsize=65536)
def _scope(kind: Kind, resource_id: str) -> str:
    """Where it is listed along with others; for one that is alone, itself."""
    if kind in ALONE:
        return resource_id
    if kind is Kind.STORAGE:
        return resource_id.rsplit("/", 2)[0]
    return "/" + "/".join(_segments(resource_id)[:4])


def _segments(path: str) -> list[str]:
    return path.strip("/").split("/")


def _begun(request: Coroutine[Any, Any, Value]) -> asyncio.Task[Value]:
    """The request as a task. Its failure is told to those who wait for it; there may be nobody left."""
    task = asyncio.create_task(request)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _forbidden(error: BaseException | None) -> bool:
    if not isinstance(error, outcome.OutcomeError) or not isinstance(error.outcome, outcome.Stalled):
        return False
    return error.outcome.reason == Reason.FORBIDDEN


def _final(task: asyncio.Task[Any]) -> bool:
    """Whether asking again at once would come to the same."""
    return not task.cancelled() and (task.exception() is None or _forbidden(task.exception()))
