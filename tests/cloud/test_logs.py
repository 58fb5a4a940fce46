"""What containers print: from a local Azure that runs them, and from one that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from controller.cloud import azure as adapter
from controller.cloud import gate, logs, shared
from controller.model import observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from infra.local_azure import clock, server, settings
from tests.cloud import bodies

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub

PATIENCE = 20.0
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
REVISION = "/revisions/app-one--1/replicas/app-one--1-5c9d-x2kqp"


@dataclass(frozen=True)
class Printing:
    """An app that prints, as the cloud shows it."""

    cloud: adapter.Azure
    server: server.Server
    app: observed.Resource
    revision: observed.Resource
    replica: observed.Resource

    @property
    def sent(self) -> list[str]:
        return [f"{one.method} {one.path.rpartition('/')[2]}" for one in self.server.requests]


@contextlib.asynccontextmanager
async def printing(
    script: str, state: Path, names: Names, sign_in: Callable[..., None], *, fence: gate.Fence | None = None
) -> AsyncIterator[Printing]:
    """A local Azure that runs `script` in a container called `app`."""
    async with server.Server(settings.Settings(state, port=0), clock.ScaledClock(0)) as started:
        identity = started.identity
        sign_in(started.ca, identity.tenant, identity.client_id, identity.client_secret)
        async with adapter.Azure(started.url) as cloud:
            await cloud.create(Kind.GROUP, names.group, bodies.WEST)
            await cloud.create(Kind.ENVIRONMENT, names.environment, bodies.ENVIRONMENT)
            container = {"name": "app", "image": "bash", "command": ["bash", "-c", script]}
            template = {"containers": [container], "scale": {"minReplicas": 1, "maxReplicas": 1}}
            properties = {"environmentId": names.environment, "template": template}
            await cloud.create(Kind.APP, names.app, {**bodies.WEST, "properties": properties})
            app, revision, replica = await _started(cloud, names)
            cloud.fence = fence
            yield Printing(cloud, started, app, revision, replica)


async def _started(
    cloud: adapter.Azure, names: Names
) -> tuple[observed.Resource, observed.Resource, observed.Resource]:
    async with asyncio.timeout(PATIENCE):
        while True:
            app = await cloud.read(Kind.APP, names.app)
            for revision in await cloud.revisions(names.app):
                for replica in await cloud.replicas(revision.id):
                    if app and replica.properties["containers"][0]["runningState"] == "Running":
                        return app, revision, replica
            await asyncio.sleep(0.05)


async def lines_until(one: Printing, wanted: str, *, tail: int) -> tuple[str, ...]:
    """The tail once it ends in `wanted`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await one.cloud.logs(one.app, one.replica, "app", tail=tail)
            if found and found[-1] == wanted:
                return found
            await asyncio.sleep(0.05)


def shut() -> None:
    raise outcome.OutcomeError(outcome.Waiting(Reason.NOT_LEADER, "another controller leads"))


async def test_the_last_lines(tmp_path: Path, names: Names, signed_in: Callable[..., None]) -> None:
    """Oldest first, without the two that speak of the connection; one token serves for all of it, and nothing is
    written: a controller that may write nothing may read."""
    script = "for i in 1 2 3; do echo line $i; done; echo '  indented'; sleep 60"
    async with printing(script, tmp_path / "azure", names, signed_in, fence=shut) as one:
        before = one.cloud.writes.arm
        await lines_until(one, "  indented", tail=300)
        since = len(one.sent)
        reads = shared.Shared(one.cloud)
        assert await one.cloud.logs(one.app, one.replica, "app", tail=2) == ("line 3", "  indented")
        assert await reads.logs(one.app, one.replica, "app", tail=1) == ("  indented",)
        assert await one.cloud.logs(one.app, one.replica, "app", tail=0) == ()
        assert (await one.cloud.logs(one.app, one.replica, "app", tail=9999))[-4:] == (
            "line 1",
            "line 2",
            "line 3",
            "  indented",
        )
        await reads.close()
        assert one.sent[since:] == ["GET logstream"] * 4
        assert one.sent.count("POST getAuthToken") == 1
        assert one.cloud.writes.arm == before


async def test_following_gives_each_line_until_the_replica_ends(
    tmp_path: Path, names: Names, signed_in: Callable[..., None]
) -> None:
    """In order and once."""
    script = "trap 'echo bye; exit' TERM; i=0; while true; do echo line $i; i=$((i+1)); sleep 0.05; done"
    async with printing(script, tmp_path / "azure", names, signed_in) as one:
        found: list[str] = []
        async with (
            asyncio.timeout(PATIENCE),
            contextlib.aclosing(shared.Shared(one.cloud).follow(one.app, one.replica, "app", tail=300)) as lines,
        ):
            async for line in lines:
                found.append(line)
                if line == "line 5":
                    await one.cloud.delete(Kind.APP, one.app.id)
        told = [line for line in found if line.startswith("line ")]
        assert told == [f"line {number}" for number in range(len(told))]
        assert found[-1] == "bye"


# A stream that misbehaves


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PAUSE", 0.0)


def app(names: Names) -> observed.Resource:
    # Recorded: in a list and in a GET an app's id has `containerapps` in lower case.
    return observed.Resource({"id": names.app.replace("containerApps", "containerapps"), "name": "app-one"})


def address(url: str, names: Names) -> str:
    return f"{url}{names.group}/containerApps/app-one{REVISION}/containers/app/logstream"


def replica(endpoint: str, names: Names) -> observed.Resource:
    container = {"name": "app", "logStreamEndpoint": endpoint}
    return observed.Resource(
        {"id": f"{names.app}{REVISION}", "name": "app-one--1-5c9d-x2kqp", "properties": {"containers": [container]}}
    )


def given(token: str = "stream-token", *, lasts: timedelta = timedelta(hours=1)) -> dict[str, Any]:
    """The answer of getAuthToken, as recorded: seven digits less their zeros."""
    expires = (datetime.now(UTC) + lasts).strftime("%Y-%m-%dT%H:%M:%S.85885Z")
    return {"location": "West US 3", "properties": {"token": token, "expires": expires}}


def stamped(*texts: str, second: int = 0) -> str:
    return "".join(
        json.dumps({"TimeStamp": f"2026-11-20T08:00:{second:02}.1234567", "Log": text}) + "\n" for text in texts
    )


HEADING = stamped("Connecting to the container 'app'...", "Successfully Connected to container: 'app'")


async def tail(cloud: adapter.Azure, stub: Stub, names: Names, *, endpoint: str | None = None) -> tuple[str, ...]:
    where = address(stub.url, names) if endpoint is None else endpoint
    return await cloud.logs(app(names), replica(where, names), "app", tail=20)


async def refused(cloud: adapter.Azure, stub: Stub, names: Names, *, endpoint: str | None = None) -> Any:
    with pytest.raises(outcome.OutcomeError) as raised:
        await tail(cloud, stub, names, endpoint=endpoint)
    assert "stream-token" not in str(raised.value)
    return raised.value.outcome


async def test_what_is_asked(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """The lines of that container, as JSON, with the app's token and no other."""
    stub.answer(200, given())
    stub.answer(200, HEADING + stamped("one"))
    assert await tail(stubbed, stub, names) == ("one",)
    asked, streamed = stub.asked
    assert (asked.method, asked.path) == ("POST", f"{app(names).id}/getAuthToken")
    assert (streamed.method, f"{stub.url}{streamed.path}") == ("GET", address(stub.url, names))
    assert dict(streamed.query) == {"follow": "false", "output": "json", "tailLines": "20"}
    assert streamed.headers["Authorization"] == "Bearer stream-token"


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "https://logs.example.com{path}",
        "https://westus3.azurecontainerapps.dev.example.com{path}",
        "https://evilazurecontainerapps.dev{path}",
        "https://westus3.azurecontainerapps.dev:8443{path}",
        "https://user@westus3.azurecontainerapps.dev{path}",
        "http://westus3.azurecontainerapps.dev{path}",
        "{arm}/subscriptions/other/logstream",
        "{arm}{group}/containerApps/app-one-more/logstream",
    ],
)
async def test_a_token_goes_to_no_other_host(stub: Stub, stubbed: adapter.Azure, names: Names, endpoint: str) -> None:
    """Whatever an answer names: Azure's stream hosts by https, or ARM's own, and of the app itself. It isn't even
    asked for."""
    where = endpoint.format(arm=stub.url, group=names.group, path=address("", names))
    told = await refused(stubbed, stub, names, endpoint=where)
    assert isinstance(told, outcome.Stalled)
    assert told.message.startswith("refused to send a token of app-one to ")
    assert stub.asked == []


@pytest.mark.parametrize("host", ["westus3.azurecontainerapps.dev", "northcentralusstage.azurecontainerapps.dev:443"])
def test_azures_stream_hosts_are_known(names: Names, host: str) -> None:
    """As recorded: one for each region."""
    endpoint = address(f"https://{host}", names)
    stream = logs.Stream(app(names), replica(endpoint, names), "app")
    assert stream.checked("https://management.azure.com") == endpoint


async def test_a_redirect_is_not_followed(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """It would lead the token away."""
    stub.answer(200, given())
    stub.answer(302, "", {"Location": f"{stub.url}/elsewhere"})
    told = await refused(stubbed, stub, names)
    assert isinstance(told, outcome.Stalled)
    assert len(stub.asked) == 2


async def test_a_token_that_has_run_out_is_asked_for_anew(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A minute before its end; and so is one that is refused before, since clocks differ."""
    for token, lasts in (("one", timedelta(seconds=30)), ("two", timedelta(hours=1))):
        stub.answer(200, given(token, lasts=lasts))
        stub.answer(200, stamped(token))
    stub.answer(401)
    stub.answer(200, given("three"))
    stub.answer(200, stamped("three"))
    assert [await tail(stubbed, stub, names) for _ in range(3)] == [("one",), ("two",), ("three",)]
    assert [one.method for one in stub.asked] == ["POST", "GET", "POST", "GET", "GET", "POST", "GET"]
    assert stub.asked[-1].headers["Authorization"] == "Bearer three"


async def test_a_token_that_is_refused(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """It isn't kept, and never told."""
    stub.answer(200, given())
    stub.answer(401, {"error": {"code": "Unauthorized", "message": "the token stream-token is not valid"}})
    told = await refused(stubbed, stub, names)
    assert (type(told), told.reason) == (outcome.Transient, Reason.AUTHENTICATION_FAILED)
    assert [one.method for one in stub.asked] == ["POST", "GET"]
    stub.answers[:] = []
    stub.asked[:] = []
    stub.answer(200, given("another"))
    stub.answer(200, stamped("one"))
    assert await tail(stubbed, stub, names) == ("one",)


async def test_a_role_that_may_not_read_logs(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """The action that it lacks is named."""
    action = "Microsoft.App/containerApps/getAuthToken/action"
    message = f"The client 'x' does not have authorization to perform action '{action}' over scope '{names.app}'."
    stub.answer(403, {"error": {"code": "AuthorizationFailed", "message": message}})
    told = await refused(stubbed, stub, names)
    assert (told.reason, action in told.message) == (Reason.FORBIDDEN, True)


async def test_what_is_not_there(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A container that the replica doesn't have, or no longer."""
    stub.answer(200, given())
    stub.answer(404)
    told = await refused(stubbed, stub, names)
    assert (told.reason, told.message) == (
        Reason.NOT_FOUND,
        "replica app-one--1-5c9d-x2kqp has no log of app any more",
    )
    with pytest.raises(outcome.OutcomeError, match="has no container other; there are app"):
        await stubbed.logs(app(names), replica("", names), "other", tail=1)


async def test_lines_in_other_forms(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """Times before the text, no times at all, no newline at the end, bytes that are no text, JSON of the app's own."""
    stub.answer(200, given())
    text = (
        "2026-11-20T08:00:00.1  Connecting to the container 'app'...\r\n"
        "2026-11-20T08:00:00.2 Successfully Connected to container: 'app'\r\n"
        "2026-11-20T08:00:00.3  one\r\n"
        '{"event": "two"}\n'
        "\n"
    )

    async def stream(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=text.encode() + b"thr\xffee")

    stub.answers.append(stream)
    assert await tail(stubbed, stub, names) == ("one", '{"event": "two"}', "", "thr\ufffdee")


async def test_lines_are_bounded(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """In number, whatever is sent, and in length, also where a line never ends."""
    stub.answer(200, given())
    stub.answer(200, stamped(*map(str, range(100)), "z" * 2_000_000, "x" * 9000) + "y" * 3_000_000)
    found = await tail(stubbed, stub, names)
    assert len(found) == 20
    assert found[:2] == ("83", "84")
    # What is longer than is kept at all is no object any more.
    assert found[-3].startswith('{"TimeStamp"')
    assert found[-2:] == (f"{'x' * (logs.LONGEST - 1)}…", f"{'y' * (logs.LONGEST - 1)}…")


async def test_a_stream_that_does_not_end(
    stub: Stub, stubbed: adapter.Azure, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come in time is what there is."""
    monkeypatch.setattr(logs, "TAIL", 0.2)
    stub.answer(200, given())
    stub.answers.append(endless(HEADING + stamped("one")))
    assert await tail(stubbed, stub, names) == ("one",)


def endless(text: str, *, breaks: bool = False) -> Any:
    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(text.encode())
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        else:
            await asyncio.sleep(PATIENCE)
        return answer

    return stream


async def test_a_stream_that_breaks_off(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """It is told, and passes by itself."""
    stub.answer(200, given())
    stub.answers.append(endless(stamped("one"), breaks=True))
    told = await refused(stubbed, stub, names)
    assert (type(told), told.reason) == (outcome.Transient, Reason.CONNECTION_FAILED)


async def follow(cloud: adapter.Azure, stub: Stub, names: Names) -> list[str]:
    where = replica(address(stub.url, names), names)
    async with asyncio.timeout(PATIENCE), contextlib.aclosing(cloud.follow(app(names), where, "app", tail=7)) as lines:
        return [line async for line in lines]


async def test_a_followed_stream_is_opened_anew_and_repeats_nothing(
    stub: Stub, stubbed: adapter.Azure, names: Names
) -> None:
    """While the replica is there: the lines known by their time are left out, those of the same moment by their
    number."""
    stub.answer(200, given())
    stub.answer(200, HEADING + stamped("one") + stamped("two", "three", second=1))
    stub.answer(200, {"name": "app-one--1-5c9d-x2kqp"})
    stub.answers.append(
        endless(
            HEADING + stamped("one") + stamped("two", "three", "four", second=1) + stamped("five", "six", second=2),
            breaks=True,
        )
    )
    stub.answer(200, {"name": "app-one--1-5c9d-x2kqp"})
    stub.answer(200, HEADING + stamped("five", "six", second=2) + "without a time\n" + stamped("six", second=2))
    stub.answer(404, {"error": {"code": "ResourceNotFound", "message": "gone"}})
    assert await follow(stubbed, stub, names) == [
        *("one", "two", "three", "four", "five", "six"),
        *("without a time", "six"),
    ]
    streams = [one.query for one in stub.asked if one.path.endswith("/logstream")]
    assert [one["tailLines"] for one in streams] == ["7", "300", "300"]
    assert {one["follow"] for one in streams} == {"true"}


async def test_following_what_is_not_there_fails_at_once(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """There is nothing to wait for."""
    stub.answer(200, given())
    stub.answer(404)
    with pytest.raises(outcome.OutcomeError, match="no log of app any more"):
        await follow(stubbed, stub, names)


async def test_following_gives_up(
    stub: Stub, stubbed: adapter.Azure, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some failures in a row."""
    monkeypatch.setattr(logs, "FAILURES", 2)
    there = {"name": "app-one--1-5c9d-x2kqp"}
    stub.answer(200, given())
    stub.answer(200, stamped("one"))
    stub.answer(200, there)
    for _ in range(3):
        stub.answer(503)
        stub.answer(200, there)
    with pytest.raises(outcome.OutcomeError, match="503"):
        await follow(stubbed, stub, names)
    assert [one.path.rpartition("/")[2] for one in stub.asked].count("logstream") == 4


async def test_following_ends_where_nothing_mends_itself(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """It isn't tried again."""
    stub.answer(200, given())
    stub.answer(200, stamped("one"))
    stub.answer(200, {"name": "app-one--1-5c9d-x2kqp"})
    stub.answer(403)
    stub.answer(200, {"name": "app-one--1-5c9d-x2kqp"})
    with pytest.raises(outcome.OutcomeError, match="403"):
        await follow(stubbed, stub, names)
    assert len(stub.asked) == 5
