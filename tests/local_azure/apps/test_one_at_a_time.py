"""An environment and its apps: one operation at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from infra.local_azure import clock

GROUP = "/resourceGroups/rg"
APP = f"{GROUP}/providers/Microsoft.App"
ENVIRONMENT = f"{APP}/managedEnvironments/env"


async def test_an_environment_takes_one_operation_at_a_time(azure: Any, app_body: Any) -> None:
    """An app isn't written while another is in progress, nor is the environment; afterwards they are (public reports;
    the words are assumed)."""
    await azure.put(app_body(), app="other")
    await azure.ask("PUT", "containerApps/web", app_body())
    for method, path, body in (
        ("PUT", "containerApps/third", app_body()),
        ("PATCH", "containerApps/other", {"tags": {"a": "b"}}),
        ("DELETE", "containerApps/other", None),
        ("POST", "containerApps/other/stop", None),
        ("PATCH", "managedEnvironments/env", {"tags": {"a": "b"}}),
        ("PUT", "managedEnvironments/env", {"location": "westus3", "properties": {}, "tags": {"a": "b"}}),
    ):
        if path.endswith("/env") and method == "PUT":
            body["properties"]["workloadProfiles"] = (await azure.properties(path))["workloadProfiles"]
        answer = await azure.ask(method, path, body)
        code = answer.body["error"]["code"]
        assert (answer.status, code, path) == (409, "ManagedEnvironmentOperationInProgress", path)
    azure.advance(12)
    assert (await azure.ask("PATCH", "containerApps/other", {"tags": {"a": "b"}})).status == 202


async def test_apps_side_by_side_where_the_settings_say_so(state: Any, serve: Any, plain: Any) -> None:
    """As Azure mostly does."""
    time = clock.ManualClock(datetime.now(UTC))
    async with serve(state, time, one_at_a_time=False) as local, plain(local) as arm:
        await arm("PUT", "/resourcegroups/rg", {"location": "westus3"})
        await arm("PUT", ENVIRONMENT, {"location": "westus3", "properties": {}})
        time.advance(104)
        template = {"containers": [{"name": "web", "image": "x"}]}
        properties = {"environmentId": f"/subscriptions/{local.subscription}{ENVIRONMENT}", "template": template}
        for name in ("one", "two"):
            body = {"location": "westus3", "properties": properties}
            assert (await arm("PUT", f"{APP}/containerApps/{name}", body)).status == 201
