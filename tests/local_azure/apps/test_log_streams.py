"""The log and event streams: who may read them, and in which form."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import RawTestServer


@pytest.fixture
async def streams(azure: Any) -> AsyncIterator[str]:
    """The provider's stream host alone; its address up to the resource group."""
    async with RawTestServer(azure.local.server._apps.logstream) as server:
        yield str(server.make_url(f"/subscriptions/{azure.local.subscription}/resourceGroups/rg"))


async def token(azure: Any, path: str = "containerApps/web") -> str:
    return str((await azure.ask("POST", f"{path}/getAuthToken")).body["properties"]["token"])


async def read(url: str, bearer: str | None, **query: str) -> tuple[int, list[str]]:
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    async with aiohttp.ClientSession() as session, session.get(url, params=query, headers=headers) as answer:
        return answer.status, (await answer.text()).splitlines()


async def log_path(azure: Any) -> str:
    name = (await azure.revisions())[0]["name"]
    replicas = await azure.ask("GET", f"containerApps/web/revisions/{name}/replicas")
    return f"/containerApps/web/revisions/{name}/replicas/{replicas.body['value'][0]['name']}/containers/web/logstream"


async def test_a_token_is_for_one_resource_and_one_hour(azure: Any, app_body: Any, streams: str) -> None:
    """The recorded answer of getAuthToken; another app's token, none or an old one is refused."""
    await azure.put(app_body())
    await azure.put(app_body(), app="other")
    answer = await azure.ask("POST", "containerApps/web/getAuthToken")
    assert {name: answer.body[name] for name in ("location", "name", "type")} == {
        "location": "West US 3",
        "name": "web",
        "type": "Microsoft.App/containerApps/accesstoken",
    }
    assert answer.body["properties"]["expires"].endswith("Z")
    bearer = answer.body["properties"]["token"]
    url = f"{streams}/containerApps/web/eventstream"
    statuses = [
        (await read(url, each))[0] for each in (bearer, None, "a.b.c", await token(azure, "containerApps/other"))
    ]
    azure.advance(3600)
    assert [*statuses, (await read(url, bearer))[0]] == [200, 401, 401, 401, 401]


async def test_json_lines_and_text(azure: Any, app_body: Any, streams: str) -> None:
    """`{"TimeStamp", "Log"}` a line, or plain lines; two lines of connecting come first."""
    await azure.put(app_body())
    url, bearer = f"{streams}{await log_path(azure)}", await token(azure)
    status, lines = await read(url, bearer, follow="false", output="json", tailLines="20")
    assert status == 200
    assert [sorted(json.loads(line)) for line in lines] == [["Log", "TimeStamp"]] * 3
    assert json.loads(lines[0])["Log"] == "Connecting to the container 'web'..."
    assert json.loads(lines[1])["Log"] == "Successfully Connected to container: 'web'"
    _, texts = await read(url, bearer, output="text", tailLines="0")
    assert [line.partition("  ")[2] for line in texts] == [
        "Connecting to the container 'web'...",
        "Successfully Connected to container: 'web'",
    ]


async def test_what_isnt_there_is_a_404(azure: Any, app_body: Any, streams: str) -> None:
    """Unknown apps, replicas and containers; a bad tail is a 400."""
    await azure.put(app_body())
    path, bearer = await log_path(azure), await token(azure)
    urls = [f"{streams}{path}x", f"{streams}{path.replace('/containers/web', '/containers/no')}"]
    urls += [f"{streams}/containerApps/no/eventstream", f"{streams}{path.replace('/replicas/', '/replicas/x')}"]
    assert [(await read(url, bearer))[0] for url in urls] == [404] * 4
    assert (await read(f"{streams}{path}", bearer, tailLines="301"))[0] == 400


async def test_system_events_tell_the_rollout(azure: Any, app_body: Any, streams: str) -> None:
    """One JSON object a line; the environment's stream has those of its apps."""
    await azure.put(app_body())
    azure.advance(8)
    await azure.patch({"template": {"containers": [{"name": "web", "image": "b"}]}})
    azure.advance(8)
    _, lines = await read(f"{streams}/containerApps/web/eventstream", await token(azure), tailLines="3")
    events = [json.loads(line) for line in lines]
    assert [event["Reason"] for event in events] == ["RevisionCreation", "RevisionReady", "RevisionDeactivating"]
    assert events[0]["RevisionName"] == "web--0000001"
    bearer = await token(azure, "managedEnvironments/env")
    _, same = await read(f"{streams}/managedEnvironments/env/eventstream", bearer, tailLines="3")
    assert same == lines


async def test_followed_events_arrive_as_they_happen(azure: Any, app_body: Any, streams: str) -> None:
    """The stream stays open until the reader leaves or the app is deleted."""
    await azure.put(app_body())
    url, headers = f"{streams}/containerApps/web/eventstream", {"Authorization": f"Bearer {await token(azure)}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, params={"follow": "true"}, headers=headers) as answer,
    ):
        first = json.loads(await answer.content.readline())
        azure.advance(8)
        second = json.loads(await answer.content.readline())
        await azure.ask("DELETE", "containerApps/web")
        azure.advance(18)
        assert await answer.content.read() == b""
    assert (first["Reason"], second["Reason"]) == ("RevisionCreation", "RevisionReady")
