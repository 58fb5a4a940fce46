"""A restarted server goes on where the stopped one was."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local_azure import clock

GROUP = "/resourceGroups/rg/providers/Microsoft.App"
APP = f"{GROUP}/containerApps/web"


def app(subscription: str, *, image: str) -> dict[str, Any]:
    environment = f"/subscriptions/{subscription}{GROUP}/managedEnvironments/env"
    template = {"containers": [{"name": "web", "image": image}]}
    ingress = {"external": True, "targetPort": 80}
    return {
        "location": "westus3",
        "properties": {"environmentId": environment, "configuration": {"ingress": ingress}, "template": template},
    }


async def made(local: Any, arm: Any, *, time: clock.ManualClock) -> None:
    """A group, an environment and an app whose first revision runs."""
    await arm("PUT", "/resourcegroups/rg", {"location": "westus3"})
    await arm("PUT", f"{GROUP}/managedEnvironments/env", {"location": "westus3", "properties": {}})
    time.advance(104)
    await arm("PUT", APP, app(local.subscription, image="a"))
    time.advance(20)


async def test_running_revisions_run_again_and_operations_end(state: Path, serve: Any, plain: Any) -> None:
    """Stopped in the middle of an update: the old revision serves again, the new one is made and takes over."""
    time = clock.ManualClock(datetime.now(UTC))
    async with serve(state, time) as local, plain(local) as arm:
        await made(local, arm, time=time)
        first = (await arm("GET", APP)).body["properties"]["latestReadyRevisionName"]
        await arm("PATCH", APP, {"properties": app(local.subscription, image="b")["properties"]})
        time.advance(3)
    async with serve(state, time) as local, plain(local) as arm:
        time.advance(2)
        site = local.server._apps.site("web.env.localhost")
        assert [target.key for target in site.targets] == [first]
        assert local.server._runtime.replicas(first)
        assert (await arm("GET", APP)).body["properties"]["provisioningState"] == "InProgress"
        time.advance(30)
        properties = (await arm("GET", APP)).body["properties"]
        revisions = (await arm("GET", f"{APP}/revisions")).body["value"]
        assert (properties["provisioningState"], properties["latestReadyRevisionName"]) == ("Succeeded", "web--0000001")
        assert [(item["properties"]["active"], item["properties"]["runningState"]) for item in revisions] == [
            (False, "Stopped"),
            (True, "Running"),
        ]


async def test_a_revision_caught_stopping_is_stopped(state: Path, serve: Any, plain: Any) -> None:
    """Its processes ended with the server; it doesn't come back."""
    time = clock.ManualClock(datetime.now(UTC))
    async with serve(state, time) as local, plain(local) as arm:
        await made(local, arm, time=time)
        name = (await arm("GET", APP)).body["properties"]["latestRevisionName"]
        await arm("POST", f"{APP}/revisions/{name}/deactivate")
    async with serve(state, time) as local, plain(local) as arm:
        revision = (await arm("GET", f"{APP}/revisions/{name}")).body["properties"]
        assert (revision["active"], revision["runningState"], revision["replicas"]) == (False, "Stopped", 0)
        assert local.server._runtime.replicas(name) == ()
