"""Every request that goes over the wire is told, by what it is about and how it was answered, without a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from pydantic import SecretStr
from yarl import URL

from controller.cloud import arm, calls, files, session, share_calls
from controller.model import observed, outcome

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub

BUSY = {"error": {"code": "429", "message": "slow down"}}
FAST = share_calls.Pace(first=0.001, longest=0.002)


@dataclass
class Told:
    """What a session told, in order."""

    session: session.Session
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    throttled: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def heard(self, kind: str, method: str, code: str, *, seconds: float, throttled: bool) -> None:
        self.calls.append((kind, method, code))
        self.throttled.append(throttled)
        self.seconds.append(seconds)

    async def read(self, path: str) -> None:
        client = await self.session.apps(path.split("/")[2])
        await arm.get(client, path, host=self.session.host)


@pytest.fixture
async def told(stub: Stub) -> AsyncIterator[Told]:
    """Of a session that found its cloud and signed in."""
    made = Told(session.Session(stub.url))
    made.session.calls.listen(made.heard)
    yield made
    await made.session.close()


async def test_finding_the_cloud_and_signing_in_are_told_too(stub: Stub, told: Told, names: Names) -> None:
    """The first read is three requests; the second is one."""
    stub.answer(200, {"id": names.app})
    await told.read(names.app)
    await told.read(names.app)
    assert told.calls == [
        ("other", "GET", "200"),
        ("token", "POST", "200"),
        ("containerApps", "GET", "200"),
        ("containerApps", "GET", "200"),
    ]
    assert all(seconds > 0 for seconds in told.seconds)


async def test_a_refusal_is_told_by_its_status(stub: Stub, told: Told, names: Names) -> None:
    """429 is what ARM says when it is asked too much."""
    stub.answer(404, {"error": {"code": "ResourceNotFound", "message": "no"}})
    stub.answer(307, "", {"Location": f"{stub.url}/elsewhere"})
    stub.answer(503, {"error": {"code": "ServerBusy", "message": "no"}})
    stub.answer(429, BUSY)
    await told.read(names.app)
    for _ in range(3):
        with pytest.raises(outcome.OutcomeError):
            await told.read(names.app)
    assert [code for _, _, code in told.calls[2:]] == ["404", "307", "503", "429"]
    assert told.throttled[2:] == [False, False, False, True]


async def test_a_request_without_an_answer_is_an_error(stub: Stub, told: Told, names: Names) -> None:
    """A connection that breaks."""

    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    stub.answers.append(broken)
    with pytest.raises(outcome.OutcomeError):
        await told.read(names.app)
    assert told.calls[2:] == [("containerApps", "GET", "error")]


async def test_a_request_given_up_is_no_error(stub: Stub, told: Told, names: Names) -> None:
    """Nobody waited for the answer any more."""
    there, never = asyncio.Event(), asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        there.set()
        await never.wait()
        return web.Response()

    stub.answers.append(silent)
    reading = asyncio.create_task(told.read(names.app))
    await there.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert told.calls[2:] == [("containerApps", "GET", "cancelled")]


async def test_each_request_to_a_share_is_told(stub: Stub, told: Told) -> None:
    """Repeated ones too; there a 503 says that it was asked too much."""
    account = observed.Resource(
        {
            "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/accountone",
            "name": "accountone",
            "properties": {"provisioningState": "Succeeded", "primaryEndpoints": {"file": f"{stub.url}/accountone/"}},
        }
    )
    stub.answer(503, "", {"x-ms-error-code": "ServerBusy"})
    stub.answer(503, "", {"x-ms-error-code": "InternalError"})
    stub.answer(200, "hello", {"Content-Range": "bytes 0-4/5"})

    async def keys() -> tuple[SecretStr, ...]:
        return (SecretStr("a2V5"),)

    async with files.ShareSession(account, "s", keys=keys, transport=told.session.transport, pace=FAST) as share:
        assert await share.read("a/b.txt") == b"hello"
    assert [(kind, code) for kind, _, code in told.calls] == [("files", "503"), ("files", "503"), ("files", "200")]
    assert told.throttled == [True, False, False]


GROUP = "/subscriptions/s/resourceGroups/rg"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/token"
APP = f"{GROUP}/providers/Microsoft.App/containerApps/shares"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (GROUP, "resourceGroups"),
        ("/subscriptions/s/resourcegroups", "resourceGroups"),
        ("/subscriptions/s", "other"),
        (ACCOUNT, "storageAccounts"),
        (f"{ACCOUNT}/listKeys", "listKeys"),
        (f"{ACCOUNT}/fileServices/default", "fileServices"),
        (f"{ACCOUNT}/fileServices/default/shares/revisions", "shares"),
        (f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/logs/sharedKeys", "sharedKeys"),
        (f"{GROUP}/providers/Microsoft.App/managedEnvironments", "managedEnvironments"),
        ("/subscriptions/s/providers/Microsoft.App/containerApps", "containerApps"),
        (f"{GROUP}/providers/Microsoft.App/managedEnvironments/e/storages/s", "storages"),
        (APP, "containerApps"),
        (f"{APP}/revisions/r/replicas", "replicas"),
        (f"{APP}/revisions/r/", "revisions"),
        (f"{APP}/LISTSECRETS", "listSecrets"),
        (f"{APP}/revisions/r/restart", "restart"),
        (f"{APP}/secret-name", "other"),
        ("/subscriptions/s/providers/Microsoft.App/register", "register"),
        ("/subscriptions/s/providers/Microsoft.Storage/checkNameAvailability", "checkNameAvailability"),
        ("/subscriptions/s/providers/Microsoft.App/locations/westus3/usages", "usages"),
        (f"{GROUP}/providers/Microsoft.App/managedEnvironments/e/usages", "usages"),
        ("/tenant/oauth2/v2.0/token", "token"),
        ("/tenant/v2.0/.well-known/openid-configuration", "token"),
        ("/metadata/identity/oauth2/token", "token"),
        ("/msi/token", "token"),
        ("/metadata/endpoints", "other"),
        ("/accountone/share-one", "other"),
    ],
)
def test_a_path_says_what_a_request_is_about(path: str, kind: str) -> None:
    """The innermost type or the action, in one spelling; a word that isn't known could be a name."""
    assert kind == calls.kind_of(URL(f"https://azure.test{path}?api-version=1"), {})


def test_a_share_is_known_by_its_protocol() -> None:
    """Whatever its path is called."""
    assert (
        calls.kind_of(URL("https://azure.test/subscriptions/oauth2/token"), {"x-ms-version": "2026-10-06"}) == "files"
    )
