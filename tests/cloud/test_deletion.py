"""Deleting: each kind in its own way, begun and not waited for, and never a resource group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.cloud import azure as adapter
from controller.model import outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from tests.cloud import bodies

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Slow, Stub


def all_of(names: Names) -> tuple[tuple[Kind, str], ...]:
    """What can be deleted, dependents first."""
    return (
        (Kind.APP, names.app),
        (Kind.STORAGE, names.storage),
        (Kind.SHARE, names.share),
        (Kind.ACCOUNT, names.account),
        (Kind.WORKSPACE, names.workspace),
        (Kind.ENVIRONMENT, names.environment),
    )


async def test_each_kind_is_deleted(azure: adapter.Azure, names: Names) -> None:
    """One request each, which counts as a write; afterwards it is gone, and deleting it again is no error."""
    await bodies.make(azure, names)
    before = azure.writes.arm
    for kind, resource_id in all_of(names):
        assert await azure.read(kind, resource_id) is not None
        for _ in range(2):
            await azure.delete(kind, resource_id)
        assert await azure.read(kind, resource_id) is None
    assert azure.writes.arm == before + 12


async def test_nothing_is_waited_for(slow: Slow, names: Names) -> None:
    """An environment takes a quarter of an hour to go: one request, and it says that it is going."""
    await bodies.make(slow.cloud, names, passing=slow.time.advance)
    before = len(slow.server.requests)
    await slow.cloud.delete(Kind.APP, names.app)
    assert [served.method for served in slow.server.requests[before:]] == ["DELETE"]
    slow.time.advance(60)
    before = len(slow.server.requests)
    await slow.cloud.delete(Kind.ENVIRONMENT, names.environment)
    assert [served.method for served in slow.server.requests[before:]] == ["DELETE"]
    seen = await slow.cloud.read(Kind.ENVIRONMENT, names.environment)
    assert seen is not None
    assert seen.state == "ScheduledForDelete"


async def test_what_is_still_stood_on_is_waited_for(azure: adapter.Azure, names: Names) -> None:
    """An environment with an app in it, and a storage that the app mounts, go when the app has gone."""
    await bodies.make(azure, names)
    for kind, resource_id in ((Kind.ENVIRONMENT, names.environment), (Kind.STORAGE, names.storage)):
        with pytest.raises(outcome.OutcomeError) as raised:
            await azure.delete(kind, resource_id)
        judged = raised.value.outcome
        assert isinstance(judged, outcome.Waiting)
        assert judged.reason == Reason.CONFLICT


@pytest.mark.parametrize(
    "kind", [Kind.GROUP, Kind.FILE_SERVICE, Kind.REVISION, Kind.CONTENT], ids=lambda kind: kind.label
)
async def test_what_is_never_deleted(stub: Stub, stubbed: adapter.Azure, names: Names, kind: Kind) -> None:
    """Resource groups, whatever the caller thinks, and what goes with its parent: no request is sent."""
    with pytest.raises(ValueError, match="never deleted"):
        await stubbed.delete(kind, names.group)
    assert stub.asked == []


async def test_an_absent_group_is_no_error_and_an_absent_subscription_is(
    stub: Stub, stubbed: adapter.Azure, names: Names
) -> None:
    """A 404 says that there is nothing to delete, unless it speaks of the subscription."""
    stub.answer(404, {"error": {"code": "ResourceGroupNotFound", "message": "no"}})
    stub.answer(404, {"error": {"code": "SubscriptionNotFound", "message": "no"}})
    await stubbed.delete(Kind.APP, names.app)
    with pytest.raises(outcome.OutcomeError) as raised:
        await stubbed.delete(Kind.APP, names.app)
    judged = raised.value.outcome
    assert isinstance(judged, outcome.Stalled)
    assert judged.reason == Reason.SUBSCRIPTION_NOT_FOUND
