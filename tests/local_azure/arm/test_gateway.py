"""What ARM does in front of every provider."""

from __future__ import annotations

import pytest

from infra.local_azure import wire
from infra.local_azure.arm import gateway

GROUP = "/resourcegroups/lab"
ACCOUNTS = f"{GROUP}/providers/Microsoft.Storage/storageAccounts"
OTHER = "/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/lab"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", OTHER, 404, "SubscriptionNotFound"),
        ("GET", "/subscriptions/mine/resourcegroups/lab", 400, "InvalidSubscriptionId"),
        ("GET", "/resourcegroups/none", 404, "ResourceGroupNotFound"),
        ("DELETE", "/resourcegroups/none/providers/Microsoft.Storage/storageAccounts/x", 404, "ResourceGroupNotFound"),
        ("GET", f"{GROUP}/providers/Microsoft.Nothing/things/x", 404, "InvalidResourceNamespace"),
        ("GET", f"{GROUP}/providers/Microsoft.Storage/things/x", 404, "InvalidResourceType"),
        ("DELETE", ACCOUNTS, 405, "MethodNotAllowed"),
        ("GET", f"{ACCOUNTS}/x/unheard/of/segments", 404, "HttpResourceNotFound"),
    ],
)
async def test_a_path_that_leads_nowhere_says_why(arm, method, path, status, code) -> None:
    """The refusals are the gateway's own, in ARM's envelope."""
    await arm("PUT", GROUP, {"location": "westus3"})
    answer = await arm(method, path)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert answer.body["error"]["message"]


async def test_an_api_version_is_required_and_any_is_taken(arm) -> None:
    """Its form is checked, not its value."""
    missing = await arm("GET", "/subscriptions", api=None)
    wrong = await arm("GET", "/subscriptions", api="latest")
    assert missing.body["error"]["code"] == "MissingApiVersionParameter"
    assert wrong.body["error"]["code"] == "InvalidApiVersionParameter"
    assert (await arm("GET", "/subscriptions", api="1999-01-01-preview")).status == 200


@pytest.mark.parametrize("body", ["{", '["location"]', '{"tags": {"a": 1}}', '{"location": "x", "tags": []}'])
async def test_a_body_that_is_no_json_object_is_refused(arm, body) -> None:
    """Before the provider sees it."""
    answer = await arm("PUT", GROUP, body)
    assert (answer.status, answer.body["error"]["code"]) == (400, "InvalidRequestContent")


async def test_paths_match_in_any_case_and_with_a_trailing_slash(arm) -> None:
    """Clients mix resourcegroups and resourceGroups."""
    await arm("PUT", "/resourceGroups/Lab/", {"location": "westus3"})
    answer = await arm("GET", "/RESOURCEGROUPS/lab")
    assert (answer.status, answer.body["name"]) == (200, "Lab")


async def test_answers_carry_ids_and_what_is_left(arm) -> None:
    """Errors that the gateway makes say so and tell no limits."""
    await arm("PUT", GROUP, {"location": "westus3"})
    good = await arm("GET", GROUP)
    bad = await arm("GET", "/resourcegroups/none")
    keys = await arm("POST", f"{ACCOUNTS}/none/listKeys")
    assert {"x-ms-request-id", "x-ms-correlation-request-id", "x-ms-routing-request-id"} <= set(
        map(str.lower, good.headers)
    )
    assert int(good.headers["x-ms-ratelimit-remaining-subscription-global-reads"]) == 16499
    assert "x-ms-failure-cause" not in good.headers
    assert bad.headers["x-ms-failure-cause"] == "gateway"
    assert not [name for name in bad.headers if "ratelimit" in name.lower()]
    assert keys.status == 404


async def test_a_subscription_lists_itself_its_regions_and_its_providers(arm, clients, local) -> None:
    """Every provider is registered, so the SDK never registers one."""
    assert (await arm("GET", "/subscriptions")).body["value"][0]["tenantId"] == local.tenant
    regions = (await arm("GET", f"/subscriptions/{local.subscription}/locations")).body["value"]
    assert {"name": "westus3", "displayName": "West US 3"}.items() <= regions[4].items()
    for name in ("Microsoft.App", "Microsoft.Storage", "Microsoft.OperationalInsights"):
        assert (await clients.resources.providers.get(name)).registration_state == "Registered"
        assert (await clients.resources.providers.register(name)).registration_state == "Registered"


class TestBearer:
    """Who may ask ARM at all."""

    async def test_no_token_is_a_401_with_a_challenge(self, arm, local) -> None:
        """The challenge names the tenant's authority."""
        answer = await arm("GET", "/subscriptions", token=None)
        assert (answer.status, answer.body["error"]["code"]) == (401, "AuthenticationFailed")
        assert (
            f'Bearer authorization_uri="https://login.windows.net/{local.tenant}"'
            in (answer.headers["WWW-Authenticate"])
        )

    async def test_a_token_of_somebody_else_is_refused(self, arm, local) -> None:
        """A token whose signature isn't ours is no token."""
        token = local.server._entra.issue(local.url)
        answer = await arm("GET", "/subscriptions", token=token[:-4] + "AAAA")
        assert (answer.status, answer.body["error"]["code"]) == (401, "InvalidAuthenticationToken")
        assert (await arm("GET", "/subscriptions", token="x")).status == 401

    async def test_a_token_for_another_service_is_refused(self, arm, local) -> None:
        """A storage token doesn't open ARM; one for the public cloud's name does."""
        storage = local.server._entra.issue("https://storage.azure.com")
        public = local.server._entra.issue("https://management.azure.com/")
        refused = await arm("GET", "/subscriptions", token=storage)
        assert (refused.status, refused.body["error"]["code"]) == (401, "InvalidAuthenticationTokenAudience")
        assert (await arm("GET", "/subscriptions", token=public)).status == 200

    async def test_a_token_ends(self, slow_arm, slow) -> None:
        """After an hour."""
        assert (await slow_arm("GET", "/subscriptions")).status == 200
        slow.time.advance(3600)
        answer = await slow_arm("GET", "/subscriptions")
        assert (answer.status, answer.body["error"]["code"]) == (401, "ExpiredAuthenticationToken")


async def test_a_handlers_own_failure_is_a_500(local, session, caplog) -> None:
    """The client learns nothing of it; the log does."""

    async def broken(call: wire.Call) -> wire.Reply:
        raise RuntimeError("secret detail")

    server = local.server
    server._gateway = gateway.Gateway(
        [wire.Route("GET", "/subscriptions", broken)],
        time=local.time,
        authority=server._entra,
        throttle=server._throttle,
        subscriptions=[local.subscription],
        registration=lambda subscription, namespace: "Registered",
        group_state=lambda subscription, group: None,
    )
    headers = {"Authorization": f"Bearer {server._entra.issue(local.url)}"}
    async with (
        session(local) as asking,
        asking.get(f"{local.url}/subscriptions?api-version=2025-06-01", headers=headers) as answer,
    ):
        assert answer.status == 500
        assert "secret" not in await answer.text()
    assert "secret detail" in caplog.text
