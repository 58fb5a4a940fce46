"""Everything of a kind at once, of a subscription, a group or a parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.cloud import azure as adapter
from controller.cloud import ids
from controller.model import outcome
from controller.model.kinds import Kind
from tests.cloud import bodies

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Stub

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"


async def test_every_kind_is_listed_where_it_lies(azure: adapter.Azure, names: Names) -> None:
    """Resources in their group and in the subscription, children below their parent; each as a read gives it."""
    await bodies.make(azure, names)
    for kind, scopes, resource_id in (
        (Kind.GROUP, [SUBSCRIPTION], names.group),
        (Kind.ACCOUNT, [SUBSCRIPTION, names.group], names.account),
        (Kind.SHARE, [names.file_service], names.share),
        (Kind.WORKSPACE, [SUBSCRIPTION, names.group], names.workspace),
        (Kind.ENVIRONMENT, [SUBSCRIPTION, names.group], names.environment),
        (Kind.STORAGE, [names.environment], names.storage),
        (Kind.APP, [SUBSCRIPTION, names.group], names.app),
    ):
        read = await azure.read(kind, resource_id)
        assert read is not None
        for scope in scopes:
            (listed,) = await azure.listed(kind, scope)
            assert (listed.id, listed.name, listed.tags) == (read.id, read.name, read.tags)


async def test_one_request_lists_what_a_group_has(azure: adapter.Azure, names: Names) -> None:
    """Apps are read together, not one by one."""
    await bodies.make(azure, names)
    for number in range(3):
        await azure.create(Kind.APP, f"{names.app}-{number}", bodies.app(names))
    asked: list[str] = []
    azure.calls.listen(lambda kind, method, code, *, seconds, throttled: asked.append(f"{method} {kind}"))
    listed = await azure.listed(Kind.APP, names.group)
    assert sorted(one.name for one in listed) == ["app-one", "app-one-0", "app-one-1", "app-one-2"]
    assert asked == ["GET containerApps"]


async def test_an_absent_scope_has_nothing(azure: adapter.Azure, names: Names) -> None:
    """A group or a parent that isn't there; a subscription that isn't is an error."""
    assert await azure.listed(Kind.APP, names.group) == ()
    assert await azure.listed(Kind.STORAGE, names.environment) == ()
    with pytest.raises(outcome.OutcomeError, match="could not be found"):
        await azure.listed(Kind.APP, "/subscriptions/11111111-1111-1111-1111-111111111111")


async def test_pages_are_followed(stub: Stub, stubbed: adapter.Azure, names: Names) -> None:
    """A list that comes in parts is whole."""
    stub.answer(200, {"value": [{"name": "one"}], "nextLink": f"{stub.url}{names.group}/more?token=2"})
    stub.answer(200, {"value": [{"name": "two"}]})
    assert [one.name for one in await stubbed.listed(Kind.APP, names.group)] == ["one", "two"]
    assert stub.asked[0].path == f"{names.group}/providers/Microsoft.App/containerApps"


@pytest.mark.parametrize(
    ("kind", "scope", "path"),
    [
        (Kind.GROUP, "/subscriptions/s", "/subscriptions/s/resourcegroups"),
        (Kind.APP, "/subscriptions/s", "/subscriptions/s/providers/Microsoft.App/containerApps"),
        (Kind.REVISION, "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/a", "…/revisions"),
    ],
)
def test_where_a_kind_is_listed(kind: Kind, scope: str, path: str) -> None:
    """By its type under a provider, by its own word under a parent."""
    assert ids.listing(kind, scope) == path.replace("…", scope)
