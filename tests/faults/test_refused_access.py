"""Access is refused for a while: told with a remedy, looked at slowly, and healed without a change."""

from __future__ import annotations

from infra.local_azure.faults import Rule
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

DENIED = (
    "The client 'x' with object id 'y' does not have authorization to perform action "
    "'Microsoft.App/containerApps/write' over scope '/subscriptions/s/resourceGroups/rg-one' or the scope is invalid."
)


async def test_a_403_on_a_write(built: Stack, faults: list[Rule]) -> None:
    """Stalled with the missing action; a slow look finds the role granted."""
    faults.append(Rule("/containerapps/chat$", "PATCH", status=403, code="AuthorizationFailed", message=DENIED))
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    await built.one_pass(APP)
    kind, reason, message = built.told()
    assert (kind, reason) == ("Stalled", "Forbidden")
    assert "may not do 'Microsoft.App/containerApps/write'" in message
    assert built.requeues[APP].after == 600.0
    assert built.told(ENVIRONMENT)[0] == "Ready"
    faults.clear()
    await built.converge()


async def test_a_refused_token_is_asked_for_anew(built: Stack, faults: list[Rule]) -> None:
    """A 401 drops the token: the next pass gets a fresh one and is fine."""
    tokens = sum(each.path.endswith("/oauth2/v2.0/token") for each in built.local.requests)
    faults.append(Rule("/subscriptions/", status=401, code="ExpiredAuthenticationToken", message="expired", times=1))
    await built.one_pass(APP)
    assert built.told()[:2] == ("Reconciling", "AuthenticationFailed")
    await built.one_pass(APP)
    assert built.told()[0] == "Ready"
    assert sum(each.path.endswith("/oauth2/v2.0/token") for each in built.local.requests) == tokens + 1


async def test_a_token_service_that_is_away(stack: Stack, faults: list[Rule]) -> None:
    """A failure that passes, not a refusal."""
    faults.append(Rule("/oauth2/v2.0/token$", status=503, times=1))
    await stack.one_pass(ENVIRONMENT)
    assert stack.told(ENVIRONMENT)[0] == "Reconciling"
    assert stack.requeues[ENVIRONMENT].kind == "backoff"
    await stack.converge()
