"""A test that watches every change of the local Azure: when it is called, and what it can ask."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local_azure.runtime import simulated

APP = "/resourceGroups/rg/providers/Microsoft.App"


@pytest.fixture
def web(azure: Any) -> str:
    return f"/subscriptions/{azure.local.subscription}{APP}/containerApps/web"


async def test_every_change_is_told(azure: Any, app_body: Any) -> None:
    """Documents written and removed, operations that end, replicas that become ready."""
    calls: list[int] = []
    azure.local.server.on_change.append(lambda: calls.append(1))

    async def changes(what: Any) -> bool:
        before = len(calls)
        await what
        return len(calls) > before

    async def later(seconds: float) -> None:
        azure.advance(seconds)

    assert await changes(azure.ask("PUT", "containerApps/web", app_body()))
    assert not await changes(azure.ask("GET", "containerApps/web"))
    assert await changes(later(6))
    assert await changes(later(simulated.START_S))
    assert not await changes(later(1))
    await azure.ask("POST", "containerApps/web/stop")
    assert await changes(later(simulated.END_S))
    azure.advance(15)
    await azure.ask("DELETE", "containerApps/web")
    assert await changes(later(18))


async def test_who_serves(azure: Any, app_body: Any, web: str) -> None:
    """The ready revision that requests go to: nobody at first, the old one until the new one is ready, then that."""
    seen: list[frozenset[str]] = []
    server = azure.local.server
    server.on_change.append(lambda: seen.append(server.serving(web)))
    await azure.put(app_body())
    assert set(seen) == {frozenset()}
    azure.advance(simulated.START_S)
    first = (await azure.revisions())[0]["name"]
    assert server.serving(web.upper()) == {first}
    seen.clear()
    await azure.patch({"template": {"scale": {"minReplicas": 2}}})
    azure.advance(60)
    second = (await azure.revisions())[1]["name"]
    assert list(dict.fromkeys(seen)) == [frozenset({first}), frozenset({second})]
    await azure.ask("POST", "containerApps/web/stop")
    azure.advance(15)
    assert server.serving(web) == frozenset()


async def test_who_serves_without_ingress_and_without_readiness(azure: Any, app_body: Any, web: str) -> None:
    """Every active ready revision; none that isn't ready."""
    body = app_body(configuration={"ingress": None, "activeRevisionsMode": "Multiple"})
    await azure.put(body)
    azure.advance(60)
    await azure.patch({"template": {"scale": {"minReplicas": 2}}})
    azure.advance(60)
    assert len(azure.local.server.serving(web)) == 2
    container = {"name": "web", "image": "x", "env": [{"name": simulated.SWITCH, "value": "never-ready"}]}
    await azure.patch({"template": {"containers": [container]}})
    azure.advance(60)
    assert len(azure.local.server.serving(web)) == 2
    assert azure.local.server.serving("/subscriptions/none") == frozenset()


@pytest.mark.usefixtures("storage")
async def test_what_is_mounted(azure: Any, app_body: Any, web: str) -> None:
    """Environment storages, and who names them: an app's template, and each revision as long as it is active."""
    server = azure.local.server
    file = {"accountName": "account1", "accountKey": "k", "accessMode": "ReadWrite"}
    for name in ("one", "two"):
        body = {"properties": {"azureFile": {**file, "shareName": "models"}}}
        await azure.ask("PUT", f"managedEnvironments/env/storages/{name}", body)
    one, two = (
        f"/subscriptions/{azure.local.subscription}{APP}/managedEnvironments/env/storages/{name}".lower()
        for name in ("one", "two")
    )
    assert server.storages() == {one, two}
    volumes = [{"name": "v", "storageType": "AzureFile", "storageName": "one"}]
    await azure.put(app_body(template={"volumes": volumes}))
    first = f"{web}/revisions/{(await azure.revisions())[0]['name']}".lower()
    assert server.mounted() == {web.lower(): {one}, first: {one}}
    await azure.ask("PATCH", "containerApps/web", {"properties": {"template": {"volumes": None}}})
    assert server.mounted() == {web.lower(): frozenset(), first: {one}}
    azure.advance(60)
    assert set(server.mounted().values()) == {frozenset()}
    seen: list[frozenset[str]] = []
    server.on_change.append(lambda: seen.append(server.storages()))
    await azure.ask("DELETE", "managedEnvironments/env/storages/one")
    assert seen == [{two}]
