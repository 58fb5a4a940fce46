"""POST /admin/adapter: who may exchange the adapter, and what they are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from inference import engine, model_files, reload, status, web

URL = "/admin/adapter"
ADMIN = {"authorization": "Bearer admin-secret"}


class Swap:
    """Serves what it is told to, or fails as it is told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[str | None] = []
        self.failure = failure
        self.hold = asyncio.Event()
        self.hold.set()
        self.done = 0

    async def to(self, name: str | None) -> status.Served:
        self.asked.append(name)
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        self.done += 1
        return status.Served("tiny", name or "pirate", "sha256:aa", "sha256:cc", 100)


@pytest.fixture
def admin(scripted: Any, serve: Any, listen: Any, settings_of: Any) -> Any:
    """`async with admin(swap, ADMIN_KEY="k") as http`."""

    @contextlib.asynccontextmanager
    async def opened(swap: Any, **env: str) -> AsyncIterator[httpx.AsyncClient]:
        async with serve(scripted()) as app:
            whole = web.application(app.answers, state=status.Status(), limits=settings_of(**env), reload=swap)
            async with listen(whole) as (url, _), httpx.AsyncClient(base_url=url) as http:
                yield http

    return opened


async def test_an_adapter_is_exchanged(admin: Any) -> None:
    """By the name of its folder; an empty request means the same folder again."""
    swap = Swap()
    async with admin(swap, ADMIN_KEY="admin-secret") as http:
        for body, name in (({"adapter": "sailor"}, "sailor"), ({}, "pirate"), ({"adapter": None}, "pirate")):
            answer = await http.post(URL, json=body, headers=ADMIN)
            told = answer.json()
            assert isinstance(told.pop("seconds"), float)
            assert (answer.status_code, told) == (
                200,
                {"model": "tiny", "adapter": name, "adapter_digest": "sha256:cc"},
            )
    assert swap.asked == ["sailor", None, None]


async def test_only_the_admin_key_opens_it(admin: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Keys of the API don't, nor does the admin key open the API; no log line has any of them."""
    caplog.set_level("DEBUG")
    swap = Swap()
    async with admin(swap, ADMIN_KEY="admin-secret", API_KEYS="api-secret") as http:
        for headers in ({}, {"authorization": "Bearer api-secret"}, {"authorization": "Basic admin-secret"}):
            for method, path in (("POST", URL), ("GET", URL), ("GET", "/admin/other")):
                answer = await http.request(method, path, headers=headers, json={})
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert (await http.get("/v1/models", headers=ADMIN)).status_code == 401
        assert (await http.get("/v1/models", headers={"authorization": "Bearer api-secret"})).status_code == 200
    assert swap.asked == []
    assert "-secret" not in "".join(f"{record.__dict__}" for record in caplog.records)


@pytest.mark.parametrize("key", [{}, {"ADMIN_KEY": "admin-secret"}])
async def test_without_a_key_or_an_adapter_it_does_not_exist(admin: Any, key: dict[str, str]) -> None:
    """As any other unknown address."""
    async with admin(None if key else Swap(), **key) as http:
        answer = await http.post(URL, json={}, headers=ADMIN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    ("failure", "status_code", "code"),
    [
        (reload.Busy("another reload is running"), 409, "reload_in_progress"),
        (model_files.AdapterError("layers are missing"), 422, "bad_adapter"),
        (engine.EngineDown("the engine is down"), 503, "engine_down"),
        (ZeroDivisionError(), 500, "internal_error"),
    ],
)
async def test_why_it_failed(admin: Any, failure: Exception, status_code: int, code: str) -> None:
    """Each reason has its status, and its words in the envelope."""
    async with admin(Swap(failure), ADMIN_KEY="admin-secret") as http:
        answer = await http.post(URL, json={}, headers=ADMIN)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status_code, code)
    assert str(failure) in error["message"]


@pytest.mark.parametrize(
    ("request_fields", "status_code"),
    [
        ({"json": []}, 400),
        ({"json": {"adapter": 3}}, 400),
        ({"json": {"adaptor": "sailor"}}, 400),
        ({"content": b"{}"}, 415),
        ({"content": b"", "headers": {"content-type": "application/json"}}, 400),
    ],
)
async def test_what_is_no_request(admin: Any, request_fields: dict[str, Any], status_code: int) -> None:
    """Refused before anything is touched."""
    swap = Swap()
    async with admin(swap, ADMIN_KEY="admin-secret") as http:
        headers = {**ADMIN, **request_fields.pop("headers", {})}
        answer = await http.post(URL, headers=headers, **request_fields)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status_code, "invalid_request_error")
    assert swap.asked == []


async def test_leaving_does_not_stop_it(admin: Any, until: Any) -> None:
    """An operator who hangs up leaves no half exchange behind."""
    swap = Swap()
    swap.hold.clear()
    async with admin(swap, ADMIN_KEY="admin-secret") as http:
        asking = asyncio.create_task(http.post(URL, json={}, headers=ADMIN))
        await until(lambda: swap.asked == [None])
        asking.cancel()
        await asyncio.wait({asking})
        swap.hold.set()
        await until(lambda: swap.done == 1)
