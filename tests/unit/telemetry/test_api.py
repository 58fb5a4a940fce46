"""Who may ask the controller to do something, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from controller import settings
from controller.telemetry import api, http

TOKEN = "a token ü"
PATH = "/reconcile/InferenceApp/chat"
REFUSED = (401, {"error": f"the token is missing or wrong: {api.REMEDY}"})


@dataclass
class World:
    """What the API is given; tests change it."""

    token: str | Exception | None = TOKEN
    answer: api.Answer = field(default_factory=lambda: api.Answer(202, {"passes": 2}))
    asked: list[tuple[str, str]] = field(default_factory=list)
    base: str = ""
    session: aiohttp.ClientSession | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def read(self) -> SecretStr:
        if isinstance(self.token, str):
            return SecretStr(self.token)
        raise self.token or AssertionError("there is none to read")

    def reconcile(self, kind: str, name: str) -> api.Answer:
        self.asked.append((kind, name))
        return self.answer

    async def post(self, authorization: str | None = f"Bearer {TOKEN}") -> tuple[int, Any]:
        assert self.session is not None
        shown = {} if authorization is None else {"Authorization": authorization}
        async with self.session.post(f"{self.base}{PATH}", headers=shown) as answer:
            self.headers = answer.headers
            return answer.status, await answer.json()


@pytest.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made = World(**getattr(request, "param", {}))
    answers = http.Answers(
        alive=lambda: True,
        unready=tuple,
        status=dict,
        find=lambda kind, name: None,
        metrics=lambda: (b"", "text/plain"),
    )
    app = http.application(answers, version="1", inventory="one")
    app.add_routes(api.Api(made.read if made.token else None, reconcile=made.reconcile).routes())
    async with http.serve(app, "127.0.0.1", 0) as port, aiohttp.ClientSession() as made.session:
        made.base = f"http://127.0.0.1:{port}"
        yield made


async def test_whoever_shows_the_token_is_answered(world: World) -> None:
    """By what is asked for, whatever that is; the word Bearer in any case."""
    assert await world.post() == (202, {"passes": 2})
    assert world.headers["Cache-Control"] == "no-store"
    world.answer = api.Answer(404, {"error": "no such object"})
    assert await world.post(f"bearer  {TOKEN} ") == (404, {"error": "no such object"})
    assert world.asked == [("InferenceApp", "chat")] * 2


@pytest.mark.parametrize("shown", [None, "", "Bearer", "Bearer other", f"Basic {TOKEN}", TOKEN, "Bearer \udcff"])
async def test_everybody_else_is_refused(world: World, shown: str | None) -> None:
    """Nothing is done, and the answer says what is missing, not what is wrong."""
    assert await world.post(shown) == REFUSED
    assert world.headers["WWW-Authenticate"] == "Bearer"
    assert world.asked == []


@pytest.mark.parametrize("world", [{"token": None}], indirect=True)
async def test_without_a_token_nobody_may(world: World) -> None:
    """The answer says how to give one."""
    status, body = await world.post()
    assert (status, world.asked) == (403, [])
    assert "ACAOPS_API_TOKEN" in body["error"]


@pytest.mark.parametrize("world", [{"token": settings.SecretError("/run/token is empty")}], indirect=True)
async def test_a_token_that_can_not_be_read(world: World) -> None:
    """It isn't the caller's fault, and the file isn't theirs to know."""
    assert await world.post() == (503, {"error": "not able to check requests now"})
    assert world.asked == []


async def test_asking_is_no_reading(world: World) -> None:
    """A link or a crawler asks for nothing."""
    assert world.session is not None
    async with world.session.get(f"{world.base}{PATH}", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        assert answer.status == 405
    assert world.asked == []
