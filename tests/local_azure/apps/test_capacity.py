"""Replicas of apps on GPU profiles: what the profile, the environment and the subscription have room for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from infra.local_azure import clock
from infra.local_azure.scenario import Rule
from tests.local_azure.apps.conftest import Azure, prepare

NO_GPU = "Unschedulable on legion. 0/{n} nodes are available: {n} Insufficient nvidia.com/gpu."


def template(**values: Any) -> dict[str, Any]:
    container = {"name": "web", "image": "docker.io/library/python:3.12", "env": [{"name": "V", "value": "2"}]}
    return {"containers": [container], **values}


async def replicas(azure: Any, revision: str, app: str = "web") -> list[dict[str, Any]]:
    answer = await azure.ask("GET", f"containerApps/{app}/revisions/{revision}/replicas")
    return [item["properties"] for item in answer.body["value"]]


async def one_node(azure: Any) -> None:
    """From now on the profile `gpu` has one machine at most."""
    await resize(azure, most=1)


async def resize(azure: Any, *, most: int) -> None:
    profiles = [
        {"name": "Consumption", "workloadProfileType": "Consumption"},
        {"name": "gpu", "workloadProfileType": "NC24-A100", "minimumCount": 0, "maximumCount": most},
        {"name": "t4", "workloadProfileType": "Consumption-GPU-NC8as-T4"},
    ]
    body = {"properties": {"workloadProfiles": profiles}}
    assert (await azure.ask("PATCH", "managedEnvironments/env", body)).status == 202
    azure.advance(120)


async def test_a_rolling_update_on_a_full_profile_waits_and_the_old_revision_serves_on(
    azure: Any, app_body: Any
) -> None:
    """In single mode nobody makes room: it waits until somebody stops the old one."""
    await one_node(azure)
    await azure.put(app_body(workloadProfileName="gpu", template={"scale": {"minReplicas": 1}}))
    azure.advance(60)
    await azure.patch({"template": template(scale={"minReplicas": 1})})
    azure.advance(3000)
    old, new = await azure.revisions()
    assert await azure.triples() == [
        (True, "Provisioned", "Healthy", "Running", 1),
        (True, "Provisioned", "None", "Activating", 1),
    ]
    assert new["runningStateDetails"] == "0/1 replicas ready. Unschedulable: insufficient nvidia.com/gpu."
    (replica,) = await replicas(azure, new["name"])
    (container,) = replica["containers"]
    assert (replica["runningState"], container["runningState"]) == ("NotRunning", "Waiting")
    assert container["runningStateDetails"] == f"Container is waiting with reason: {NO_GPU.format(n=1)}"
    assert (await azure.properties("containerApps/web"))["provisioningState"] == "Succeeded"
    await azure.ask("POST", f"containerApps/web/revisions/{old['name']}/deactivate")
    azure.advance(60)
    assert await azure.triples() == [
        (False, "Provisioned", "Healthy", "Stopped", 0),
        (True, "Provisioned", "Healthy", "Running", 1),
    ]


async def test_a_rolling_update_with_a_machine_to_spare_just_happens(azure: Any, app_body: Any) -> None:
    """maximumCount 2: the old and the new revision each hold a GPU for a while."""
    await azure.put(app_body(workloadProfileName="gpu"))
    azure.advance(60)
    await azure.patch({"template": template()})
    azure.advance(60)
    assert [item[:4] for item in await azure.triples()] == [
        (False, "Provisioned", "Healthy", "Stopped"),
        (True, "Provisioned", "Healthy", "Running"),
    ]


async def test_a_larger_profile_starts_what_waits(azure: Any, app_body: Any) -> None:
    """Once the environment's update is provisioned."""
    await one_node(azure)
    await azure.put(app_body(workloadProfileName="gpu", template={"scale": {"minReplicas": 2}}))
    azure.advance(60)
    revision = (await azure.revisions())[0]
    assert revision["runningStateDetails"] == "1/2 replicas ready. Unschedulable: insufficient nvidia.com/gpu."
    await resize(azure, most=2)
    azure.advance(60)
    assert await azure.triples() == [(True, "Provisioned", "Healthy", "Running", 2)]


async def test_usages_count_what_runs_and_not_what_waits(azure: Any, app_body: Any) -> None:
    """A dedicated profile's nodes, and an environment's quota of T4s: 5, the sixth replica waits."""
    await azure.put(app_body(workloadProfileName="gpu", template={"scale": {"minReplicas": 3}}), "a100")
    await azure.put(app_body(workloadProfileName="t4", template={"scale": {"minReplicas": 6}}), "t4")
    azure.advance(60)
    states = await azure.ask("GET", "managedEnvironments/env/workloadProfileStates")
    counts = {item["name"]: item["properties"].get("currentCount") for item in states.body["value"]}
    assert counts == {"gpu": 2, "t4": None, "Consumption": None}
    usages = await azure.ask("GET", "managedEnvironments/env/usages")
    found = {item["name"]["value"]: (item["usage"], item["limit"]) for item in usages.body["value"]}
    assert found["ManagedEnvironmentConsumptionT4Gpus"] == (5, 5)
    revision = (await azure.revisions("t4"))[0]
    quota = "quota of ManagedEnvironmentConsumptionT4Gpus exceeded."
    assert revision["runningStateDetails"] == f"5/6 replicas ready. Unschedulable: {quota}"
    waiting = [item["containers"][0] for item in await replicas(azure, revision["name"], "t4")][-1]
    assert waiting["runningStateDetails"] == f"Container is waiting with reason: Unschedulable on legion. {quota}"


async def test_a_stopped_app_gives_its_gpu_to_the_next(azure: Any, app_body: Any) -> None:
    """Whoever waited gets it; the stopped one waits when it is started again."""
    await one_node(azure)
    await azure.put(app_body(workloadProfileName="gpu"), "first")
    await azure.put(app_body(workloadProfileName="gpu"), "second")
    azure.advance(60)
    assert [(await azure.triples(app))[0][3] for app in ("first", "second")] == ["Running", "Activating"]
    await azure.ask("POST", "containerApps/first/stop")
    azure.advance(60)
    assert [(await azure.triples(app))[0][3] for app in ("first", "second")] == ["Stopped", "Running"]
    await azure.ask("POST", "containerApps/first/start")
    azure.advance(60)
    assert [(await azure.triples(app))[0][3] for app in ("first", "second")] == ["Activating", "Running"]


async def test_a_smaller_quota_of_the_subscription_holds_machines_back(
    state: Any, serve: Any, plain: Any, app_body: Any, slow: Any
) -> None:
    """gpu_limit as of now decides about machines, not only about environments."""
    del slow
    time = clock.ManualClock(datetime.now(UTC))
    other = state.parent / "other"
    async with serve(other, time, gpu_limit=2) as local, plain(local) as arm:
        await prepare(arm)
        time.advance(104)
    async with serve(other, time, gpu_limit=1) as local, plain(local) as arm:
        azure = Azure(arm, local)
        environment = f"/subscriptions/{local.subscription}/resourceGroups/rg/providers/Microsoft.App"
        body = app_body(
            environment=f"{environment}/managedEnvironments/env",
            workloadProfileName="gpu",
            template={"scale": {"minReplicas": 2}},
        )
        await azure.put(body)
        azure.advance(60)
        revision = (await azure.revisions())[0]
        quota = "quota of SubscriptionDedicatedNCA100Gpus exceeded."
        assert revision["runningStateDetails"] == f"1/2 replicas ready. Unschedulable: {quota}"


async def test_a_scenario_plays_a_gpu_that_comes_late(azure: Any, app_body: Any) -> None:
    """Rules given to a running server count for what starts from then on."""
    azure.local.server.scenario.play(Rule("capacity", profile="gpu", replicas=0, then=1, after=600.0))
    await azure.put(app_body(workloadProfileName="gpu"))
    azure.advance(590)
    assert (await azure.triples())[0][3] == "Activating"
    azure.advance(60)
    assert (await azure.triples())[0][2:4] == ("Healthy", "Running")
