"""The token service, asked by the real credentials and by hand."""

from __future__ import annotations

import time

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import (
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from infra.local_azure import clock

SCOPE = "https://management.azure.com/.default"


async def _ask(session, local, tenant=None, **change):
    form = {
        "grant_type": "client_credentials",
        "client_id": local.client_id,
        "client_secret": local.client_secret,
        "scope": SCOPE,
        **change,
    }
    url = f"{local.url}/{tenant or local.tenant}/oauth2/v2.0/token"
    sent = {name: value for name, value in form.items() if value is not None}
    async with session(local) as asking, asking.post(url, data=sent) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("change", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": None}, 401, "invalid_client", 7000218),
        ({"client_id": "11111111-1111-1111-1111-111111111111"}, 400, "unauthorized_client", 700016),
        ({"tenant": "11111111-1111-1111-1111-111111111111"}, 400, "invalid_request", 90002),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"scope": None}, 400, "invalid_request", 900144),
        ({"scope": "https://management.azure.com/user"}, 400, "invalid_scope", 1002012),
    ],
)
async def test_a_wrong_request_is_refused_by_number(local, session, change, status, error, number) -> None:
    """The description begins with the AADSTS number that people search for."""
    answer = await _ask(session, local, **change)
    assert (answer[0], answer[1]["error"], answer[1]["error_codes"]) == (status, error, [number])
    assert answer[1]["error_description"].startswith(f"AADSTS{number}: ")


async def test_a_wrong_secret_fails_in_the_sdk(local, session) -> None:
    """With the number in the message."""
    async with (
        session(local) as asking,
        ClientSecretCredential(
            local.tenant,
            local.client_id,
            "wrong",
            authority=local.url,
            transport=AioHttpTransport(session=asking, session_owner=False),
        ) as credential,
    ):
        with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
            await credential.get_token(SCOPE)


async def test_the_default_credential_works_from_the_environment(local, session, arm, monkeypatch) -> None:
    """As acaops uses it; the token opens ARM."""
    for name, value in {
        "AZURE_TENANT_ID": local.tenant,
        "AZURE_CLIENT_ID": local.client_id,
        "AZURE_CLIENT_SECRET": local.client_secret,
        "AZURE_AUTHORITY_HOST": local.url,
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
    }.items():
        monkeypatch.setenv(name, value)
    async with session(local) as asking:
        transport = AioHttpTransport(session=asking, session_owner=False)
        async with DefaultAzureCredential(transport=transport) as credential:
            token = await credential.get_token(SCOPE)
    assert token.expires_on > time.time() + 3000
    assert (await arm("GET", "/subscriptions", token=token.token)).status == 200


async def test_a_workload_s_assertion_is_taken(local, session, arm, tmp_path) -> None:
    """The federated token of a pipeline, in place of a secret."""
    (tmp_path / "token").write_text("header.claims.signature\n")
    async with (
        session(local) as asking,
        WorkloadIdentityCredential(
            tenant_id=local.tenant,
            client_id=local.client_id,
            token_file_path=str(tmp_path / "token"),
            authority=local.url,
            transport=AioHttpTransport(session=asking, session_owner=False),
        ) as credential,
    ):
        token = await credential.get_token(SCOPE)
    assert (await arm("GET", "/subscriptions", token=token.token)).status == 200


@pytest.mark.parametrize(
    "selector", [{}, {"client_id": "own"}, {"identity_config": {"resource_id": "/x/userAssignedIdentities/y"}}]
)
async def test_a_managed_identity_gets_a_token_over_plain_http(local, arm, monkeypatch, selector) -> None:
    """By client id, by resource id or by neither."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{local.server.port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", local.server.identity.identity_header)
    if "client_id" in selector:
        selector = {"client_id": local.client_id}
    async with ManagedIdentityCredential(**selector) as credential:
        token = await credential.get_token(SCOPE)
    assert (await arm("GET", "/subscriptions", token=token.token)).status == 200


@pytest.mark.parametrize(("header", "client"), [("wrong", None), (None, "22222222-2222-2222-2222-222222222222")])
async def test_a_managed_identity_that_is_none_is_refused(local, session, header, client) -> None:
    """A wrong header or an unknown identity."""
    headers = {"X-IDENTITY-HEADER": header or local.server.identity.identity_header}
    params = {"resource": "https://management.azure.com", "api-version": "2019-08-01"}
    if client:
        params["client_id"] = client
    url = f"http://127.0.0.1:{local.server.port}/msi/token"
    async with session(local) as asking, asking.get(url, headers=headers, params=params) as answer:
        assert (answer.status, (await answer.json())["message"]) == (401, "No managed identity")


async def test_discovery_leads_to_the_token_endpoint(local, session) -> None:
    """For the tenant, for adfs and by way of instance discovery; not for a tenant that isn't."""
    async with session(local) as asking:

        async def read(path: str):
            async with asking.get(local.url + path) as answer:
                return answer.status, await answer.json()

        _, instance = await read("/common/discovery/instance?api-version=1.1")
        own = f"/{local.tenant}/v2.0/.well-known/openid-configuration"
        assert instance["tenant_discovery_endpoint"] == local.url + own
        assert (await read(own))[1]["token_endpoint"] == f"{local.url}/{local.tenant}/oauth2/v2.0/token"
        adfs = (await read("/adfs/.well-known/openid-configuration"))[1]
        assert adfs["token_endpoint"] == f"{local.url}/adfs/oauth2/v2.0/token"
        assert (await read("/nobody/v2.0/.well-known/openid-configuration"))[0] == 400


async def test_identity_and_tokens_survive_a_restart(state, serve, plain) -> None:
    """Clients keep tokens; a new server on the same state takes them."""
    async with serve(state, clock.ScaledClock(0)) as first:
        before = (first.tenant, first.client_id, first.client_secret)
        token = first.server._entra.issue("https://management.azure.com")
    async with serve(state, clock.ScaledClock(0)) as second, plain(second) as arm:
        assert (second.tenant, second.client_id, second.client_secret) == before
        assert (await arm("GET", "/subscriptions", token=token)).status == 200
    assert (state / "identity.json").stat().st_mode & 0o777 == 0o600
