"""Resource providers that a subscription must register before it can write their resources."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local_azure import clock

PROVIDER = "/providers/Microsoft.App"
ENVIRONMENT = f"/resourceGroups/rg{PROVIDER}/managedEnvironments/env"
BODY = {"location": "westus3", "properties": {}}


@pytest.fixture
async def fresh(state: Path, serve: Any) -> AsyncIterator[Any]:
    time = clock.ManualClock(datetime.now(UTC))
    async with serve(state, time, unregistered=("Microsoft.App",)) as local:
        yield local


@pytest.fixture
async def ask(fresh: Any, plain: Any) -> AsyncIterator[Any]:
    async with plain(fresh) as arm:
        await arm("PUT", "/resourcegroups/rg", {"location": "westus3"})
        yield arm


@pytest.fixture
def provider(fresh: Any) -> str:
    return f"/subscriptions/{fresh.subscription}{PROVIDER}"


async def test_a_write_of_an_unregistered_provider_is_refused(ask: Any) -> None:
    """409 with ARM's words (documented); reads are answered (assumed), and other providers aren't concerned."""
    refused = await ask("PUT", ENVIRONMENT.replace("Microsoft.App", "microsoft.app"), BODY)
    assert (refused.status, refused.body["error"]) == (
        409,
        {
            "code": "MissingSubscriptionRegistration",
            "message": "The subscription is not registered to use namespace 'Microsoft.App'. "
            "See https://aka.ms/rps-not-found for how to register subscriptions.",
        },
    )
    assert (await ask("GET", ENVIRONMENT)).status == 404
    workspace = "/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/logs"
    assert (await ask("PUT", workspace, {"location": "westus3"})).status == 201


async def test_registering_takes_a_while(fresh: Any, ask: Any, provider: str) -> None:
    """NotRegistered, Registering, Registered (documented; 30 s are assumed); only then are writes taken (assumed)."""

    async def state() -> str:
        return str((await ask("GET", provider)).body["registrationState"])

    assert await state() == "NotRegistered"
    begun = await ask("POST", f"{provider}/register")
    assert (begun.status, begun.body["namespace"], begun.body["registrationState"]) == (
        200,
        "Microsoft.App",
        "Registering",
    )
    fresh.time.advance(29)
    assert (await state(), (await ask("PUT", ENVIRONMENT, BODY)).status) == ("Registering", 409)
    fresh.time.advance(1)
    assert (await state(), (await ask("PUT", ENVIRONMENT, BODY)).status) == ("Registered", 201)
    assert (await ask("POST", f"{provider}/register")).body["registrationState"] == "Registered"


async def test_a_registration_survives_a_restart(state: Path, serve: Any, plain: Any) -> None:
    """And without provisioning times it is done by the next read."""
    for method, path, expected in (("POST", f"{PROVIDER}/register", "Registering"), ("GET", PROVIDER, "Registered")):
        async with serve(state, clock.ScaledClock(0), unregistered=("Microsoft.App",)) as local, plain(local) as arm:
            assert (await arm(method, f"/subscriptions/{local.subscription}{path}")).body[
                "registrationState"
            ] == expected


async def test_an_unknown_provider_can_not_be_registered(ask: Any, provider: str) -> None:
    """Documented: InvalidResourceNamespace."""
    refused = await ask("POST", provider.replace("Microsoft.App", "Microsoft.Nothing") + "/register")
    assert (refused.status, refused.body["error"]["code"]) == (404, "InvalidResourceNamespace")
