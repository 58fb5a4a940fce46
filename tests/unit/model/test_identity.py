"""Names, their AI Toolkit defaults, and resource ids."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model import desired, identity

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg"
SPEC = {"subscriptionId": "00000000-0000-0000-0000-000000000000", "resourceGroup": "my-rg"}


def environment(**spec: object) -> desired.Environment:
    head = {"apiVersion": "acaops/v1", "kind": "Environment", "metadata": {"name": "e"}}
    return desired.Environment.model_validate(head | {"spec": SPEC | spec})


def app(**spec: object) -> desired.InferenceApp:
    head = {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": "a"}}
    needed = {"environmentRef": "e", "image": "python", "commands": ["true"]}
    return desired.InferenceApp.model_validate(head | {"spec": needed | spec})


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(["test"], "rbgf3xv4ufgzg"), (["hello", "world"], "a7wkljktk6wne"), ([GROUP], "bmg7c6xu4tw46")],
)
def test_unique_string_is_arm_s(parts: list[str], expected: str) -> None:
    """The published vectors."""
    assert identity.unique_string(*parts) == expected


@given(st.text())
def test_unique_string_is_always_thirteen_characters(text: str) -> None:
    """Of a-z and 2-7, for any text and length."""
    assert set(identity.unique_string(text)) <= set(string.ascii_lowercase + "234567")
    assert len(identity.unique_string(text)) == 13


def test_names_default_to_ai_toolkit_s() -> None:
    """A stack that fine-tuning made is found, not duplicated."""
    assert identity.group_id("00000000-0000-0000-0000-000000000000", "my-rg") == GROUP
    assert identity.names(environment(), group_id=GROUP) == identity.Names(
        account="aistoragebmg7c",
        share="aifilesharebmg7c",
        environment="aienvbmg7c",
        storage="aienvstoragebmg7c",
        workspace="ailogbmg7c",
    )
    assert identity.app_name(app(), group_id=GROUP) == "aiacaappbmg7c"


def test_names_in_the_spec_win() -> None:
    """Each by itself."""
    wanted = environment(
        storage={"accountName": "acc", "shareName": "share"},
        logAnalytics={"workspaceName": "logs"},
        containerApps={"environmentName": "env", "storageName": "store"},
    )

    assert identity.names(wanted, group_id=GROUP) == identity.Names("acc", "share", "env", "store", "logs")
    assert identity.app_name(app(appName="chat"), group_id=GROUP) == "chat"


def test_ids_are_arm_s() -> None:
    """Below the group, by provider and type."""
    ids = identity.Ids(GROUP, identity.Names("acc", "share", "env", "store", "logs"))
    account = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/acc"

    assert (ids.account, ids.file_service) == (account, f"{account}/fileServices/default")
    assert ids.share == f"{account}/fileServices/default/shares/share"
    assert ids.workspace == f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/logs"
    assert ids.environment == f"{GROUP}/providers/Microsoft.App/managedEnvironments/env"
    assert ids.storage("store-1") == f"{ids.environment}/storages/store-1"
    assert ids.app("chat") == f"{GROUP}/providers/Microsoft.App/containerApps/chat"


def test_ids_of_an_environment() -> None:
    """From its spec alone."""
    assert identity.ids(environment()).account.startswith(f"{GROUP}/providers/Microsoft.Storage")
