"""A cloud whose reads are shared: one list of a resource group's apps serves every app in it, and whoever asks for the
same thing at the same time waits for one request.

What it holds is never older than seconds and never older than a write of ours. Nothing rests on it: without it
everything is read, and planned, the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from controller.cloud import ids, port, share_sessions
from controller.cloud.collection import Answer, Collection, Pending
from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind

LISTED = (Kind.ACCOUNT, Kind.WORKSPACE, Kind.ENVIRONMENT, Kind.STORAGE, Kind.APP)
"""Kinds that one list may answer for: of a resource group, for storages of an environment."""

ALONE = (Kind.GROUP, Kind.FILE_SERVICE, Kind.SHARE)
"""Kinds of which there is one in its place."""

NEWBORN = 30.0
"""Seconds after a create of ours in which an absence isn't believed."""

FORBIDDEN = 600.0
"""Seconds after a list was refused in which each resource is read by itself: roles may be on single resources."""

KEYS = 5.0
"""Seconds for which an account's keys are held."""


class Shared:
    """`port.Cloud` around `cloud`. `clock` gives seconds since any moment."""

    def __init__(self, cloud: port.Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._clock = clock
        self._order = itertools.count(1)
        self._collections: dict[tuple[Kind, str], Collection] = {}
        self._created: dict[str, float] = {}
        self._keys: dict[str, tuple[float, asyncio.Task[tuple[SecretStr, ...]]]] = {}
        self._sessions = share_sessions.Sessions(clock=clock)

    async def read(self, kind: Kind, resource_id: str) -> observed.Resource | None:
        if kind not in LISTED and kind not in ALONE:
            return await self._cloud.read(kind, resource_id)
        held, name, now = self._collection(kind, resource_id), resource_id.lower(), self._clock()
        held.asked(name, now=now)
        answer = held.fresh(name, now=now) or await self._asked(held, kind, resource_id)
        return self._believed(kind, resource_id, answer.resource if answer else None)

    async def listed(self, kind: Kind, scope: str) -> tuple[observed.Resource, ...]:
        if kind not in LISTED or (len(ids.parse(scope).names) if _in_group(scope) else -1) != (kind is Kind.STORAGE):
            return await self._cloud.listed(kind, scope)
        held = self._held(kind, scope)
        found = held.all(now=self._clock())
        if found is not None:
            return found
        answers = await self._joined(held, None, lambda: self._list(held, kind, scope))
        return tuple(answer.resource for answer in answers.values() if answer.resource)

    def refresh(self, resource_ids: Iterable[str]) -> None:
        """The next read of these goes to Azure itself."""
        order = next(self._order)
        for name in (each.lower() for each in resource_ids):
            self._keys.pop(name, None)
            for held in self._collections.values():
                held.mark(name, order)

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

    async def register(self, namespace: str, subscription: str) -> None:
        await self._cloud.register(namespace, subscription)

    async def revisions(self, app_id: str) -> tuple[observed.Resource, ...]:
        return await self._cloud.revisions(app_id)

    async def replicas(self, revision_id: str) -> tuple[observed.Resource, ...]:
        return await self._cloud.replicas(revision_id)

    async def account_keys(self, account_id: str) -> tuple[SecretStr, ...]:
        name, now = account_id.lower(), self._clock()
        since, task = self._keys.get(name, (0.0, None))
        if task is None or now - since > KEYS or (task.done() and _failed(task)):
            task = _begun(self._cloud.account_keys(account_id))
            self._keys[name] = now, task
        return await asyncio.shield(task)

    async def workspace_key(self, workspace_id: str) -> SecretStr:
        return await self._cloud.workspace_key(workspace_id)

    async def app_secrets(self, app_id: str) -> Mapping[str, SecretStr]:
        return await self._cloud.app_secrets(app_id)

    def share(self, account: observed.Resource, name: str) -> share_sessions.Shared:
        return self._sessions.share((account.id.lower(), name), lambda: self._cloud.share(account, name))

    async def check(self, url: str) -> observed.Check:
        return await self._cloud.check(url)

    async def close(self) -> None:
        pending = [each.task for held in self._collections.values() for each in held.pending.values()]
        tasks = [*pending, *(task for _, task in self._keys.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sessions.close()
        await self._cloud.close()

    async def _asked(self, held: Collection, kind: Kind, resource_id: str) -> Answer | None:
        """By the list where it serves others too, else by itself. A request in flight is joined."""
        name = resource_id.lower()
        whole = held.pending.get(None)
        joins = whole is not None and held.valid(whole.order, name)
        if joins or (kind in LISTED and name not in held.pending and held.shared(name, now=self._clock())):
            scope = _scope(kind, resource_id)
            try:
                answers = await self._joined(held, None, lambda: self._list(held, kind, scope), name=name)
            except outcome.OutcomeError as error:
                if not (isinstance(error.outcome, outcome.Stalled) and error.outcome.reason == Reason.FORBIDDEN):
                    raise
                held.single = self._clock() + FORBIDDEN
            else:
                return answers.get(name)
        return (await self._joined(held, name, lambda: self._get(held, kind, resource_id), name=name))[name]

    async def _joined(
        self,
        held: Collection,
        key: str | None,
        begin: Callable[[], Awaitable[Mapping[str, Answer]]],
        *,
        name: str | None = None,
    ) -> Mapping[str, Answer]:
        """The answers of the request in flight for `key`, where it may speak of `name`; else of one that begins now."""
        pending = held.pending.get(key)
        if pending is None or not held.valid(pending.order, name):
            pending = Pending(next(self._order), _begun(begin()))
            held.pending[key] = pending
            pending.task.add_done_callback(lambda _: held.pending.pop(key) if held.pending.get(key) is pending else None)
        # Whoever is cancelled leaves the others waiting.
        return await asyncio.shield(pending.task)

    async def _get(self, held: Collection, kind: Kind, resource_id: str) -> Mapping[str, Answer]:
        order, name = held.pending[resource_id.lower()].order, resource_id.lower()
        answer = Answer(await self._cloud.read(kind, resource_id), order, self._clock())
        held.put(name, answer)
        return {name: answer}

    async def _list(self, held: Collection, kind: Kind, scope: str) -> Mapping[str, Answer]:
        order = held.pending[None].order
        found = await self._cloud.listed(kind, scope)
        return held.put_all(found, order=order, at=self._clock())

    def _believed(
        self, kind: Kind, resource_id: str, found: observed.Resource | None
    ) -> observed.Resource | None:
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
        name, order = resource_id.lower(), next(self._order)
        self.refresh([name])
        for (_, scope), held in self._collections.items():
            if scope == name or scope.startswith(f"{name}/"):
                held.floor = order

    def _collection(self, kind: Kind, resource_id: str) -> Collection:
        return self._held(kind, _scope(kind, resource_id))

    def _held(self, kind: Kind, scope: str) -> Collection:
        return self._collections.setdefault((kind, scope.lower()), Collection())
