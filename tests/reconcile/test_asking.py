"""`acaops reconcile`: a daemon asked over HTTP to look at an object now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from controller import asking, assembly, election, loop, settings
from controller.status import store
from controller.telemetry import http
from tests.reconcile.clouds import Held
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

TOKEN = settings.Secret(SecretStr("a token"))


class Away(election.Election):
    """Another leads."""

    leading = False
    leader = election.Leader("standby", "other:1:a")


@dataclass
class Daemon:
    """A controller that serves, and what the command says to it."""

    one: assembly.Controller
    chosen: settings.Settings
    url: str
    capture: pytest.CaptureFixture[str]

    async def asked(self, name: str = "chat", *, wait: bool = False, output: str = "text") -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        self.capture.readouterr()
        status = await asking.reconcile(
            self.chosen, url=self.url, name=name, wait=wait, output="json" if output == "json" else "text"
        )
        told = self.capture.readouterr()
        return status, told.out, told.err


@asynccontextmanager
async def serving(
    stack: Stack, capture: pytest.CaptureFixture[str], candidate: election.Election | None = None
) -> AsyncIterator[Daemon]:
    chosen = settings.Settings(stack.folder, cloud=stack.local.url, inventory="one", port=0, api_token=TOKEN)
    async with assembly.controller(chosen) as one:
        if candidate:
            one.loop.election = candidate
        async with assembly.serving(one, chosen) as port:
            yield Daemon(one, chosen, f"http://127.0.0.1:{port}", capture)


def read(out: str) -> dict[str, Any]:
    """The JSON among the daemon's log lines."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(out[out.index("{\n") :])[0]
    return found


async def until(daemon: Daemon, name: str = APP[1]) -> None:
    """The object called `name` is settled."""
    changed = asyncio.Event()
    end = daemon.one.statuses.subscribe(lambda _: changed.set())
    async with asyncio.timeout(20):
        while loop.settled(daemon.one.statuses.find(APP[0], name)) is None:
            await changed.wait()
            changed.clear()
    end()


async def test_it_is_looked_at_at_once(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Ready, its next look is minutes away; asked, there is a pass, and with --wait it is shown."""
    async with serving(built, capsys) as daemon:
        await daemon.one.loop.load()
        await until(daemon)
        before = daemon.one.statuses.find(*APP)
        assert before is not None
        status, out, _ = await daemon.asked(wait=True, output="json")
        (told,) = read(out)["objects"]
        assert (status, told["name"]) == (0, "chat")
        assert told["passes"] > before.passes
        assert await daemon.asked() == (0, "InferenceApp/chat is looked at\n", "")
        status, out, _ = await daemon.asked(output="json")
        assert read(out)["asked"][0]["kind"] == "InferenceApp"
        status, out, _ = await daemon.asked(wait=True)
        assert status == 0
        assert "serves release" in out


async def test_it_is_read_from_azure_itself(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mended or broke something a moment ago, and asks, isn't told of what was read before."""
    async with serving(built, capsys) as daemon:
        await daemon.one.loop.load()
        await until(daemon)
        await daemon.asked(wait=True)
        closed = {"properties": {"configuration": {"ingress": {"targetPort": 1}}}}
        await built.arm("PATCH", built.ids.app("chat"), closed)
        await daemon.asked(wait=True)
        assert (await built.live_app())["properties"]["configuration"]["ingress"]["targetPort"] == 7860


async def test_a_stalled_object_is_looked_at_too(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else would before a change; that it isn't Ready is the exit status."""
    built.write(environment(location="northeurope"), app())
    async with serving(built, capsys) as daemon:
        daemon.one.loop.only = lambda key: key == ENVIRONMENT
        await daemon.one.loop.load()
        changed = asyncio.Event()
        daemon.one.statuses.subscribe(lambda _: changed.set())
        await changed.wait()
        before = daemon.one.statuses.find(*ENVIRONMENT)
        assert before is not None
        assert loop.settled(before) is False
        status, out, _ = await daemon.asked("gpu-west", wait=True, output="json")
        assert status == 1
        assert read(out)["objects"][0]["passes"] > before.passes


async def test_the_pass_waited_for_began_after_the_question(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is in hand may have seen too little."""
    held = Held(built.cloud)
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    async with serving(built, capsys) as daemon:
        daemon.one.reconciler.cloud = held
        daemon.one.loop.only = lambda key: key == APP
        await daemon.one.loop.load()
        await held.begun.wait()
        assert daemon.one.statuses.get(APP) is None
        waiting = asyncio.create_task(daemon.asked(wait=True, output="json"))
        asked, passes = asyncio.Event(), daemon.one.loop.asked(APP)
        real = daemon.one.loop.asked

        def ask(key: store.Key) -> int | None:
            asked.set()
            return real(key)

        daemon.one.loop.asked = ask  # type: ignore[method-assign]
        async with asyncio.timeout(20):
            await asked.wait()
            held.release.set()
            _, out, _ = await waiting
        assert passes == 2
        assert read(out)["objects"][0]["passes"] >= 2


async def test_an_unknown_name(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that there are, are named."""
    async with serving(built, capsys) as daemon:
        await daemon.one.loop.load()
        await until(daemon)
        status, _, error = await daemon.asked("chatt")
        assert status == 1
        assert "no object is called 'chatt'; there are gpu-west, chat" in error


async def test_a_wrong_token_and_none(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with what to do about it; no token is ever shown."""
    async with serving(built, capsys) as daemon:
        await daemon.one.loop.load()
        await until(daemon)
        daemon.chosen = replace(daemon.chosen, api_token=settings.Secret(SecretStr("hunter2")))
        status, _, error = await daemon.asked()
        assert (status, "the token is missing or wrong: set ACAOPS_API_TOKEN" in error) == (1, True)
        assert "hunter2" not in error
        daemon.chosen = replace(daemon.chosen, api_token=None)
        status, _, error = await daemon.asked()
        assert (status, "no token to show the daemon: set ACAOPS_API_TOKEN" in error) == (1, True)


async def test_a_token_is_not_sent_in_the_clear(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Only to this machine, or by https."""
    async with serving(built, capsys) as daemon:
        for url in ("http://192.0.2.1:8080", "http://acaops.example"):
            daemon.url = url
            status, _, error = await daemon.asked()
            assert (status, "a token isn't sent in the clear" in error) == (1, True)


async def test_no_daemon(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody there, or somebody else: how to have one is said."""
    async with serving(built, capsys) as daemon:
        pass
    assert (await daemon.asked())[0] == 1
    other = web.Application()
    async with http.serve(other, "127.0.0.1", 0) as port:
        daemon.url = f"http://127.0.0.1:{port}"
        status, _, error = await daemon.asked()
    assert (status, "no daemon answers" in error) == (1, True)


async def test_one_that_stands_by(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """It says who leads; asked all the same, it refuses."""
    async with serving(built, capsys, Away()) as daemon:
        await daemon.one.loop.load()
        status, _, error = await daemon.asked()
        assert status == 1
        assert "other:1:a leads, this controller stands by; name the leader's address by --url" in error


async def test_a_state_that_does_not_load(built: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is looked at for it; why is said."""
    async with serving(built, capsys) as daemon:
        await daemon.one.loop.load()
        await until(daemon)
        (built.folder / "state.yaml").write_text("{")
        await daemon.one.loop.load()
        status, _, error = await daemon.asked()
        assert (status, "the desired state doesn't load: " in error) == (1, True)
