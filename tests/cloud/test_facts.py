"""What a cloud offers, what is left of its quotas, which names are free, and providers that are registered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller.cloud import azure as adapter
from controller.cloud import port
from controller.model import outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from infra.local_azure import clock, server, settings
from tests.cloud import bodies

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub

SUBSCRIPTION = settings.SUBSCRIPTION


async def test_a_region_lists_its_profile_types(azure: adapter.Azure) -> None:
    """Dedicated ones with what they hold, the region in either form."""
    facts: port.Facts = azure
    for location in ("westus3", "West US 3"):
        types = {one.name: one.properties for one in await facts.profile_types(SUBSCRIPTION, location)}
        assert (types["D4"]["cores"], types["NC24-A100"]["gpus"]) == (4, 1)


async def test_usages_and_limits_are_told(azure: adapter.Azure, names: Names) -> None:
    """Of the subscription in a region, and of one environment; none of an environment that isn't there."""
    assert await azure.environment_usages(names.environment) == ()
    await bodies.make(azure, names)
    region = {one.body["name"]["value"]: one.body for one in await azure.usages(SUBSCRIPTION, "westus3")}
    own = {one.body["name"]["value"]: one.body for one in await azure.environment_usages(names.environment)}
    assert region["ManagedEnvironmentCount"]["currentValue"] == 1
    assert region["SubscriptionDedicatedNCA100Gpus"]["limit"] == settings.GPU_LIMIT
    assert own["ManagedEnvironmentConsumptionCores"]["currentValue"] == 0.5
    assert own["ManagedEnvironmentConsumptionT4Gpus"]["limit"] > 0


async def test_a_free_name_has_no_objection(azure: adapter.Azure, names: Names) -> None:
    """A taken or impossible one has the service's own; asking is no write."""
    assert await azure.name_available(SUBSCRIPTION, "accountone") is None
    await azure.create(Kind.GROUP, names.group, bodies.WEST)
    await azure.create(Kind.ACCOUNT, names.account, bodies.ACCOUNT)
    before = azure.writes.arm
    assert "already taken" in str(await azure.name_available(SUBSCRIPTION, "accountone"))
    assert "lower-case" in str(await azure.name_available(SUBSCRIPTION, "Account_One"))
    assert azure.writes.arm == before


async def test_a_refusal_without_words_is_still_one(stub: Stub, stubbed: adapter.Azure) -> None:
    """The reason stands in for a missing message."""
    stub.answer(200, {"nameAvailable": False, "reason": "AlreadyExists"})
    assert await stubbed.name_available(SUBSCRIPTION, "accountone") == "AlreadyExists"


@pytest.fixture
async def fresh(tmp_path: Path, signed_in: Callable[..., None]) -> AsyncIterator[adapter.Azure]:
    """A subscription that never used Container Apps."""
    configured = settings.Settings(tmp_path, port=0, processes=False, unregistered=("Microsoft.App",))
    async with server.Server(configured, clock.ScaledClock(0)) as started:
        identity = started.identity
        signed_in(started.ca, identity.tenant, identity.client_id, identity.client_secret)
        async with adapter.Azure(started.url) as cloud:
            yield cloud


async def test_a_provider_is_registered_by_one_write(fresh: adapter.Azure, names: Names) -> None:
    """What wasn't registered is told as such, then registered, and then it can be written."""
    await fresh.create(Kind.GROUP, names.group, bodies.WEST)
    with pytest.raises(outcome.OutcomeError) as raised:
        await fresh.create(Kind.ENVIRONMENT, names.environment, bodies.ENVIRONMENT)
    judged = raised.value.outcome
    assert isinstance(judged, outcome.Stalled)
    assert (judged.reason, judged.slowly) == (Reason.NOT_REGISTERED, True)
    before = fresh.writes.arm
    await fresh.register("Microsoft.App", SUBSCRIPTION)
    assert fresh.writes.arm == before + 1
    await fresh.create(Kind.ENVIRONMENT, names.environment, bodies.ENVIRONMENT)
    assert await fresh.read(Kind.ENVIRONMENT, names.environment) is not None
