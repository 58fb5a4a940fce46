"""The controller as `acaops run` puts it together: from a saved file to the next release."""

from __future__ import annotations

import asyncio

import aiohttp

from controller import assembly, follow, loop, settings
from tests.reconcile.stack import APP, Stack, app, environment


async def test_a_saved_file_becomes_a_release(built: Stack) -> None:
    """One file of a content folder is saved: a new revision serves, while the health endpoints say that all is well."""
    chosen = settings.Settings(built.folder, cloud=built.local.url, inventory="one", port=0, debounce=0.05)
    before = (await built.env())["ACAOPS_RELEASE"]
    changed = asyncio.Event()
    async with assembly.controller(chosen) as one, assembly.serving(one, chosen) as port:
        one.statuses.subscribe(lambda _: changed.set())
        async with follow.following(one.loop, one.asks, chosen), asyncio.timeout(30):
            while (known := one.statuses.get(APP)) is None or not loop.settled(known):
                await changed.wait()
                changed.clear()
            (built.code / "app.py").write_text("print('two')\n")
            while not (entries := [entry.release for entry in _history(one) if entry.release != before]):
                await changed.wait()
                changed.clear()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                assert [await _status(session, path) for path in ("/healthz", "/readyz")] == [200] * 2
                metrics = await _metrics(session)
    assert metrics['acaops_azure_requests_total{code="200",kind="containerApps",method="GET"}'] > 0
    assert metrics['acaops_azure_requests_total{code="202",kind="containerApps",method="PATCH"}'] == 1
    assert metrics["acaops_workqueue_work_duration_seconds_count"] >= 3
    assert metrics["acaops_active_workers"] == 0
    assert entries == [(await built.env())["ACAOPS_RELEASE"]]
    assert len(await built.revisions()) == 2


async def test_settling_without_a_state_is_no_success(built: Stack) -> None:
    """Where the desired state doesn't load, nothing is called settled."""
    (built.folder / "state.yaml").write_text("{")
    chosen = settings.Settings(built.folder, cloud=built.local.url, inventory="one")
    async with assembly.controller(chosen) as one:
        await one.loop.load()
        assert not await assembly.until_settled(one, seconds=5.0, stop=asyncio.Event())
        built.write(environment(), app())
        await one.loop.load()
        assert await assembly.until_settled(one, seconds=30.0, stop=asyncio.Event())


async def _status(session: aiohttp.ClientSession, path: str) -> int:
    async with session.get(path) as answer:
        return answer.status


async def _metrics(session: aiohttp.ClientSession) -> dict[str, float]:
    """What a scrape gets, by series."""
    async with session.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def _history(one: assembly.Controller) -> tuple[object, ...]:
    status = one.statuses.get(APP)
    return status.history if status else ()
