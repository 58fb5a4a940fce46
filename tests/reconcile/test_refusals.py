"""Where nothing may be written: each case ends Stalled with its reason, and not one write is sent."""

from __future__ import annotations

import pytest

from controller.cloud import azure
from controller.status import store
from infra.local_azure import faults
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment


async def refused(stack: Stack, *keys: store.Key) -> list[str]:
    """The reasons by which `keys` are Stalled; fails where anything is written meanwhile."""
    written = stack.writes()
    for _ in range(2):
        await stack.one_round()
    assert written == stack.writes()
    assert [stack.told(key)[0] for key in keys] == ["Stalled"] * len(keys)
    return [stack.told(key)[1] for key in keys]


async def test_another_owner_is_left_alone(built: Stack) -> None:
    """What another inventory's tag names is not touched, nor anything below it."""
    built.restart(inventory="two")
    storage = {**environment()["spec"]["storage"], "shareQuotaGiB": 2048}
    built.write(environment(storage=storage), app(scale={"minReplicas": 1, "maxReplicas": 2}))
    assert await refused(built, ENVIRONMENT, APP) == ["OwnedByOther", "OwnedByOther"]
    assert "one/Environment/gpu-west" in built.told(ENVIRONMENT)[2]
    assert built.status().history == ()


async def test_outside_of_the_guard_list(stack: Stack) -> None:
    """A group that isn't listed is not even created."""
    stack.restart(allow=("00000000-0000-0000-0000-000000000000/rg-two",))
    assert await refused(stack, ENVIRONMENT, APP) == ["Guarded", "Guarded"]


async def test_a_dedicated_gpu_profile_can_not_be_added(built: Stack) -> None:
    """The message names the profile and those that are there."""
    containerapps = environment()["spec"]["containerApps"]
    containerapps["workloadProfiles"].append({"name": "BIG", "type": "NC48-A100", "minimumCount": 0, "maximumCount": 1})
    built.write(environment(containerApps=containerapps), app())
    assert await refused(built, ENVIRONMENT) == ["ImmutableField"]
    message = built.told(ENVIRONMENT)[2]
    assert "BIG (NC48-A100)" in message
    assert "GPU (NC24-A100)" in message
    assert built.told(APP)[0] == "Ready"


async def test_an_unknown_subscription(stack: Stack) -> None:
    """Told as such, for the Environment and what stands on it."""
    stack.write(environment(subscriptionId="11111111-1111-1111-1111-111111111111"), app())
    assert await refused(stack, ENVIRONMENT, APP) == ["SubscriptionNotFound"] * 2


async def test_no_credentials(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to do, and a look is taken again, slowly."""
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    async with azure.Azure(stack.local.url) as cloud:
        stack.restart(cloud)
        assert await refused(stack, ENVIRONMENT, APP) == ["AuthenticationFailed"] * 2
    assert "az login" in stack.told()[2]
    assert stack.requeues[APP].kind == "slow"


async def test_a_reader_plans_without_keys(built: Stack) -> None:
    """Who may not list keys still sees the Environment as it is, and nothing is taken for a rotation. What can't be
    seen without them is told as such."""
    built.local.server.faults.rules.append(
        faults.Rule(r"/listKeys$", "POST", status=403, code="AuthorizationFailed", message="may not")
    )
    written = built.writes()
    await built.one_round()
    assert built.told(ENVIRONMENT)[0] == "Ready"
    assert built.told(APP)[:2] == ("Stalled", "Forbidden")
    assert "listKeys" in built.told(APP)[2]
    assert written == built.writes()


async def test_an_immutable_difference_shows_both_values(built: Stack) -> None:
    """Nothing is replaced."""
    built.write(environment(location="eastus"), app())
    assert await refused(built, ENVIRONMENT) == ["ImmutableField"]
    message = built.told(ENVIRONMENT)[2]
    assert "westus3" in message
    assert "eastus" in message
