"""What the controller answers over HTTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest

from controller.telemetry import http

FOUND = {"kind": "InferenceApp", "name": "phi3-chat", "passes": 1}


@dataclass
class World:
    """What the answers are made of; tests change it."""

    alive: bool = True
    unready: list[str] = field(default_factory=list)

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        return FOUND if (kind.casefold(), name) == ("inferenceapp", "phi3-chat") else None

    def answers(self) -> http.Answers:
        return http.Answers(
            alive=lambda: self.alive,
            unready=lambda: self.unready,
            status=lambda: {"source": {"revision": "git:abc"}, "objects": [FOUND]},
            find=self.find,
            metrics=lambda: (b"acaops_workqueue_depth 0.0\n", "text/plain; version=0.0.4; charset=utf-8"),
        )


@dataclass
class Client:
    session: aiohttp.ClientSession
    base: str

    async def get(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """The status and the JSON, None for an empty body."""
        async with self.session.request(method, f"{self.base}{path}") as answer:
            text = await answer.text()
            return answer.status, await answer.json() if text else None


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    app = http.application(world.answers(), version="1.2.3", inventory="default")
    async with http.serve(app, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{port}")


async def test_healthz_says_whether_the_loop_turns(client: Client, world: World) -> None:
    """200 while it does, 503 when it doesn't."""
    assert await client.get("/healthz") == (200, {"status": "ok"})
    world.alive = False
    status, body = await client.get("/healthz")
    assert (status, body["status"]) == (503, "stuck")


async def test_readyz_gives_reasons_and_then_stays_ready(client: Client, world: World) -> None:
    """503 with the reasons before; an object that is added later changes nothing."""
    world.unready = ["InferenceApp/phi3-chat had no pass yet"]
    assert await client.get("/readyz") == (503, {"status": "unready", "reasons": world.unready})
    world.unready = []
    assert await client.get("/readyz") == (200, {"status": "ok"})
    world.unready = ["InferenceApp/other had no pass yet"]
    assert await client.get("/readyz") == (200, {"status": "ok"})


async def test_status_has_everything(client: Client) -> None:
    """The controller, the source and all objects."""
    status, body = await client.get("/status")
    uptime = body["controller"].pop("uptimeSeconds")
    assert status == 200
    assert 0 <= uptime < 60
    assert body == {
        "controller": {"version": "1.2.3", "inventory": "default"},
        "source": {"revision": "git:abc"},
        "objects": [FOUND],
    }


async def test_one_object(client: Client) -> None:
    """By kind and name; 404 names what isn't there."""
    assert await client.get("/status/inferenceapp/phi3-chat") == (200, FOUND)
    assert await client.get("/status/InferenceApp/other") == (404, {"error": "no InferenceApp named other"})


async def test_metrics_are_prometheus_text(client: Client) -> None:
    """With the content type that goes with it."""
    async with client.session.get(f"{client.base}/metrics") as answer:
        assert await answer.text() == "acaops_workqueue_depth 0.0\n"
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_only_reads(client: Client) -> None:
    """HEAD as GET without a body; other methods 405, other paths 404, both told in JSON."""
    assert await client.get("/status", "HEAD") == (200, None)
    assert await client.get("/status", "POST") == (405, {"error": "POST is not allowed here"})
    assert await client.get("/nothing") == (404, {"error": "nothing at /nothing"})


async def test_a_port_in_use_is_named(client: Client, world: World) -> None:
    """The error says which address, before anything is served."""
    port = int(client.base.rsplit(":", 1)[1])
    app = http.application(world.answers(), version="1", inventory="i")
    with pytest.raises(http.ServeError, match=f"127.0.0.1:{port} is in use"):
        async with http.serve(app, "127.0.0.1", port):
            pytest.fail("it was served")


async def test_an_address_that_is_not_ours_is_named(world: World) -> None:
    """Other reasons are told as the system has them."""
    app = http.application(world.answers(), version="1", inventory="i")
    with pytest.raises(http.ServeError, match=r"cannot listen on 192\.0\.2\.1:8080: "):
        async with http.serve(app, "192.0.2.1", 8080):
            pytest.fail("it was served")


async def test_the_port_is_free_afterwards(world: World) -> None:
    """Another controller may start at once."""
    app = http.application(replace(world).answers(), version="1", inventory="i")
    async with http.serve(app, "127.0.0.1", 0) as port:
        pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
