"""Every property that the Bicep files give a resource is one that its API has: no compiler is here to say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from azure.mgmt.appcontainers import models as apps
from azure.mgmt.loganalytics import models as logs
from azure.mgmt.storage import models as storage

from controller.model.kinds import Kind
from tests.unit.infra import bicep, test_controller_on_aca, test_provision

MODELS: Mapping[str, Any] = {
    Kind.ACCOUNT: storage.StorageAccountCreateParameters,
    Kind.SHARE: storage.FileShare,
    Kind.WORKSPACE: logs.Workspace,
    Kind.ENVIRONMENT: apps.ManagedEnvironment,
    Kind.STORAGE: apps.ManagedEnvironmentStorage,
    Kind.APP: apps.ContainerApp,
}
IDENTITY_ONLY = {
    Kind.FILE_SERVICE,
    "Microsoft.ManagedIdentity/userAssignedIdentities",
}
"""Named and placed, and no more."""

DEPLOYMENTS = {
    "inference": test_provision.provisioned(),
    "controller by token": test_controller_on_aca.deployed(hookSources=["192.30.252.0/22"]),
    "controller by key": test_controller_on_aca.deployed(gitToken=None, gitSshKey="key", gitKnownHosts="host"),
}
RESOURCES = [
    pytest.param(each, id=f"{name}: {each.symbol}")
    for name, made in DEPLOYMENTS.items()
    for each in made.resources
    if not each.type.endswith(".bicep")
]


def strangers(value: Any, path: str = "") -> Iterator[str]:
    """The properties that the SDK's models don't have, at any depth."""
    fields = getattr(type(value), "_attr_to_rest_field", None)
    if isinstance(value, list):
        for item in value:
            yield from strangers(item, f"{path}[]")
    elif fields is not None:
        attributes = {field._rest_name: attribute for attribute, field in fields.items()}
        for name in value:
            if name not in attributes:
                yield f"{path}.{name}"
            else:
                yield from strangers(getattr(value, attributes[name]), f"{path}.{name}")


@pytest.mark.parametrize("resource", RESOURCES)
def test_the_api_has_each_property(resource: bicep.Resource) -> None:
    """By the names on the wire, in the SDK's models of the resource."""
    if resource.type in IDENTITY_ONLY:
        assert resource.body.keys() <= {"name", "location"}
        return
    body = {name: value for name, value in resource.body.items() if name != "name"}
    assert list(strangers(MODELS[resource.type](body))) == []


def test_a_stranger_is_found_deep_down() -> None:
    """In lists and objects alike."""
    volume = {"name": "cache", "storageType": "EmptyDir", "size": 1}
    body = {"properties": {"template": {"volumes": [volume], "scale": {"replicas": 1}}}, "location": "westus3"}
    assert list(strangers(apps.ContainerApp(body))) == [
        ".properties.template.volumes[].size",
        ".properties.template.scale.replicas",
    ]
