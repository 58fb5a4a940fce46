"""The loop over a folder: which objects are worked on, when, and how it ends. Azure is there and converged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from controller import loop, settings, worker
from controller.sources import origin
from controller.status import store, summarize
from tests.git import servers
from tests.reconcile.clouds import Held
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

PATIENCE = 20.0
QUICK = settings.Backoff(first=0.02, most=0.05)


@contextlib.asynccontextmanager
async def turning(stack: Stack) -> AsyncIterator[loop.Loop]:
    """A loop over the stack's folder, closed at the end."""
    one = loop.Loop(origin.Folder(stack.folder), stack.reconciler, QUICK)
    try:
        yield one
    finally:
        await one.close()


def passes(stack: Stack, key: store.Key = APP) -> int:
    found = stack.reconciler.statuses.get(key)
    return found.passes if found else 0


def ready(stack: Stack, key: store.Key = APP) -> bool:
    return loop.settled(stack.reconciler.statuses.get(key)) is True


async def test_a_broken_state_stops_everything(built: Stack) -> None:
    """Nothing is written, every status shows file and line, the last good endpoint stays; repaired, work goes on."""
    async with turning(built) as one:
        await one.load()
        await built.until(lambda: ready(built) and ready(built, ENVIRONMENT))
        written, endpoint = built.writes(), built.status().endpoint
        (built.folder / "state.yaml").write_text("apiVersion: acaops/v1\nkind: Environment\nspec: [\n")
        await one.load()
        for key in (ENVIRONMENT, APP):
            kind, reason, message = built.told(key)
            assert (kind, reason) == ("Stalled", "InvalidDesiredState")
            assert f"{built.folder}/state.yaml:" in message
            assert summarize.check(built.status(key).conditions) == []
        assert built.status().endpoint == endpoint is not None
        assert built.reconciler.statuses.source.problems
        one.ask((ENVIRONMENT, APP))
        assert written == built.writes()

        built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
        await one.load()
        await built.until(lambda: ready(built) and ready(built, ENVIRONMENT))
        assert built.reconciler.statuses.source.problems == ()
    assert (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 3


async def test_a_pass_in_hand_does_not_cover_up_a_broken_state(built: Stack) -> None:
    """What a pass reports that began before the state broke is told over: the status shows the problem."""
    held = Held(built.cloud)
    built.restart(held)
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    async with turning(built) as one:
        await one.load()
        await held.begun.wait()
        (built.folder / "state.yaml").write_text("{")
        loading = asyncio.create_task(one.load())
        await built.until(
            lambda: ENVIRONMENT in [status.key for status in built.reconciler.statuses.snapshot().objects]
        )
        held.release.set()
        await loading
        assert [built.told(key)[1] for key in (ENVIRONMENT, APP)] == ["InvalidDesiredState"] * 2


async def test_a_vanished_folder_deletes_nothing(built: Stack) -> None:
    """It is told like any state that doesn't load, and Azure stays as it is."""
    before = await built.picture()
    async with turning(built) as one:
        await one.load()
        await built.until(lambda: ready(built) and ready(built, ENVIRONMENT))
        (built.folder / "state.yaml").unlink()
        built.folder.rmdir()
        written = built.writes()
        await one.load()
        assert "no such folder" in built.told()[2]
        assert written == built.writes()
    built.folder.mkdir()
    built.write(environment(), app())
    assert before == await built.picture()


async def test_a_removed_object_is_let_go(built: Stack) -> None:
    """Its worker, status and metrics go; what it stands for in Azure stays; the others are still looked at."""
    before = await built.picture()
    async with turning(built) as one:
        await one.load()
        await built.until(lambda: ready(built) and ready(built, ENVIRONMENT))
        built.write(environment())
        await one.load()
        assert built.reconciler.statuses.get(APP) is None
        assert b'name="chat"' not in built.reconciler.metrics.exposition()
        looks = passes(built, ENVIRONMENT)
        one.ask([APP, ENVIRONMENT])
        await built.until(lambda: passes(built, ENVIRONMENT) > looks)
        assert built.reconciler.statuses.get(APP) is None
    built.write(environment(), app())
    assert before == await built.picture()


async def test_an_object_removed_while_the_state_was_broken(built: Stack) -> None:
    """Its status doesn't stay behind."""
    async with turning(built) as one:
        await one.load()
        await built.until(lambda: ready(built) and ready(built, ENVIRONMENT))
        (built.folder / "state.yaml").write_text("{")
        await one.load()
        built.write(environment())
        await one.load()
        assert built.reconciler.statuses.get(APP) is None


async def test_removing_one_object_does_not_wait_for_another(built: Stack) -> None:
    """Only the removed object's own look in hand is waited for."""
    held = Held(built.cloud)
    built.restart(held)
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}), app("second"))
    async with turning(built) as one:
        one.only = lambda key: key[1] != "second"
        await one.load()
        await held.begun.wait()
        built.write(app(scale={"minReplicas": 1, "maxReplicas": 3}), environment())
        one.only = lambda key: key == APP
        async with asyncio.timeout(PATIENCE):
            await one.load()
        assert passes(built) == 0
        held.release.set()


async def test_closing_waits_for_the_pass_in_hand(built: Stack) -> None:
    """The write that was begun is carried out and reported, and no other one is begun."""
    held = Held(built.cloud)
    built.restart(held)
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    async with turning(built) as one:
        one.only = lambda key: key == APP
        await one.load()
        await held.begun.wait()
        closing = asyncio.create_task(one.close())
        await asyncio.sleep(0)
        assert not closing.done()
        held.release.set()
        await closing
        written = built.writes()
        assert built.status().passes == 1
        assert [step.verb for step in built.status().resources if step.verb] == ["Update"]
        one.ask([APP])
        await one.load()
        assert written == built.writes()
    assert (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 3


async def test_a_load_that_is_cancelled_does_not_keep_the_loop_from_closing(built: Stack) -> None:
    """What was waited for is waited for again."""
    held = Held(built.cloud)
    built.restart(held)
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    async with turning(built) as one:
        one.only = lambda key: key == APP
        await one.load()
        await held.begun.wait()
        built.write(environment())
        loading = asyncio.create_task(one.load())
        while one.source is None or one.source.apps:
            await asyncio.wait({loading}, timeout=0.01)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        held.release.set()
        async with asyncio.timeout(PATIENCE):
            await one.close()
        assert built.status().passes == 1


async def test_a_look_that_breaks_is_tried_again(built: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """No exception ends a worker, and the loop stays alive."""
    real, failures = built.reconciler.reconcile, [RuntimeError("broken"), RuntimeError("broken")]

    async def reconcile(*given: object) -> summarize.Requeue:
        if failures:
            raise failures.pop()
        return await real(*given)

    monkeypatch.setattr(built.reconciler, "reconcile", reconcile)
    async with turning(built) as one:
        one.only = lambda key: key == APP
        looks = passes(built)
        await one.load()
        await built.until(lambda: passes(built) > looks)
        assert failures == []
        assert one.alive


async def test_a_stuck_pass_is_told(built: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop isn't alive while a pass is past its own limit and the grace after it."""
    held = Held(built.cloud)
    built.restart(held)
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}, timeout="5m"))
    async with turning(built) as one:
        one.only = lambda key: key == APP
        assert one.alive
        monkeypatch.setattr(loop, "OVERDUE", -300.0)
        await one.load()
        await held.begun.wait()
        assert not one.alive
        held.release.set()
        await built.until(lambda: passes(built) > 0)
        assert one.alive


async def test_a_change_concerns_who_reads_it(built: Stack) -> None:
    """A changed content folder is a look at its app; an unrelated file in the state folder is none at all."""
    async with turning(built) as one:
        await one.load()
        await built.until(lambda: ready(built) and ready(built, ENVIRONMENT))
        looks = {key: passes(built, key) for key in (ENVIRONMENT, APP)}
        await one.load(frozenset({built.folder}))
        await one.load(frozenset({built.code}))
        await built.until(lambda: passes(built) > looks[APP])
        built.write(environment(tags={"team": "one"}), app())
        await one.load(frozenset({built.folder}))
        await built.until(lambda: passes(built, ENVIRONMENT) > looks[ENVIRONMENT])


async def test_requests_while_looking_come_to_one_more_look(built: Stack) -> None:
    """A hundred requests are not a hundred looks, and none is lost."""
    began = 0
    async with turning(built) as one:
        real = built.reconciler.reconcile

        async def reconcile(source: object, key: store.Key) -> summarize.Requeue:
            nonlocal began
            began += 1
            if began == 1:
                for _ in range(100):
                    one.ask([key])
            return await real(source, key)

        built.reconciler.reconcile = reconcile  # type: ignore[method-assign]
        one.only = lambda key: key == APP
        before = passes(built)
        await one.load()
        await built.until(lambda: passes(built) >= before + 2)
    assert began == 2


@pytest.mark.parametrize(
    ("requeue", "failures", "low", "high"),
    [
        (summarize.Requeue("interval", 100.0), 0, 95.0, 105.0),
        (summarize.Requeue("poll", 3.0), 0, 3.0, 3.0),
        (summarize.Requeue("told", 100.0), 0, 100.0, 105.0),
        (summarize.Requeue("backoff", None), 1, 0.6, 0.9),
        (summarize.Requeue("backoff", None), 3, 2.4, 3.6),
        (summarize.Requeue("backoff", 2.0), 30, 2.0, 2.0),
        (summarize.Requeue("slow", 600.0), 1, 28.5, 31.5),
        (summarize.Requeue("slow", 600.0), 4, 228.0, 252.0),
        (summarize.Requeue("slow", 600.0), 30, 570.0, 630.0),
    ],
)
def test_pauses(requeue: summarize.Requeue, failures: int, low: float, high: float) -> None:
    """Intervals spread, failures back off with jitter, and what Azure told is never cut short."""
    found = [worker.pause(requeue, failures, backoff=settings.Backoff(), chance=chance) for chance in (0.0, 1.0)]
    assert found == pytest.approx([low, high])


def test_never_is_until_asked() -> None:
    """No time limits the wait."""
    assert worker.pause(summarize.Requeue("never", None), 1, backoff=settings.Backoff(), chance=0.5) is None


async def test_a_commit_alone_concerns_every_object(built: Stack) -> None:
    """In a work tree no file changed with it, and yet each status names it."""

    def commit() -> str:
        where = ("-c", "user.name=a", "-c", "user.email=a@b")
        servers.git("add", "desired_state", "code", cwd=built.root)
        servers.git(*where, "commit", "-q", "--allow-empty", "-m", "more", cwd=built.root)
        return servers.git("rev-parse", "HEAD", cwd=built.root)

    servers.git("init", "-q", cwd=built.root)
    commit()
    async with turning(built) as one:
        await one.load()
        await built.until(lambda: ready(built) and ready(built, ENVIRONMENT))
        sha = commit()
        await one.load(frozenset())
        await built.until(lambda: {at(built, ENVIRONMENT), at(built, APP)} == {sha})


def at(stack: Stack, key: store.Key) -> str | None:
    """The commit that was applied last."""
    applied = stack.status(key).applied
    return applied.sha if applied else None
