"""A subscription that never used a resource provider: it is registered by the first write that needs it."""

from __future__ import annotations

from infra.local_azure.faults import Rule
from tests.reconcile.stack import ENVIRONMENT, Stack

MISSING = {
    "status": 409,
    "code": "MissingSubscriptionRegistration",
    "message": "The subscription is not registered to use namespace 'Microsoft.App'.",
}


async def test_the_provider_is_registered_once(stack: Stack) -> None:
    """One request to register, said in the status; the write is repeated, and all is built."""
    stack.local.server.faults.rules.append(Rule("/managedenvironments/", "PUT", times=1, **MISSING))
    for _ in range(6):
        await stack.one_pass(ENVIRONMENT)
        if stack.told(ENVIRONMENT)[1] == "Registering":
            break
    kind, _, message = stack.told(ENVIRONMENT)
    assert kind == "Reconciling"
    assert "the resource provider Microsoft.App is being registered in subscription 00000000-" in message
    await stack.converge()
    asked = [path for method, path in stack.writes() if method == "POST" and path.endswith("/register")]
    asked += [each.path for each in stack.local.requests if each.path.lower().endswith("/register")]
    assert {path.lower() for path in asked} == {
        "/subscriptions/00000000-0000-0000-0000-000000000000/providers/microsoft.app/register"
    }


async def test_one_that_may_not_register_says_what_is_needed(stack: Stack) -> None:
    """Stalled with the permission; looked at again slowly."""
    rules = stack.local.server.faults.rules
    rules.append(Rule("/managedenvironments/", "PUT", **MISSING))
    denied = (
        "The client 'x' does not have authorization to perform action 'Microsoft.App/register/action' over scope '/s'"
    )
    rules.append(Rule("/register$", "POST", status=403, code="AuthorizationFailed", message=denied))
    for _ in range(6):
        await stack.one_pass(ENVIRONMENT)
    kind, reason, message = stack.told(ENVIRONMENT)
    assert (kind, reason) == ("Stalled", "Forbidden")
    assert "may not do 'Microsoft.App/register/action'" in message
