"""An image that can't be pulled: what its container says, and that its operation stays open until it expires."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local_azure.scenario import Rule

BROKEN = Rule("pull-fails", image="*:broken")


def broken() -> dict[str, Any]:
    return {"template": {"containers": [{"name": "web", "image": "docker.io/library/python:broken"}]}}


@pytest.fixture
async def held(azure: Any, app_body: Any) -> Any:
    """An app that serves, and a patch with an image that can't be pulled; returns the app's server."""
    await azure.put(app_body())
    azure.advance(60)
    azure.local.server.scenario.play(BROKEN)
    await azure.patch(broken())
    return azure


async def test_the_operation_stays_open_until_it_expires(held: Any) -> None:
    """15 minutes from its beginning; then the app is Failed, in the recorded words, and can be written again."""
    held.advance(900 - 15 - 1)
    app = await held.properties("containerApps/web")
    assert (app["provisioningState"], "deploymentErrors" in app) == ("InProgress", False)
    assert (await held.ask("PATCH", "containerApps/web", {"properties": broken()})).status == 409
    held.advance(1)
    app = await held.properties("containerApps/web")
    assert (app["provisioningState"], app["deploymentErrors"]) == ("Failed", "Operation expired")
    assert (await held.ask("PATCH", "containerApps/web", {"properties": broken()})).status == 202


async def test_the_container_says_which_image_it_waits_for(held: Any) -> None:
    """And the old revision serves on."""
    old, new = await held.revisions()
    assert (old["runningState"], new["runningState"]) == ("Running", "Processing")
    answer = await held.ask("GET", f"containerApps/web/revisions/{new['name']}/replicas")
    (container,) = answer.body["value"][0]["properties"]["containers"]
    assert container["runningState"] == "Waiting"
    assert container["runningStateDetails"] == (
        "Container is waiting with reason: ImagePullBackOff on legion. Failed to pull image "
        "'docker.io/library/python:broken'."
    )


async def test_an_image_that_comes_in_time_ends_the_operation_well(held: Any) -> None:
    """Whoever pushes it late needs to do nothing else."""
    held.advance(300)
    held.local.server.scenario.play()
    held.advance(60)
    app = await held.properties("containerApps/web")
    assert (app["provisioningState"], app["latestReadyRevisionName"]) == ("Succeeded", app["latestRevisionName"])


async def test_an_image_that_comes_too_late_starts_and_leaves_the_app_failed(held: Any) -> None:
    """The revision runs; the app says Failed until its next write."""
    held.advance(900)
    held.local.server.scenario.play()
    held.advance(60)
    assert [item["runningState"] for item in await held.revisions()] == ["Stopped", "Running"]
    assert (await held.properties("containerApps/web"))["provisioningState"] == "Failed"
    await held.patch({"configuration": {"maxInactiveRevisions": 5}})
    app = await held.properties("containerApps/web")
    assert (app["provisioningState"], "deploymentErrors" in app) == ("Succeeded", False)


async def test_a_write_that_makes_no_revision_is_not_held(held: Any) -> None:
    """Only the operation that made the revision waits for its image."""
    held.advance(900)
    await held.patch({"configuration": {"maxInactiveRevisions": 5}})
    assert (await held.properties("containerApps/web"))["provisioningState"] == "Succeeded"


async def test_a_delete_does_not_wait_for_the_image(held: Any) -> None:
    """It pre-empts the operation that is held."""
    assert (await held.ask("DELETE", "containerApps/web")).status == 202
    held.advance(60)
    assert (await held.ask("GET", "containerApps/web")).status == 404


async def test_a_slow_pull_holds_nothing(azure: Any, app_body: Any) -> None:
    """The operation is over in its usual time, the revision comes later."""
    azure.local.server.scenario.play(Rule("pull-takes", seconds=300.0))
    await azure.put(app_body())
    assert (await azure.properties("containerApps/web"))["provisioningState"] == "Succeeded"
    azure.advance(280)
    assert (await azure.triples())[0][3] == "Activating"
    azure.advance(30)
    assert (await azure.triples())[0][3] == "Running"
