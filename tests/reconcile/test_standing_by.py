"""The loop of a controller that doesn't lead: it knows the desired state, and leaves it to the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from pydantic import SecretStr

from controller import assembly, election, loop, notifying, settings
from controller.model import kinds, outcome
from controller.sources import origin
from controller.status import summarize
from tests.reconcile.clouds import Held
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

QUICK = settings.Backoff(first=0.02, most=0.05)


class Switched(election.Election):
    """Leads when the test says so."""

    def __init__(self, *, leads: bool) -> None:
        self.leads = leads
        super().__init__()

    @property
    def leading(self) -> bool:
        return self.leads

    @property
    def leader(self) -> election.Leader:
        return election.Leader("leading" if self.leads else "standby", "other:1:a")


@contextlib.asynccontextmanager
async def turning(stack: Stack, candidate: election.Election) -> AsyncIterator[loop.Loop]:
    one = loop.Loop(origin.Folder(stack.folder), stack.reconciler, QUICK, candidate)
    stack.cloud.fence = candidate.fence
    try:
        yield one
    finally:
        await one.close()
        stack.cloud.fence = None


def ready(stack: Stack) -> bool:
    return all(loop.settled(stack.reconciler.statuses.get(key)) is True for key in (ENVIRONMENT, APP))


async def test_it_loads_and_looks_at_nothing(stack: Stack) -> None:
    """Each status says who leads; nothing is counted of objects, nothing is asked of Azure, and it is ready."""
    candidate = Switched(leads=False)
    async with turning(stack, candidate) as one:
        asked = len(stack.local.requests)
        await one.load()
        await one.load()
        one.ask([APP])
        assert one.asked(APP) is None
        for key in (ENVIRONMENT, APP):
            assert stack.told(key) == ("Reconciling", "NotLeader", "other:1:a leads, this controller stands by")
            assert summarize.check(stack.status(key).conditions) == []
            assert stack.status(key).passes == 0
        assert b'name="chat"' not in stack.reconciler.metrics.exposition()
        assert len(stack.local.requests) == asked

        candidate.leads = True
        one.lead()
        await stack.until(lambda: ready(stack))


async def test_it_leads_before_anything_was_loaded(built: Stack) -> None:
    """The load that comes then begins the work."""
    async with turning(built, Switched(leads=True)) as one:
        one.lead()
        await one.load()
        await built.until(lambda: ready(built))


async def test_the_looks_in_hand_end_by_the_fence(built: Stack) -> None:
    """What a look had begun is stopped before it is sent, and is over when standing by has begun; leading again, the
    change is made."""
    held = Held(built.cloud)
    built.restart(held)
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    candidate = Switched(leads=True)
    async with turning(built, candidate) as one:
        await one.load()
        await held.begun.wait()
        before = built.writes()
        candidate.leads = False
        standing = asyncio.create_task(one.stand_by())
        await asyncio.sleep(0)
        early = standing.done()
        held.release.set()
        await standing
        assert not early
        assert built.writes() == before
        assert built.told()[1] == "NotLeader"
        looks = built.status().passes
        one.ask([APP, ENVIRONMENT])
        await one.load()
        assert built.status().passes == looks

        candidate.leads = True
        one.lead()
        await built.until(lambda: ready(built))
    assert (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 3


async def test_a_worker_begins_nothing_once_it_does_not_lead(built: Stack) -> None:
    """Also before anybody noticed."""
    candidate = Switched(leads=True)
    async with turning(built, candidate) as one:
        await one.load()
        await built.until(lambda: ready(built))
        candidate.leads = False
        looks, asked = built.status().passes, len(built.local.requests)
        assert await one._look(APP) == summarize.Requeue("never", None)
        assert (built.status().passes, len(built.local.requests)) == (looks, asked)


async def test_standing_by_without_a_state_that_loads(built: Stack) -> None:
    """What is wrong with it stays told."""
    candidate = Switched(leads=True)
    async with turning(built, candidate) as one:
        await one.load()
        await built.until(lambda: ready(built))
        (built.folder / "state.yaml").write_text("{")
        await one.load()
        candidate.leads = False
        await one.stand_by()
        assert built.told()[1] == "InvalidDesiredState"
        candidate.leads = True
        one.lead()
        assert built.told()[1] == "InvalidDesiredState"


async def test_who_stands_by_tells_nobody(built: Stack) -> None:
    """What it would say is out of date; leading, it tells."""
    posted: list[str] = []
    arrived = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        posted.append((await request.json())["type"])
        arrived.set()
        return web.Response()

    application = web.Application()
    application.router.add_post("/", take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = settings.Secret(SecretStr(f"http://127.0.0.1:{runner.addresses[0][1]}/"))
    chosen = settings.Settings(built.folder, notify_url=address, notify_secret=settings.Secret(SecretStr("a secret")))
    candidate = Switched(leads=False)
    try:
        async with turning(built, candidate) as one, notifying.notifying(one, chosen):
            good = (built.folder / "state.yaml").read_text()
            (built.folder / "state.yaml").write_text("{")
            await one.load()
            candidate.leads = True
            (built.folder / "state.yaml").write_text(good)
            await one.load()
            async with asyncio.timeout(20):
                await arrived.wait()
    finally:
        await runner.cleanup()
    assert posted == ["source.ready"]


async def test_the_controller_is_put_together_with_its_election(built: Stack) -> None:
    """With a lease it stands for election, its fence guards the cloud, and the metric says who leads; without, it
    leads."""
    alone = settings.Settings(built.folder, cloud=built.local.url, inventory="one")
    async with assembly.controller(alone) as one, assembly.electing(one):
        assert one.election.leader.state == "single"
        assert b"acaops_leader 1.0" in one.reconciler.metrics.exposition()
    share = f"{built.local.url}/accountone/models"
    elected = settings.Settings(built.folder, cloud=built.local.url, inventory="one", lease=share)
    async with assembly.controller(elected) as one:
        assert b"acaops_leader 0.0" in one.reconciler.metrics.exposition()
        await one.loop.load()
        async with assembly.electing(one):
            await _until(one, "leading")
            assert b"acaops_leader 1.0" in one.reconciler.metrics.exposition()
            async with assembly.controller(elected) as other, assembly.electing(other):
                await _until(other, "standby")
                assert other.election.leader.holder == one.election.name
                with pytest.raises(outcome.OutcomeError, match="leads, this controller stands by"):
                    await other.cloud.create(kinds.Kind.GROUP, built.ids.group, {"location": "westus3"})
        assert one.election.leader.state == "standby"


async def test_the_lease_is_kept_until_the_looks_in_hand_have_ended(built: Stack) -> None:
    """Then another may lead at once."""
    share = f"{built.local.url}/accountone/models"
    chosen = settings.Settings(built.folder, cloud=built.local.url, inventory="one", lease=share)
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    async with assembly.controller(chosen) as one:
        held = Held(one.cloud)
        one.reconciler.cloud = held
        one.loop.only = lambda key: key == APP
        electing = assembly.electing(one)
        await electing.__aenter__()
        await _until(one, "leading")
        await one.loop.load()
        await held.begun.wait()
        leaving = asyncio.create_task(electing.__aexit__(None, None, None))
        await asyncio.wait({leaving}, timeout=0.1)
        leading = one.election.leading
        held.release.set()
        await leaving
        assert leading
        lease = one.cloud.lease(share)
        assert await lease.look() is None
        await lease.close()
    assert (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 3


async def _until(one: assembly.Controller, state: str) -> None:
    """Wait until the election came to that."""
    async with asyncio.timeout(20):
        while one.election.undecided or one.election.leader.state != state:
            await asyncio.wait(one.loop.vital, timeout=0.02)
