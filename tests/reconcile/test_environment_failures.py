"""An update of the managed environment fails, though it was answered with 200: what is told, and how it heals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from infra.local_azure.faults import Rule
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

T4 = {"name": "t4", "type": "Consumption-GPU-NC8as-T4"}


def with_t4() -> dict[str, object]:
    spec = environment()["spec"]["containerApps"]
    return environment(containerApps={**spec, "workloadProfiles": [*spec["workloadProfiles"], T4]})


async def test_a_profile_that_could_not_be_added(built: Stack) -> None:
    """Stalled with the service's words; apps go on; it is sent again after ten minutes, not before, and heals."""
    built.local.server.faults.rules.append(Rule("/managedenvironments/env-one$", "PATCH", does="failed", times=1))
    built.write(with_t4(), app())
    await built.settle()
    kind, reason, message = built.told(ENVIRONMENT)
    assert (kind, reason) == ("Stalled", "ProvisioningFailed")
    assert "ManagedEnvironmentUpgradeError" in message

    (built.code / "app.py").write_text("print('two')\n")
    await built.settle()
    assert built.told(APP)[0] == "Ready"
    assert len(await built.revisions()) == 2

    since = len(built.writes())
    await built.one_round()
    assert len(built.writes()) == since
    built.restart(now=lambda: datetime.now(UTC) + timedelta(minutes=11))
    await built.converge()
    assert [method for method, path in built.writes()[since:] if path.endswith("/env-one")] == ["PATCH"]
    live = await built.arm("GET", built.ids.environment)
    assert {one["name"] for one in live["properties"]["workloadProfiles"]} == {"Consumption", "GPU", "t4"}


async def test_a_dedicated_profile_cannot_be_added(built: Stack) -> None:
    """Refused before anything is sent, naming what there is; the apps aren't touched."""
    spec = environment()["spec"]["containerApps"]
    more = {"name": "BIG", "type": "NC48-A100", "minimumCount": 0, "maximumCount": 1}
    built.write(environment(containerApps={**spec, "workloadProfiles": [*spec["workloadProfiles"], more]}), app())
    since = len(built.writes())
    await built.settle()
    kind, reason, message = built.told(ENVIRONMENT)
    assert (kind, reason) == ("Stalled", "ImmutableField")
    assert "BIG (NC48-A100)" in message
    assert "GPU (NC24-A100)" in message
    assert len(built.writes()) == since
    assert built.told(APP)[0] == "Ready"
