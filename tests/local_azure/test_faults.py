"""Rules by which the local Azure fails on purpose."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.local_azure import clock, faults, server, settings
from tests.local_azure.conftest import Local

GROUP = "/resourcegroups/rg"


async def test_an_answer_by_rule(local: Any, arm: Any) -> None:
    """The error is ARM's shape; the request isn't carried out; the rule applies so many times."""
    rule = faults.Rule("/resourcegroups/RG$", "PUT", status=429, code="429", headers={"Retry-After": "3"}, times=1)
    local.server.faults.rules.append(rule)
    assert (await arm("GET", GROUP)).status == 404
    refused = await arm("PUT", GROUP, {"location": "westus3"})
    assert (refused.status, refused.headers["Retry-After"], refused.body["error"]["code"]) == (429, "3", "429")
    assert (await arm("GET", GROUP)).status == 404
    assert (await arm("PUT", GROUP, {"location": "westus3"})).status == 201


@pytest.mark.parametrize(("does", "status"), [("reset", 404), ("lost", 200)])
async def test_a_broken_connection_by_rule(local: Any, arm: Any, does: Any, status: int) -> None:
    """Lost is carried out, reset is not; the journal has both. The client repeats such a PUT once, hence twice."""
    local.server.faults.rules.append(faults.Rule("/resourcegroups/rg$", "PUT", does=does, times=2))
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await arm("PUT", GROUP, {"location": "westus3"})
    assert (await arm("GET", GROUP)).status == status
    assert len([each for each in local.requests if each.method == "PUT"]) in (1, 2)


@pytest.mark.parametrize(("does", "status"), [("answer", 404), ("answer-after", 200)])
async def test_an_error_before_and_after(local: Any, arm: Any, does: Any, status: int) -> None:
    """The same answer to the client, e.g. a 409 in progress; only the second was carried out."""
    code = "ContainerAppOperationInProgress"
    local.server.faults.rules.append(faults.Rule("/rg$", "PUT", does=does, status=409, code=code, times=1))
    refused = await arm("PUT", GROUP, {"location": "westus3"})
    assert (refused.status, refused.body["error"]["code"]) == (409, code)
    assert (await arm("GET", GROUP)).status == status


async def test_a_404_for_what_is_there(local: Any, arm: Any) -> None:
    """In the gateway's words."""
    await arm("PUT", GROUP, {"location": "westus3"})
    local.server.faults.rules.append(faults.Rule("/rg$", "GET", does="absent", times=1))
    absent = await arm("GET", GROUP)
    assert (absent.status, absent.body["error"]["code"]) == (404, "ResourceNotFound")
    assert absent.headers["x-ms-failure-cause"] == "gateway"
    assert (await arm("GET", GROUP)).status == 200


async def test_a_malformed_body(local: Any, session: Any) -> None:
    """A success whose JSON breaks off; the request was carried out."""
    local.server.faults.rules.append(faults.Rule("/rg$", "PUT", does="malformed"))
    token = local.server._entra.issue(local.url)
    url = f"{local.url}/subscriptions/{local.subscription}{GROUP}?api-version=2025-04-01"
    async with session(local) as asking:
        headers = {"Authorization": f"Bearer {token}"}
        async with asking.put(url, json={"location": "westus3"}, headers=headers) as answer:
            assert answer.status == 201
            with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
                await answer.json()
        async with asking.get(url, headers=headers) as answer:
            assert (await answer.json())["name"] == "rg"


async def test_a_stale_answer(local: Any, arm: Any) -> None:
    """What the last GET of that URL said, once more; the true answer where there was none."""
    local.server.faults.rules.append(faults.Rule("/rg$", "GET", does="stale", times=1))
    await arm("PUT", GROUP, {"location": "westus3", "tags": {"a": "1"}})
    assert (await arm("GET", GROUP)).body["tags"] == {"a": "1"}
    await arm("PUT", GROUP, {"location": "westus3", "tags": {"a": "2"}})
    local.server.faults.rules.append(faults.Rule("/rg$", "GET", does="stale", times=1))
    assert (await arm("GET", GROUP)).body["tags"] == {"a": "1"}
    assert (await arm("GET", GROUP)).body["tags"] == {"a": "2"}


async def until_held(local: Any, count: int) -> None:
    async with asyncio.timeout(5):
        while local.server.faults.held != count:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0)


@pytest.mark.parametrize(("does", "meanwhile"), [("hang", 404), ("hang-after", 200)])
async def test_a_held_request(local: Any, arm: Any, does: Any, meanwhile: int) -> None:
    """Held before or after it is carried out; answered once released."""
    local.server.faults.rules.append(faults.Rule("/rg$", "PUT", does=does, times=1))
    put = asyncio.create_task(arm("PUT", GROUP, {"location": "westus3"}))
    await until_held(local, 1)
    assert (await arm("GET", GROUP)).status == meanwhile
    local.server.faults.release()
    assert (await put).status == 201


async def test_a_held_request_whose_client_leaves(local: Any, arm: Any) -> None:
    """It is never carried out, and holds nothing up."""
    local.server.faults.rules.append(faults.Rule("/rg$", "PUT", does="hang", times=1))
    put = asyncio.create_task(arm("PUT", GROUP, {"location": "westus3"}))
    await until_held(local, 1)
    put.cancel()
    await until_held(local, 0)
    local.server.faults.release()
    assert (await arm("GET", GROUP)).status == 404


async def test_a_held_request_does_not_keep_the_server_from_closing(state: Path, plain: Any) -> None:
    """Its connection breaks, and it isn't carried out."""
    configured = settings.Settings(state=state, port=0, processes=False)
    local = Local(server.Server(configured, clock.ScaledClock(0)), None)
    await local.server.start()
    async with plain(local) as arm:
        local.server.faults.rules.append(faults.Rule("/rg$", "PUT", does="hang"))
        put = asyncio.create_task(arm("PUT", GROUP, {"location": "westus3"}))
        await until_held(local, 1)
        await local.server.close()
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await put
