"""A changed template becomes a revision that replaces the one before."""

from typing import Any


async def test_a_put_ends_before_its_first_revision_is_ready(azure: Any, app_body: Any) -> None:
    """The operation says Succeeded after its time, the revision goes Processing, Activating, Running."""
    await azure.ask("PUT", "containerApps/web", app_body())
    seen = [await azure.triples()]
    for seconds in (6, 6, 8):
        azure.advance(seconds)
        seen.append(await azure.triples())
    assert seen == [
        [],
        [(True, "Provisioning", "None", "Processing", 1)],
        [(True, "Provisioned", "None", "Activating", 1)],
        [(True, "Provisioned", "Healthy", "Running", 1)],
    ]


async def test_the_old_revision_serves_until_the_new_one_is_ready(azure: Any, app_body: Any) -> None:
    """The recorded order: latestReady and the old revision's Running first, then Deprovisioning, then Stopped."""
    await azure.put(app_body())
    azure.advance(8)
    first = (await azure.revisions())[0]["name"]
    await azure.ask("PATCH", "containerApps/web", {"properties": {"template": _template(image="python:3.13")}})
    azure.advance(6)
    app = await azure.properties("containerApps/web")
    assert (app["latestRevisionName"], app["latestReadyRevisionName"]) == ("web--0000001", first)
    assert await azure.triples() == [
        (True, "Provisioned", "Healthy", "Running", 1),
        (True, "Provisioning", "None", "Processing", 1),
    ]
    azure.advance(8)
    assert (await azure.properties("containerApps/web"))["latestReadyRevisionName"] == "web--0000001"
    assert (await azure.triples())[0] == (True, "Provisioned", "Healthy", "Deprovisioning", 1)
    azure.advance(2)
    assert await azure.triples() == [
        (False, "Provisioned", "Healthy", "Stopped", 0),
        (True, "Provisioned", "Healthy", "Running", 1),
    ]
    assert "lastActiveTime" in (await azure.revisions())[0]


async def test_all_traffic_is_the_new_revisions_while_it_still_activates(azure: Any, app_body: Any) -> None:
    """trafficWeight follows the name, not the readiness; requests follow the readiness."""
    await azure.put(app_body(env={"ACAOPS_RELEASE": "a"}))
    azure.advance(8)
    first = (await azure.revisions())[0]["name"]
    await azure.patch({"template": _template(image="python:3.13", env={"LOCAL_AZURE_SIMULATE": "never-ready"})})
    assert [item["trafficWeight"] for item in await azure.revisions()] == [0, 100]
    targets = azure.local.server._apps.site("web.env.localhost").targets
    assert [(target.key, target.weight) for target in targets] == [(first, 100)]


async def test_a_first_revision_that_crashes_is_named_latest_ready(azure: Any, app_body: Any) -> None:
    """Failed/Unhealthy/Failed with the recorded texts, while the app stays Succeeded and Running."""
    await azure.put(app_body(env={"LOCAL_AZURE_SIMULATE": "crash"}))
    azure.advance(300)
    revision = (await azure.revisions())[0]
    assert await azure.triples() == [(True, "Failed", "Unhealthy", "Failed", 1)]
    assert revision["provisioningError"] == "Container crashing: web"
    assert revision["runningStateDetails"] == "1/1 Container crashing: web"
    app = await azure.properties("containerApps/web")
    assert (app["provisioningState"], app["runningStatus"]) == ("Succeeded", "Running")
    assert app["latestReadyRevisionName"] == revision["name"]


async def test_two_failing_revisions_both_stay_active(azure: Any, app_body: Any) -> None:
    """The newest holds the weight, nothing is stopped."""
    await azure.put(app_body(env={"LOCAL_AZURE_SIMULATE": "crash"}))
    azure.advance(300)
    await azure.patch({"template": _template(image="other", env={"LOCAL_AZURE_SIMULATE": "crash"})})
    azure.advance(300)
    assert await azure.triples() == [(True, "Failed", "Unhealthy", "Failed", 1)] * 2
    assert [item["trafficWeight"] for item in await azure.revisions()] == [0, 100]


async def test_revisions_beyond_max_inactive_are_removed_oldest_first(azure: Any, app_body: Any) -> None:
    """maxInactiveRevisions bounds what is kept."""
    await azure.put(app_body(configuration={"maxInactiveRevisions": 1}))
    for image in ("b", "c", "d"):
        azure.advance(10)
        await azure.patch({"template": _template(image=image)})
    azure.advance(10)
    names = [(item["name"], item["active"]) for item in await azure.revisions()]
    assert names == [("web--0000002", False), ("web--0000003", True)]


async def test_a_lower_max_inactive_takes_effect_with_the_write(azure: Any, app_body: Any) -> None:
    """0 keeps none."""
    await azure.put(app_body())
    azure.advance(8)
    await azure.patch({"template": _template(image="b")})
    azure.advance(10)
    await azure.patch({"configuration": {"maxInactiveRevisions": 0}})
    assert [item["name"] for item in await azure.revisions()] == ["web--0000001"]


async def test_an_old_revision_that_restarts_is_replaced_too(azure: Any, app_body: Any) -> None:
    """A restart in the middle of a rollout doesn't keep it alive."""
    await azure.put(app_body(template={"containers": [_keyed()]}, configuration=_secret("old")))
    azure.advance(8)
    old = (await azure.revisions())[0]["name"]
    properties = {"configuration": _secret("new"), "template": {"containers": [_keyed() | {"image": "b"}]}}
    await azure.ask("PATCH", "containerApps/web", {"properties": properties})
    azure.advance(13)
    await azure.ask("POST", f"containerApps/web/revisions/{old}/restart")
    azure.advance(20)
    assert [item["active"] for item in await azure.revisions()] == [False, True]


async def test_in_multiple_mode_every_revision_keeps_running(azure: Any, app_body: Any) -> None:
    """No revision is replaced there."""
    await azure.put(app_body(configuration={"activeRevisionsMode": "multiple"}))
    azure.advance(8)
    await azure.patch({"template": _template(image="b")})
    azure.advance(8)
    assert await azure.triples() == [(True, "Provisioned", "Healthy", "Running", 1)] * 2


async def test_back_to_single_mode_stops_all_but_the_latest(azure: Any, app_body: Any) -> None:
    """The switch settles what a rollout would have."""
    await azure.put(app_body(configuration={"activeRevisionsMode": "Multiple"}))
    azure.advance(8)
    await azure.patch({"template": _template(image="b")})
    azure.advance(8)
    await azure.patch({"configuration": {"activeRevisionsMode": "Single"}})
    azure.advance(2)
    assert [item["active"] for item in await azure.revisions()] == [False, True]


def _template(*, image: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "web", "image": image}
    if env:
        container["env"] = [{"name": name, "value": value} for name, value in env.items()]
    return {"containers": [container]}


def _keyed() -> dict[str, Any]:
    return {"name": "web", "image": "a", "env": [{"name": "KEY", "secretRef": "key"}]}


def _secret(value: str) -> dict[str, Any]:
    return {"ingress": {"external": True, "targetPort": 80}, "secrets": [{"name": "key", "value": value}]}
