"""A subscription that answers with nothing but failures is left alone for a while, and tried again by one request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from structlog import testing

from controller.cloud import azure as adapter
from controller.cloud import circuit
from controller.model import kinds, observed, outcome
from controller.model.conditions import Reason

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub, Virtual

BROKEN = {"error": {"code": "InternalServerError", "message": "try later"}}
GONE = {"error": {"code": "ResourceNotFound", "message": "no"}}
OTHER = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"


async def judged(call: Any) -> Any:
    """The outcome that a call raises."""
    with pytest.raises(outcome.OutcomeError) as raised:
        await call
    return raised.value.outcome


async def read(cloud: adapter.Azure, names: Names) -> Any:
    return await judged(cloud.read(kinds.Kind.APP, names.app))


@pytest.fixture
async def opened(stub: Stub, paced: adapter.Azure, names: Names) -> adapter.Azure:
    """The circuit of the names' subscription has just opened; the stub goes on answering 503."""
    stub.answer(503, BROKEN)
    with testing.capture_logs():
        for _ in range(circuit.FAILURES):
            assert (await read(paced, names)).reason == Reason.AZURE_ERROR
    return paced


async def test_ten_failures_in_a_row_open_it(stub: Stub, opened: adapter.Azure, names: Names) -> None:
    """The next request isn't sent, and the refusal says what was last answered."""
    refused = await read(opened, names)
    assert isinstance(refused, outcome.Transient)
    assert refused.reason == Reason.CIRCUIT_OPEN
    assert refused.message == (
        f"subscription 00000000-0000-0000-0000-000000000000 at {stub.url[8:]} doesn't answer, 10 times in a row, "
        "last: HTTP 503; asked again later"
    )
    assert 4 <= (refused.after or 0) <= 6
    assert len(stub.asked) == 10


async def test_any_answer_in_between_keeps_it_closed(stub: Stub, paced: adapter.Azure, names: Names) -> None:
    """A 404 is an answer: the service is there."""
    for _ in range(2):
        for _ in range(circuit.FAILURES - 1):
            stub.answer(500, BROKEN)
        stub.answer(404, GONE)
    for _ in range(2):
        for _ in range(circuit.FAILURES - 1):
            assert (await read(paced, names)).reason == Reason.AZURE_ERROR
        assert await paced.read(kinds.Kind.APP, names.app) is None


async def test_no_answer_is_a_failure(stub: Stub, paced: adapter.Azure, names: Names) -> None:
    """Connections that break open it too, and it is told what broke."""

    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    stub.answers.append(broken)
    for _ in range(circuit.FAILURES):
        assert (await read(paced, names)).reason == Reason.CONNECTION_FAILED
    refused = await read(paced, names)
    assert refused.reason == Reason.CIRCUIT_OPEN
    assert f"last: {stub.url[8:]}: the connection broke" in refused.message


async def test_others_go_on(stub: Stub, opened: adapter.Azure, names: Names) -> None:
    """Another subscription's requests are sent, and those to a share, whatever that is called."""
    account_id = f"{OTHER}/providers/Microsoft.Storage/storageAccounts/accountone"
    endpoints = {"file": f"{stub.url}/subscriptions/"}
    account = {"id": account_id, "name": "accountone", "properties": {"primaryEndpoints": endpoints}}
    stub.answers[:] = []
    stub.answer(200, {"keys": [{"keyName": "key1", "value": "a2V5"}]})
    async with opened.share(observed.Resource(account), names.app.split("/")[2]) as share:
        stub.answers[:] = []
        stub.answer(200, "hello", {"Content-Range": "bytes 0-4/5"})
        assert await share.read("a.txt") == b"hello"
    assert stub.asked[-1].path == f"/subscriptions/{names.app.split('/')[2]}/a.txt"


async def test_one_request_tries_and_its_success_closes_it(
    stub: Stub, opened: adapter.Azure, names: Names, virtual: Virtual
) -> None:
    """After the pause one goes out while the others are still refused; then all go."""
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_request: web.Request) -> web.StreamResponse:
        under_way.set()
        await go_on.wait()
        return web.json_response({"id": names.app})

    virtual.seconds += 6
    stub.answers[:] = [slowly]
    trial = asyncio.create_task(opened.read(kinds.Kind.APP, names.app))
    await under_way.wait()
    assert (await read(opened, names)).reason == Reason.CIRCUIT_OPEN
    go_on.set()
    assert await trial is not None
    assert await opened.read(kinds.Kind.APP, names.app) is not None


async def test_a_trial_given_up_lets_the_next_one_try(
    stub: Stub, opened: adapter.Azure, names: Names, virtual: Virtual
) -> None:
    """A cancelled request says nothing about the service."""
    under_way = asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        under_way.set()
        await asyncio.Event().wait()
        return web.Response()

    virtual.seconds += 6
    stub.answers[:] = [silent]
    trial = asyncio.create_task(opened.read(kinds.Kind.APP, names.app))
    await under_way.wait()
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    stub.answers[:] = []
    stub.answer(200, {"id": names.app})
    assert await opened.read(kinds.Kind.APP, names.app) is not None


async def test_a_fence_that_stops_the_trial_lets_the_next_one_try(
    stub: Stub, opened: adapter.Azure, names: Names, virtual: Virtual
) -> None:
    """What was never sent is no trial."""

    def stop() -> None:
        raise outcome.OutcomeError(outcome.Waiting(Reason.NOT_LEADER, "not the leader"))

    virtual.seconds += 6
    stub.answers[:] = []
    stub.answer(200, {"id": names.app})
    opened.fence = stop
    assert (await judged(opened.update(kinds.Kind.APP, names.app, {}))).reason == Reason.NOT_LEADER
    assert await opened.read(kinds.Kind.APP, names.app) is not None


async def test_the_pause_doubles_with_each_failed_trial(virtual: Virtual) -> None:
    """From five seconds to five minutes, each a fifth longer or shorter by chance; a success begins anew."""
    chances = [0.5] * 9
    one = circuit.Circuits("arm", now=lambda: virtual.seconds, chance=lambda: chances.pop(0)).of("s")
    pauses = []
    with testing.capture_logs():
        for _ in range(circuit.FAILURES):
            one.failed(one.begin(), "HTTP 500")
        for _ in range(8):
            pauses.append(_pause(one))
            virtual.seconds += pauses[-1]
            one.failed(one.begin(), "HTTP 500")
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
        virtual.seconds += 300
        one.begin()
        one.answered()
        for chance, expected in ((0.0, 4), (1.0, 6)):
            chances.append(chance)
            for _ in range(circuit.FAILURES):
                one.failed(one.begin(), "HTTP 500")
            assert _pause(one) == expected
            virtual.seconds += 6
            one.begin()
            one.answered()


def _pause(one: circuit.Circuit) -> float:
    with pytest.raises(outcome.OutcomeError) as raised:
        one.check()
    judged = raised.value.outcome
    assert isinstance(judged, outcome.Transient)
    return judged.after or 0


async def test_late_failures_of_others_prolong_nothing(virtual: Virtual) -> None:
    """Requests that were under way when it opened don't count as trials; the success of one closes it."""
    circuits = circuit.Circuits("arm", now=lambda: virtual.seconds, chance=lambda: 0.5)
    one = circuits.of("s")
    with testing.capture_logs():
        attempts = [one.begin() for _ in range(circuit.FAILURES + 5)]
        for attempt in attempts:
            one.failed(attempt, "HTTP 500")
        assert _pause(one) == circuit.FIRST_PAUSE
        one.answered()
        one.check()


async def test_it_is_said_once_when_it_opens_and_once_when_it_closes(
    stub: Stub, paced: adapter.Azure, names: Names, virtual: Virtual
) -> None:
    """In the log, with host and subscription, and to who listens."""
    told: list[tuple[str, bool]] = []
    paced.circuits.listen(lambda subscription, *, is_open: told.append((subscription, is_open)))
    subscription = names.app.split("/")[2]
    stub.answer(503, BROKEN)
    with testing.capture_logs() as logs:
        for _ in range(circuit.FAILURES + 3):
            await read(paced, names)
        virtual.seconds += 6
        await read(paced, names)
        virtual.seconds += 12
        stub.answers[:] = []
        stub.answer(404, GONE)
        assert await paced.read(kinds.Kind.APP, names.app) is None
    assert told == [(subscription, True), (subscription, False)]
    about = {"host": stub.url[8:], "subscription": subscription, "log_level": "warning"}
    assert logs == [
        {"event": "circuit opened: nothing but failures", **about},
        {"event": "circuit closed", **about},
    ]


async def test_a_refusal_costs_no_token(opened: adapter.Azure, names: Names, virtual: Virtual) -> None:
    """Requests refused by the open circuit don't wait in line, nor use up what others could send."""
    for _ in range(300):
        assert (await read(opened, names)).reason == Reason.CIRCUIT_OPEN
    assert virtual.slept == []
