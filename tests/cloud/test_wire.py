"""What goes over the wire for one call: one request, ours, to the right host, with nothing said about secrets."""

from __future__ import annotations

import json
import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from controller.cloud import azure as adapter
from controller.model import kinds, outcome
from controller.model.conditions import Reason

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub

SECRET = "hunter2-very-secret-value"
BUSY = {"error": {"code": "InternalServerError", "message": "try later"}}


async def failed(call: Any) -> Any:
    """The outcome that `call` raises."""
    with pytest.raises(outcome.OutcomeError) as raised:
        await call
    return raised.value.outcome


async def test_a_500_is_one_request(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """Reads, writes and listKeys are sent once and the failure is handed up."""
    stub.answer(500, BUSY)
    calls = (
        stubbed.read(kinds.Kind.APP, names.app),
        stubbed.create(kinds.Kind.APP, names.app, {"location": "westus3"}),
        stubbed.update(kinds.Kind.ENVIRONMENT, names.environment, {"tags": {}}),
        stubbed.create(kinds.Kind.GROUP, names.group, {"location": "westus3"}),
        stubbed.account_keys(names.account),
    )
    for count, call in enumerate(calls, start=1):
        judged = await failed(call)
        assert judged == outcome.Transient(Reason.AZURE_ERROR, "try later (InternalServerError, HTTP 500)")
        assert count == len(stub.asked)


async def test_a_retry_after_is_handed_up_at_once(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """No policy of the SDK waits for it."""
    stub.answer(429, {"error": {"code": "429", "message": "slow down"}}, {"Retry-After": "60"})
    judged = await failed(stubbed.read(kinds.Kind.APP, names.app))
    assert (judged.after, len(stub.asked)) == (60.0, 1)


async def test_no_provider_is_registered(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """MissingSubscriptionRegistration is told, not acted on."""
    stub.answer(409, {"error": {"code": "MissingSubscriptionRegistration", "message": "not registered"}})
    judged = await failed(stubbed.create(kinds.Kind.APP, names.app, {"location": "westus3"}))
    assert isinstance(judged, outcome.Stalled)
    assert "az provider register" in judged.message
    assert [asked.method for asked in stub.asked] == ["PUT"]


async def test_redirects_are_not_followed(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A token goes where it is meant to go, and nowhere else."""
    stub.answer(307, "", {"Location": f"{stub.url}/elsewhere"})
    assert isinstance(await failed(stubbed.read(kinds.Kind.APP, names.app)), outcome.Stalled)
    assert len(stub.asked) == 1


async def test_a_next_page_elsewhere_is_refused(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A nextLink to another host gets no token."""
    stub.answer(200, {"value": [{"name": "one"}], "nextLink": "https://example.invalid/next"})
    judged = await failed(stubbed.revisions(names.app))
    assert "refused to send a token" in judged.message


async def test_pages_are_followed_to_the_end(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """Every revision of every page is there, oldest first."""
    first = {"name": "newer", "properties": {"createdTime": "2026-01-02T00:00:00+00:00"}}
    second = {"name": "older", "properties": {"createdTime": "2026-01-01T00:00:00+00:00"}}
    stub.answer(200, {"value": [first], "nextLink": f"{stub.url}/page?token=2&api-version=v"})
    stub.answer(200, {"value": [second]})
    assert [revision.name for revision in await stubbed.revisions(names.app)] == ["older", "newer"]
    assert stub.asked[1].query == {"token": "2", "api-version": "v"}


async def test_a_request_says_who_asks(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """User agent, request id, bearer token and the SDK's own api-version are on each request."""
    stub.answer(200, {"id": names.app})
    await stubbed.read(kinds.Kind.APP, names.app)
    (asked,) = stub.asked
    assert asked.headers["User-Agent"].startswith("acaops/")
    assert asked.headers["x-ms-client-request-id"]
    assert asked.headers["Authorization"] == "Bearer token"
    assert asked.query["api-version"] == "2026-07-01"


async def test_unknown_fields_survive_a_read(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """What the SDK's models don't know, such as deploymentErrors, is there."""
    body = {"id": names.app, "properties": {"deploymentErrors": "Operation expired", "new": [{"deep": None}]}}
    stub.answer(200, body)
    seen = await stubbed.read(kinds.Kind.APP, names.app)
    assert seen is not None
    assert body == seen.body


async def test_an_absent_resource_is_none_but_an_absent_subscription_is_an_error(
    stub: Stub, stubbed: adapter.Azure, names: Names
) -> None:
    """A 404 is a fact, unless it says that the subscription isn't there."""
    stub.answer(404, {"error": {"code": "ResourceNotFound", "message": "no"}})
    stub.answer(404, {"error": {"code": "SubscriptionNotFound", "message": "no"}})
    assert await stubbed.read(kinds.Kind.APP, names.app) is None
    assert (await failed(stubbed.read(kinds.Kind.APP, names.app))).reason == Reason.SUBSCRIPTION_NOT_FOUND


async def test_after_a_401_the_next_call_asks_for_a_token_anew(
    stub: Stub, stubbed: adapter.Azure, names: Names
) -> None:
    """A refused token isn't used again; the call itself isn't repeated."""
    stub.answer(401, {"error": {"code": "InvalidAuthenticationToken", "message": "expired"}})
    stub.answer(200, {"id": names.app})
    judged = await failed(stubbed.read(kinds.Kind.APP, names.app))
    assert isinstance(judged, outcome.Transient)
    assert judged.reason == Reason.AUTHENTICATION_FAILED
    assert await stubbed.read(kinds.Kind.APP, names.app) is not None
    assert (len(stub.asked), stub.tokens) == (2, 2)


async def test_secrets_are_revealed_on_the_wire_only(
    stub: Stub, stubbed: adapter.Azure, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    """The body carries the value; the caller's body, the log and the exception don't, whatever Azure quotes."""
    caplog.set_level(logging.DEBUG)
    stub.answer(400, {"error": {"code": "Invalid", "message": f"the value {SECRET} is bad"}})
    secrets = [{"name": "one", "value": SecretStr(SECRET)}]
    body = {"location": "westus3", "properties": {"configuration": {"secrets": secrets}}}
    with pytest.raises(outcome.OutcomeError) as raised:
        await stubbed.create(kinds.Kind.APP, names.app, body)
    sent = json.loads(stub.asked[0].body)
    assert sent["properties"]["configuration"]["secrets"] == [{"name": "one", "value": SECRET}]
    assert isinstance(secrets[0]["value"], SecretStr)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert SECRET not in caplog.text
    assert "client-secret-value" not in caplog.text


async def test_null_in_a_patch_is_sent(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A merge patch removes by null, so nulls reach the service."""
    stub.answer(202)
    await stubbed.update(kinds.Kind.APP, names.app, {"properties": {"template": {"revisionSuffix": None}}})
    assert json.loads(stub.asked[0].body) == {"properties": {"template": {"revisionSuffix": None}}}


async def test_an_answer_that_is_no_json_passes_by_itself(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A proxy's page in front of ARM is trouble, not a resource."""
    stub.answer(200, "<html>hello</html>")
    judged = await failed(stubbed.read(kinds.Kind.APP, names.app))
    assert judged == outcome.Transient(Reason.AZURE_ERROR, f"the answer of {stub.url[8:]} can't be read")
