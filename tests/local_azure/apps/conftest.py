"""A resource group with an environment and a share behind an environment storage, and requests for apps in it.

- `azure`: on a clock that stands still (`azure.advance(seconds)`), the environment already provisioned.
- `app_body`: a request for an app; keyword arguments replace parts of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

GROUP = "/resourceGroups/rg"
APP = f"{GROUP}/providers/Microsoft.App"
ENVIRONMENT = f"{APP}/managedEnvironments/env"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/account1"


@dataclass(frozen=True)
class Azure:
    """Plain requests, by short paths, on a clock that the test moves."""

    arm: Any
    local: Any

    def advance(self, seconds: float) -> None:
        self.local.time.advance(seconds)

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """A request below the provider: `containerApps/web/revisions`, `managedEnvironments/env`."""
        return await self.arm(method, f"{APP}/{path}", body, **query)

    async def everywhere(self, path: str) -> Any:
        """A GET below the provider of the subscription."""
        return await self.arm("GET", f"/subscriptions/{self.local.subscription}/providers/Microsoft.App/{path}")

    async def properties(self, path: str) -> dict[str, Any]:
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer
        return dict(answer.body["properties"])

    async def revisions(self, app: str = "web") -> list[dict[str, Any]]:
        answer = await self.ask("GET", f"containerApps/{app}/revisions")
        return [{"name": item["name"], **item["properties"]} for item in answer.body["value"]]

    async def triples(self, app: str = "web") -> list[tuple[Any, ...]]:
        """(active, provisioningState, healthState, runningState, replicas) of each revision, oldest first."""
        names = ("active", "provisioningState", "healthState", "runningState", "replicas")
        return [tuple(item[name] for name in names) for item in await self.revisions(app)]

    async def put(self, body: dict[str, Any], app: str = "web") -> Any:
        """A PUT carried to its end; returns the PUT's answer."""
        answer = await self.ask("PUT", f"containerApps/{app}", body)
        self.advance(12)
        return answer

    async def patch(self, properties: dict[str, Any], app: str = "web") -> Any:
        answer = await self.ask("PATCH", f"containerApps/{app}", {"properties": properties})
        self.advance(15)
        return answer


def environment_id(subscription: str) -> str:
    return f"/subscriptions/{subscription}{ENVIRONMENT}"


async def prepare(arm: Any) -> None:
    """The group and the environment, whose operation is begun and not carried to its end."""
    assert (await arm("PUT", "/resourcegroups/rg", {"location": "westus3"})).status == 201
    profiles = [
        {"name": "Consumption", "workloadProfileType": "Consumption"},
        {"name": "gpu", "workloadProfileType": "NC24-A100", "minimumCount": 0, "maximumCount": 2},
        {"name": "t4", "workloadProfileType": "Consumption-GPU-NC8as-T4"},
    ]
    body = {"location": "westus3", "properties": {"workloadProfiles": profiles}}
    assert (await arm("PUT", ENVIRONMENT, body)).status == 201


@pytest.fixture
async def azure(slow: Any, slow_arm: Any) -> Azure:
    await prepare(slow_arm)
    slow.time.advance(104)
    return Azure(slow_arm, slow)


@pytest.fixture
async def storage(azure: Azure) -> str:
    """An account with a share; returns the account's first key."""
    account = {"location": "westus3", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    await azure.arm("PUT", ACCOUNT, account)
    azure.advance(60)
    share = f"{ACCOUNT}/fileServices/default/shares/models"
    assert (await azure.arm("PUT", share, {"properties": {"shareQuota": 5}})).status == 201
    keys = await azure.arm("POST", f"{ACCOUNT}/listKeys")
    return str(keys.body["keys"][0]["value"])


@pytest.fixture
def app_body(request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    local = request.getfixturevalue("slow" if "slow" in request.fixturenames else "local")

    def build(
        *,
        template: dict[str, Any] | None = None,
        configuration: dict[str, Any] | None = None,
        environment: str = environment_id(local.subscription),
        env: dict[str, str] | None = None,
        **properties: Any,
    ) -> dict[str, Any]:
        container: dict[str, Any] = {"name": "web", "image": "docker.io/library/python:3.12"}
        if env:
            container["env"] = [{"name": name, "value": value} for name, value in env.items()]
        return {
            "location": "westus3",
            "properties": {
                "environmentId": environment,
                "configuration": {"ingress": {"external": True, "targetPort": 8000}, **(configuration or {})},
                "template": {"containers": [container], **(template or {})},
                **properties,
            },
        }

    return build
