"""Each kind of resource, made, read, changed, with the real SDK against the local Azure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from controller.cloud import azure as adapter
from controller.model import outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from infra.local_azure import server
from tests.cloud.bodies import ACCOUNT, ENVIRONMENT, WEST, WORKSPACE

if TYPE_CHECKING:
    from tests.cloud.conftest import Names, Slow

KEY = SecretStr("a2V5")


def app(names: Names) -> dict[str, Any]:
    container = {"name": "app-one", "image": "python:3.12-slim", "resources": {"cpu": 0.5, "memory": "1Gi"}}
    return {
        **WEST,
        "tags": {"one": "1"},
        "properties": {
            "environmentId": names.environment,
            "configuration": {
                "ingress": {"external": True, "targetPort": 7860},
                "secrets": [{"name": "api-keys", "value": SecretStr("hunter2-value")}],
            },
            "template": {"containers": [container], "scale": {"minReplicas": 1, "maxReplicas": 1}},
        },
    }


def storage(account_key: SecretStr) -> dict[str, Any]:
    file = {"accountName": "accountone", "shareName": "share-one", "accessMode": "ReadWrite", "accountKey": account_key}
    return {"properties": {"azureFile": file}}


async def made(cloud: adapter.Azure, *parts: tuple[Kind, str, Mapping[str, Any]]) -> None:
    for kind, resource_id, body in parts:
        await cloud.create(kind, resource_id, body)


async def test_a_group(azure: adapter.Azure, names: Names) -> None:
    """PUT makes it, PATCH changes its tags."""
    assert await azure.read(Kind.GROUP, names.group) is None
    await azure.create(Kind.GROUP, names.group, WEST)
    await azure.update(Kind.GROUP, names.group, {"tags": {"one": "1"}})
    seen = await azure.read(Kind.GROUP, names.group)
    assert seen is not None
    assert (seen.body["location"], seen.tags) == ("westus3", {"one": "1"})


async def test_an_account_with_its_service_and_share(azure: adapter.Azure, names: Names) -> None:
    """Account, file service and share are made and changed, each in its own way."""
    await made(
        azure,
        (Kind.GROUP, names.group, WEST),
        (Kind.ACCOUNT, names.account, ACCOUNT),
        (Kind.FILE_SERVICE, names.file_service, {"properties": {}}),
        (Kind.SHARE, names.share, {"properties": {"shareQuota": 5, "enabledProtocols": "SMB"}}),
    )
    await azure.update(Kind.ACCOUNT, names.account, {"tags": {"one": "1"}})
    retention = {"shareDeleteRetentionPolicy": {"enabled": True, "days": 3}}
    await azure.update(Kind.FILE_SERVICE, names.file_service, {"properties": retention})
    await azure.update(Kind.SHARE, names.share, {"properties": {"shareQuota": 6, "metadata": {"one": "1"}}})
    account = await azure.read(Kind.ACCOUNT, names.account)
    service = await azure.read(Kind.FILE_SERVICE, names.file_service)
    share = await azure.read(Kind.SHARE, names.share)
    assert account is not None
    assert service is not None
    assert share is not None
    assert (account.tags, account.usable) == ({"one": "1"}, True)
    assert service.properties["shareDeleteRetentionPolicy"]["days"] == 3
    assert (share.properties["shareQuota"], share.properties["metadata"]) == (6, {"one": "1"})
    keys = await azure.account_keys(names.account)
    assert len({key.get_secret_value() for key in keys}) == 2


async def test_a_workspace(azure: adapter.Azure, names: Names) -> None:
    """PUT makes it, PATCH changes it, its key can be read."""
    await made(azure, (Kind.GROUP, names.group, WEST), (Kind.WORKSPACE, names.workspace, WORKSPACE))
    await azure.update(Kind.WORKSPACE, names.workspace, {"tags": {"one": "1"}})
    seen = await azure.read(Kind.WORKSPACE, names.workspace)
    assert seen is not None
    assert (seen.tags, seen.usable) == ({"one": "1"}, True)
    assert (await azure.workspace_key(names.workspace)).get_secret_value()


async def test_an_environment_with_a_storage(azure: adapter.Azure, names: Names) -> None:
    """The storage's key goes out and never comes back."""
    await made(
        azure,
        (Kind.GROUP, names.group, WEST),
        (Kind.ENVIRONMENT, names.environment, ENVIRONMENT),
        (Kind.STORAGE, names.storage, storage(KEY)),
    )
    await azure.update(Kind.ENVIRONMENT, names.environment, {"tags": {"one": "1"}})
    await azure.update(Kind.STORAGE, names.storage, storage(SecretStr("b3RoZXI=")))
    environment = await azure.read(Kind.ENVIRONMENT, names.environment)
    kept = await azure.read(Kind.STORAGE, names.storage)
    assert environment is not None
    assert kept is not None
    assert (environment.tags, environment.usable) == ({"one": "1"}, True)
    assert kept.properties["azureFile"].get("accountKey") is None
    assert kept.properties["azureFile"]["shareName"] == "share-one"


async def test_an_app_with_its_revisions_and_secrets(azure: adapter.Azure, names: Names) -> None:
    """A changed template is a second revision; secrets come back by listSecrets only."""
    await made(
        azure,
        (Kind.GROUP, names.group, WEST),
        (Kind.ENVIRONMENT, names.environment, ENVIRONMENT),
        (Kind.APP, names.app, app(names)),
    )
    container = {**app(names)["properties"]["template"]["containers"][0], "env": [{"name": "A", "value": "b"}]}
    await azure.update(Kind.APP, names.app, {"properties": {"template": {"containers": [container]}}})
    seen = await azure.read(Kind.APP, names.app)
    assert seen is not None
    assert (seen.tags, seen.usable) == ({"one": "1"}, True)
    assert "hunter2" not in str(seen.body)
    revisions = await azure.revisions(names.app)
    assert seen.properties["latestRevisionName"] == revisions[-1].name
    assert len(revisions) == 2
    latest = await azure.read(Kind.REVISION, f"{names.app}/revisions/{revisions[-1].name}")
    assert latest is not None
    assert latest.name == revisions[-1].name
    replicas = await azure.replicas(f"{names.app}/revisions/{revisions[-1].name}")
    assert all(replica.name.startswith(revisions[-1].name) for replica in replicas)
    secrets = await azure.app_secrets(names.app)
    assert {name: value.get_secret_value() for name, value in secrets.items()} == {"api-keys": "hunter2-value"}


async def test_absence_is_a_fact(azure: adapter.Azure, names: Names) -> None:
    """Nothing that is absent raises on a read, also with the group missing."""
    for _ in range(2):
        for kind, resource_id in (
            (Kind.ACCOUNT, names.account),
            (Kind.SHARE, names.share),
            (Kind.WORKSPACE, names.workspace),
            (Kind.ENVIRONMENT, names.environment),
            (Kind.STORAGE, names.storage),
            (Kind.APP, names.app),
        ):
            assert await azure.read(kind, resource_id) is None
        assert await azure.revisions(names.app) == ()
        assert await azure.replicas(f"{names.app}/revisions/one") == ()
        await azure.create(Kind.GROUP, names.group, WEST)


async def test_writes_begin_and_return(slow: Slow, names: Names) -> None:
    """No call waits for a provisioning: time stands still, and one request each is all there is."""
    await made(slow.cloud, (Kind.GROUP, names.group, WEST))
    for kind, resource_id, body in (
        (Kind.ACCOUNT, names.account, ACCOUNT),
        (Kind.WORKSPACE, names.workspace, WORKSPACE),
        (Kind.ENVIRONMENT, names.environment, ENVIRONMENT),
    ):
        before = len(slow.server.requests)
        await slow.cloud.create(kind, resource_id, body)
        assert [served.method for served in slow.server.requests[before:] if "token" not in served.path] == ["PUT"]
        begun = await slow.cloud.read(kind, resource_id)
        assert begun is None or not begun.usable
    slow.time.advance(600)
    for kind, resource_id in ((Kind.ACCOUNT, names.account), (Kind.ENVIRONMENT, names.environment)):
        done = await slow.cloud.read(kind, resource_id)
        assert done is not None
        assert done.usable


async def test_what_is_not_ready_yet_is_waited_for(slow: Slow, names: Names) -> None:
    """An app in an environment still being made, keys of an account still being made."""
    await made(
        slow.cloud,
        (Kind.GROUP, names.group, WEST),
        (Kind.ACCOUNT, names.account, ACCOUNT),
        (Kind.ENVIRONMENT, names.environment, ENVIRONMENT),
    )
    for call in (slow.cloud.create(Kind.APP, names.app, app(names)), slow.cloud.account_keys(names.account)):
        with pytest.raises(outcome.OutcomeError) as raised:
            await call
        assert isinstance(raised.value.outcome, outcome.Waiting)
        assert raised.value.outcome.reason == Reason.DEPENDENCY_NOT_READY


async def test_a_second_write_waits_for_the_first(slow: Slow, names: Names) -> None:
    """ContainerAppOperationInProgress is Waiting, in whatever envelope it comes."""
    await made(slow.cloud, (Kind.GROUP, names.group, WEST), (Kind.ENVIRONMENT, names.environment, ENVIRONMENT))
    slow.time.advance(600)
    await slow.cloud.create(Kind.APP, names.app, app(names))
    with pytest.raises(outcome.OutcomeError) as raised:
        await slow.cloud.update(Kind.APP, names.app, {"tags": {"two": "2"}})
    assert isinstance(raised.value.outcome, outcome.Waiting)
    assert raised.value.outcome.reason == Reason.OPERATION_IN_PROGRESS


async def test_another_subscription_is_not_found(azure: adapter.Azure, names: Names) -> None:
    """A subscription that the cloud doesn't know is an error even for a read."""
    other = names.app.replace("00000000-0000-0000-0000-000000000000", "11111111-1111-1111-1111-111111111111")
    with pytest.raises(outcome.OutcomeError) as raised:
        await azure.read(Kind.APP, other)
    assert raised.value.outcome.reason == Reason.SUBSCRIPTION_NOT_FOUND  # type: ignore[union-attr]


async def test_a_wrong_secret_is_refused_by_the_local_azure_too(
    local: server.Server, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stub's shape of a refusal is the local Azure's."""
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    async with adapter.Azure(local.url) as cloud:
        with pytest.raises(outcome.OutcomeError, match="AADSTS7000215"):
            await cloud.read(Kind.GROUP, names.group)
