"""Scale by HTTP, end to end on the clock: more replicas, none after the cool-down, and a request that wakes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

HOST = "web.env.localhost"


class Client:
    """Requests to apps, each begun before it is waited for."""

    def __init__(self, azure: Any, session: aiohttp.ClientSession) -> None:
        self._url = f"http://127.0.0.1:{azure.local.server.port}/"
        self._session = session

    async def get(self, host: str = HOST) -> tuple[int, Any]:
        async with self._session.get(self._url, headers={"Host": host}) as answer:
            return answer.status, await answer.json() if answer.status == 200 else await answer.text()


@pytest.fixture
async def client(azure: Any) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(azure, session)


async def running(azure: Any) -> list[tuple[Any, ...]]:
    names = ("healthState", "runningState", "replicas")
    return [tuple(item[name] for name in names) for item in await azure.revisions()]


async def until(azure: Any, number: int, word: str) -> None:
    """The runningState of the revision with that number is `word`."""
    news = asyncio.Event()
    azure.local.server.on_change.append(news.set)
    async with asyncio.timeout(5):
        while (await running(azure))[number][1] != word:
            await news.wait()
            news.clear()


async def test_without_requests_it_goes_to_zero_and_a_request_brings_it_back(
    azure: Any, app_body: Any, client: Client
) -> None:
    """No minimum is 0. The request is held until the replica is ready, and the words say so on the way."""
    await azure.put(app_body(env={"ACAOPS_RELEASE": "abc"}))
    azure.advance(8)
    azure.advance(305)
    asleep = await running(azure)
    asking = asyncio.create_task(client.get())
    await until(azure, 0, "Activating")
    waking = await running(azure)
    assert not asking.done()
    azure.advance(8)
    assert await asking == (200, {"release": "abc", "status": "ready"})
    assert [asleep, waking, await running(azure)] == [
        [("Healthy", "ScaledToZero", 0)],
        [("Healthy", "Activating", 1)],
        [("Healthy", "Running", 1)],
    ]
    app = await azure.properties("containerApps/web")
    assert (app["provisioningState"], app["runningStatus"]) == ("Succeeded", "Running")


async def test_each_revision_goes_to_zero_for_itself(azure: Any, app_body: Any, client: Client) -> None:
    """A request to a revision's own address wakes that one only."""
    await azure.put(app_body(configuration={"activeRevisionsMode": "Multiple"}, env={"ACAOPS_RELEASE": "a"}))
    azure.advance(8)
    container = {"name": "web", "image": "b", "env": [{"name": "ACAOPS_RELEASE", "value": "b"}]}
    await azure.patch({"template": {"containers": [container]}})
    azure.advance(320)
    first = (await azure.revisions())[0]["name"]
    asking = asyncio.create_task(client.get(f"{first}.env.localhost"))
    await until(azure, 0, "Activating")
    azure.advance(8)
    assert (await asking)[1]["release"] == "a"
    assert await running(azure) == [("Healthy", "Running", 1), ("Healthy", "ScaledToZero", 0)]


async def test_a_held_request_follows_its_traffic(azure: Any, app_body: Any, client: Client) -> None:
    """The revision it waits for is stopped: it asks the one that has the traffic by then."""
    await azure.put(app_body(configuration={"activeRevisionsMode": "Multiple"}))
    azure.advance(8)
    lively = {"minReplicas": 1, "maxReplicas": 1}
    container = {"name": "web", "image": "b", "env": [{"name": "ACAOPS_RELEASE", "value": "b"}]}
    await azure.patch({"template": {"containers": [container], "scale": lively}})
    azure.advance(320)
    first, second = (item["name"] for item in await azure.revisions())
    await azure.patch({"configuration": {"ingress": {"traffic": [{"revisionName": first, "weight": 100}]}}})
    asking = asyncio.create_task(client.get())
    await until(azure, 0, "Activating")
    change = {"properties": {"configuration": {"ingress": {"traffic": [{"revisionName": second, "weight": 100}]}}}}
    await azure.ask("PATCH", "containerApps/web", change)
    await azure.ask("POST", f"containerApps/web/revisions/{first}/deactivate")
    assert (await asking)[1]["release"] == "b"


async def test_requests_under_way_add_replicas_up_to_the_most(azure: Any, app_body: Any, client: Client) -> None:
    """By the rule's concurrentRequests; at the most the revision says so."""
    rule = {"name": "http", "http": {"metadata": {"concurrentRequests": "1"}}}
    scale = {"minReplicas": 1, "maxReplicas": 3, "rules": [rule]}
    await azure.put(app_body(template={"scale": scale}))
    azure.advance(8)
    key = (await azure.revisions())[0]["name"]
    counts = azure.local.server._scaling
    with counts.request(key), counts.request(key):
        azure.advance(15)
        assert await running(azure) == [("Healthy", "Running", 3 - 1)]
        with counts.request(key), counts.request(key):
            azure.advance(15)
            azure.advance(8)
            assert await running(azure) == [("Healthy", "RunningAtMaxScale", 3)]


async def test_an_app_that_never_was_ready_stays(azure: Any, app_body: Any) -> None:
    """What is wrong with it can be read as long as it takes."""
    await azure.put(app_body(env={"LOCAL_AZURE_SIMULATE": "crash"}))
    azure.advance(1000)
    assert await running(azure) == [("Unhealthy", "Failed", 1)]


async def test_a_rule_of_another_kind_keeps_one(azure: Any, app_body: Any) -> None:
    """Its source can't be asked here."""
    rule = {"name": "queue", "custom": {"type": "azure-queue", "metadata": {"queueLength": "5"}}}
    await azure.put(app_body(template={"scale": {"minReplicas": 0, "maxReplicas": 3, "rules": [rule]}}))
    azure.advance(1000)
    assert await running(azure) == [("Healthy", "Running", 1)]


async def test_a_restart_at_zero_takes_new_secrets_along(azure: Any, app_body: Any) -> None:
    """Without them there is nothing to restart."""
    container = {"name": "web", "image": "i", "env": [{"name": "KEY", "secretRef": "key"}]}
    secrets = {"secrets": [{"name": "key", "value": "old"}]}
    await azure.put(app_body(template={"containers": [container]}, configuration=secrets))
    azure.advance(320)
    name = (await azure.revisions())[0]["name"]
    path = f"containerApps/web/revisions/{name}/restart"
    await azure.ask("POST", path)
    assert (await running(azure))[0][1:] == ("ScaledToZero", 0)
    await azure.patch({"configuration": {"secrets": [{"name": "key", "value": "new"}]}})
    await azure.ask("POST", path)
    azure.advance(8)
    assert (await running(azure))[0] == ("Healthy", "Running", 1)
    assert azure.local.server._runtime._revisions[name].containers[0].env["KEY"] == "new"


async def test_stopped_and_started_it_begins_anew(azure: Any, app_body: Any) -> None:
    """Activated after it was at zero, it starts with one replica and has its whole cool-down."""
    await azure.put(app_body())
    azure.advance(320)
    path = f"containerApps/web/revisions/{(await azure.revisions())[0]['name']}"
    await azure.ask("POST", f"{path}/deactivate")
    assert (await running(azure))[0][1] == "Stopped"
    await azure.ask("POST", f"{path}/activate")
    azure.advance(250)
    assert await running(azure) == [("Healthy", "Running", 1)]
    azure.advance(70)
    assert await running(azure) == [("Healthy", "ScaledToZero", 0)]


@pytest.mark.parametrize("sent", ["0", "many"])
async def test_a_rule_needs_a_number(azure: Any, app_body: Any, sent: str) -> None:
    """A whole one, of at least 1."""
    rule = {"name": "http", "http": {"metadata": {"concurrentRequests": sent}}}
    answer = await azure.ask("PUT", "containerApps/web", app_body(template={"scale": {"rules": [rule]}}))
    assert answer.status == 400
    assert "concurrentRequests" in answer.body["error"]["message"]
