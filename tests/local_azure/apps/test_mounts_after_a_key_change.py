"""A storage's key is changed in place, or its account's: what runs keeps its mounts, what is new gets none."""

from __future__ import annotations

from typing import Any

STORAGE = "managedEnvironments/env/storages/models"
DENIED = (
    'Container is waiting with reason: MountVolume.SetUp failed for volume "models": mount error(13): Permission '
    "denied (share models of account1)"
)


def storage_body(key: str) -> dict[str, Any]:
    file = {"accountName": "account1", "accountKey": key, "accessMode": "ReadWrite", "shareName": "models"}
    return {"properties": {"azureFile": file}}


def template(version: str) -> dict[str, Any]:
    return {
        "containers": [
            {
                "name": "web",
                "image": f"docker.io/library/python:{version}",
                "volumeMounts": [{"volumeName": "models", "mountPath": "/mount"}],
            }
        ],
        "volumes": [{"name": "models", "storageType": "AzureFile", "storageName": "models"}],
        "scale": {"minReplicas": 1, "maxReplicas": 3},
    }


async def serving(azure: Any, app_body: Any, key: str) -> str:
    """An app that mounts the share and serves; returns its revision's name."""
    await azure.ask("PUT", STORAGE, storage_body(key))
    await azure.put(app_body(template=template("3.12")))
    azure.advance(60)
    return str((await azure.revisions())[0]["name"])


async def details(azure: Any, revision: str) -> list[str]:
    answer = await azure.ask("GET", f"containerApps/web/revisions/{revision}/replicas")
    found = [item["properties"]["containers"][0] for item in answer.body["value"]]
    return [item["runningStateDetails"] for item in found]


async def test_the_old_revision_works_on_and_a_new_one_can_not_mount(azure: Any, app_body: Any, storage: str) -> None:
    """The operation succeeds; the new revision waits and the old one serves."""
    old = await serving(azure, app_body, storage)
    await azure.ask("PUT", STORAGE, storage_body("d3Jvbmc="))
    await azure.patch({"template": template("3.13")})
    azure.advance(600)
    assert [item[1:4] for item in await azure.triples()] == [
        ("Provisioned", "Healthy", "Running"),
        ("Provisioned", "None", "Activating"),
    ]
    app = await azure.properties("containerApps/web")
    assert (app["provisioningState"], app["latestReadyRevisionName"]) == ("Succeeded", old)
    assert await details(azure, app["latestRevisionName"]) == [DENIED]


async def test_a_new_replica_of_the_old_revision_can_not_mount_until_the_key_is_right(
    azure: Any, app_body: Any, storage: str
) -> None:
    """It tries again from time to time; the replica that was there serves all the while."""
    old = await serving(azure, app_body, storage)
    await azure.ask("PUT", STORAGE, storage_body("d3Jvbmc="))
    azure.local.server._runtime.scale(old, 2)
    azure.advance(300)
    first, second = await details(azure, old)
    assert (first.startswith("Container started at: "), second) == (True, DENIED)
    await azure.ask("PUT", STORAGE, storage_body(storage))
    azure.advance(60)
    assert all(item.startswith("Container started at: ") for item in await details(azure, old))


async def test_a_regenerated_key_of_the_account_is_as_bad(azure: Any, app_body: Any, storage: str) -> None:
    """The stored key is dead: the replica that runs keeps its mount, a new one is refused."""
    old = await serving(azure, app_body, storage)
    account = "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/account1"
    answer = await azure.arm("POST", f"{account}/regenerateKey", {"keyName": "key1"})
    assert answer.status == 200
    azure.local.server._runtime.scale(old, 2)
    azure.advance(60)
    first, second = await details(azure, old)
    assert (first.startswith("Container started at: "), second) == (True, DENIED)
