"""When a repository is fetched: at the interval, sooner after a failure, at once when told of a push."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller import follow, loop, settings
from controller.model.commit import Commit
from controller.sources import git, manifest
from tests.reconcile.stack import Stack

PATIENCE = 20.0
NEVER = 3600.0
AWAY = git.FetchError(git.Reason.UNREACHABLE, "nobody answers")


class Asks(follow.Asks):
    """Remembers how long it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._waited = asyncio.Condition()

    async def wait(self, seconds: float) -> follow.Asked:
        async with self._waited:
            self.waits.append(seconds)
            self._waited.notify_all()
        return await super().wait(seconds)

    async def waited(self, times: int) -> list[float]:
        """The waits, once there are so many."""
        async with asyncio.timeout(PATIENCE), self._waited:
            await self._waited.wait_for(lambda: len(self.waits) >= times)
        return self.waits[:times]


class Scripted:
    """A remote that answers as written down, and with the last answer from then on."""

    folder = None
    label = "scripted"
    notice = ""

    def __init__(self, *answers: manifest.Source | Exception) -> None:
        self.answers = list(answers)

    async def load(self) -> manifest.Source:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def tidy(self, in_use: Collection[manifest.Source]) -> None:
        pass

    async def close(self) -> None:
        pass


def at(stack: Stack, number: int) -> manifest.Source:
    """No objects, at some commit."""
    commit = Commit(f"{number:040}", "Ann", "", datetime(2026, 11, 22, tzinfo=UTC))
    tree = manifest.Tree(stack.folder, commit)
    return replace(stack.source, environments=(), apps=(), commit=commit, tree=tree)


@asynccontextmanager
async def fetching(
    stack: Stack, remote: Scripted, *, interval: float = NEVER, backoff: float = NEVER
) -> AsyncIterator[Asks]:
    running, asks = loop.Loop(remote, stack.reconciler), Asks()
    pauses = settings.Backoff(first=backoff, most=backoff)
    chosen = settings.Settings(stack.folder, git=settings.Git("file:///x", interval=interval), backoff=pauses)
    async with follow.following(running, asks, chosen):
        yield asks
    await running.close()


async def test_at_the_interval(stack: Stack) -> None:
    """Give or take a tenth, so that controllers don't come together."""
    async with fetching(stack, Scripted(at(stack, 1)), interval=0.01) as asks:
        waits = await asks.waited(20)
    assert all(0.009 <= wait <= 0.011 for wait in waits)
    assert len(set(waits)) > 1


async def test_sooner_after_a_failure(stack: Stack) -> None:
    """Until it is over."""
    async with fetching(stack, Scripted(AWAY, AWAY, at(stack, 1)), backoff=0.01) as asks:
        first, second, third = await asks.waited(3)
    assert first < 0.02 > second
    assert third > NEVER / 2


async def test_a_push_is_fetched_at_once(stack: Stack) -> None:
    """Its commit is there: that is all."""
    async with fetching(stack, Scripted(at(stack, 1), at(stack, 2))) as asks:
        asks.push()
        before, after = await asks.waited(2)
    assert before > NEVER / 2 < after


async def test_a_push_that_is_not_there_yet_is_asked_for_again(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, and once: the service told of it a moment too soon, or the push was to something else."""
    monkeypatch.setattr(follow, "PUSH_SECONDS", 0.02)
    async with fetching(stack, Scripted(at(stack, 1))) as asks:
        asks.push()
        _, soon, then = await asks.waited(3)
    assert soon < 0.03
    assert then > NEVER / 2
