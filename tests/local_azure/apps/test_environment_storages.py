"""Environment storages, and what becomes of a mount."""

from pathlib import Path
from typing import Any

import pytest

STORAGE = "managedEnvironments/env/storages/models"


def body(*, key: str, account: str = "account1", share: str = "models", mode: str = "ReadWrite") -> dict[str, Any]:
    file = {"accountName": account, "accountKey": key, "accessMode": mode, "shareName": share}
    return {"location": None, "properties": {"azureFile": file}}


def mounting(app_body: Any, *, sub_path: str | None = None) -> dict[str, Any]:
    mount = {"volumeName": "v", "mountPath": "/mount", "subPath": sub_path}
    volume = {"name": "v", "storageType": "azurefile", "storageName": "models"}
    container = {"name": "web", "image": "i", "volumeMounts": [mount]}
    sent: dict[str, Any] = app_body(template={"containers": [container], "volumes": [volume]})
    return sent


async def test_a_put_is_synchronous_and_shows_no_key(azure: Any) -> None:
    """The recorded 200, lower-case type and all; a GET and the list say the same."""
    answer = await azure.ask("PUT", STORAGE, body(key="the-first-key"))
    assert (answer.status, answer.body) == (
        200,
        {
            "id": f"/subscriptions/{azure.local.subscription}/resourceGroups/rg/providers/Microsoft.App/{STORAGE}",
            "name": "models",
            "type": "Microsoft.App/managedenvironments/storages",
            "properties": {"azureFile": {"accountName": "account1", "shareName": "models", "accessMode": "ReadWrite"}},
        },
    )
    assert (await azure.ask("GET", STORAGE)).body == answer.body
    assert (await azure.ask("GET", "managedEnvironments/env/storages")).body == {"value": [answer.body]}


async def test_a_second_put_keeps_the_first_account(azure: Any) -> None:
    """200, and still the old account's name."""
    await azure.ask("PUT", STORAGE, body(key="a", account="first"))
    answer = await azure.ask("PUT", STORAGE, body(key="b", account="second"))
    assert (answer.status, answer.body["properties"]["azureFile"]["accountName"]) == (200, "first")


async def test_a_missing_storage_is_the_providers_404(azure: Any) -> None:
    """Not the gateway's; a missing environment is."""
    answer = await azure.ask("GET", STORAGE)
    assert (answer.status, answer.body["error"]) == (
        404,
        {"code": "ManagedEnvironmentStorageNotFound", "message": "ManagedEnvironment Storage 'models' was not found."},
    )
    assert "x-ms-failure-cause" not in answer.headers
    orphan = await azure.ask("PUT", "managedEnvironments/no/storages/models", body(key="a"))
    assert (orphan.status, orphan.body["error"]["code"]) == (404, "ParentResourceNotFound")
    assert orphan.headers["x-ms-failure-cause"] == "gateway"


@pytest.mark.parametrize("name", ["Upper", "1st", "a--b", "end-", "a" * 33])
async def test_names_are_checked(azure: Any, name: str) -> None:
    """Lower case, a letter first, single hyphens, at most 32."""
    answer = await azure.ask("PUT", f"managedEnvironments/env/storages/{name}", body(key="a"))
    assert answer.status == 400


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"properties": {"azureFile": {"accountName": "a", "shareName": "s", "accessMode": "ReadWrite"}}},
        body(key="a", mode="Write"),
    ],
)
async def test_bodies_are_checked(azure: Any, sent: dict[str, Any]) -> None:
    """Every member is needed, and only two modes are known."""
    answer = await azure.ask("PUT", STORAGE, sent)
    assert (answer.status, answer.body["error"]["code"]) == (400, "ManagedEnvironmentStorageInvalid")


async def test_a_delete_answers_200_and_is_refused_while_mounted(azure: Any, app_body: Any, storage: str) -> None:
    """A template that names the storage holds it."""
    await azure.ask("PUT", STORAGE, body(key=storage))
    await azure.put(mounting(app_body))
    assert (await azure.ask("DELETE", STORAGE)).status == 409
    await azure.ask("DELETE", "containerApps/web")
    azure.advance(18)
    answer = await azure.ask("DELETE", STORAGE)
    assert (answer.status, answer.body) == (200, None)
    assert (await azure.ask("GET", STORAGE)).status == 404


async def test_the_share_is_the_containers_folder(azure: Any, app_body: Any, storage: str) -> None:
    """With the subPath inside; volume and mount come back unchanged but for the type's casing."""
    await azure.ask("PUT", STORAGE, body(key=storage))
    await azure.put(mounting(app_body, sub_path="phi/3"))
    azure.advance(8)
    app = await azure.properties("containerApps/web")
    runtime = azure.local.server._runtime
    mount = runtime._revisions[app["latestRevisionName"]].containers[0].mounts[0]
    share: Path = azure.local.server._shares.folder("account1", "models")
    assert (mount.path, mount.folder, mount.read_only) == ("/mount", share / "phi" / "3", False)
    assert app["template"]["volumes"] == [{"name": "v", "storageType": "AzureFile", "storageName": "models"}]
    assert app["template"]["containers"][0]["volumeMounts"] == [
        {"volumeName": "v", "mountPath": "/mount", "subPath": "phi/3"}
    ]
    assert (await azure.triples())[0] == (True, "Provisioned", "Healthy", "Running", 1)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"key": "d3Jvbmc="}, "mount error(13): Permission denied"),
        ({"share": "absent"}, "mount error(2): No such file or directory"),
        ({"account": "nobody1"}, "could not resolve address"),
    ],
)
async def test_a_mount_that_fails_keeps_the_container_waiting(
    azure: Any, app_body: Any, storage: str, sent: dict[str, str], words: str
) -> None:
    """The PUT of the storage and of the app succeed; the replica says why it waits."""
    assert (await azure.ask("PUT", STORAGE, body(**{"key": storage, **sent}))).status == 200
    await azure.put(mounting(app_body))
    azure.advance(600)
    name = (await azure.revisions())[0]["name"]
    replica = (await azure.ask("GET", f"containerApps/web/revisions/{name}/replicas")).body["value"][0]
    container = replica["properties"]["containers"][0]
    assert (await azure.triples())[0] == (True, "Provisioned", "None", "Activating", 1)
    assert container["runningState"] == "Waiting"
    assert words in container["runningStateDetails"]


async def test_a_restart_mounts_with_the_new_key(azure: Any, app_body: Any, storage: str) -> None:
    """A repaired key takes effect when the revision starts again."""
    await azure.ask("PUT", STORAGE, body(key="d3Jvbmc="))
    await azure.put(mounting(app_body))
    await azure.ask("PUT", STORAGE, body(key=storage))
    name = (await azure.revisions())[0]["name"]
    assert (await azure.ask("POST", f"containerApps/web/revisions/{name}/restart")).body == "Restart succeeded"
    azure.advance(10)
    assert (await azure.triples())[0] == (True, "Provisioned", "Healthy", "Running", 1)


async def test_a_mount_is_tried_again(azure: Any, app_body: Any, storage: str) -> None:
    """A share made later mends the revision by itself."""
    await azure.ask("PUT", STORAGE, body(key=storage, share="later"))
    await azure.put(mounting(app_body))
    azure.advance(60)
    name = (await azure.revisions())[0]["name"]
    await azure.ask("POST", f"containerApps/web/revisions/{name}/restart")
    azure.advance(60)
    assert (await azure.triples())[0][3] == "Activating"
    share = "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/account1/fileServices/default/shares/later"
    await azure.arm("PUT", share, {"properties": {}})
    azure.advance(40)
    assert (await azure.triples())[0] == (True, "Provisioned", "Healthy", "Running", 1)


async def test_secret_and_empty_volumes_are_folders(azure: Any, app_body: Any) -> None:
    """A file per secret, read-only, and an empty folder; both go with the revision."""
    container = {
        "name": "web",
        "image": "i",
        "volumeMounts": [{"volumeName": "s", "mountPath": "/s"}, {"volumeName": "e", "mountPath": "/e"}],
    }
    volumes = [{"name": "s", "storageType": "Secret"}, {"name": "e"}]
    secrets = {"secrets": [{"name": "key", "value": "hidden"}]}
    await azure.put(app_body(template={"containers": [container], "volumes": volumes}, configuration=secrets))
    name = (await azure.revisions())[0]["name"]
    secret, empty = azure.local.server._runtime._revisions[name].containers[0].mounts
    assert ((secret.folder / "key").read_text(), secret.read_only) == ("hidden", True)
    assert (list(empty.folder.iterdir()), empty.read_only) == ([], False)
    await azure.ask("DELETE", "containerApps/web")
    azure.advance(18)
    assert not empty.folder.exists()


async def test_a_secret_stays_in_its_volume(azure: Any, app_body: Any, tmp_path: Path) -> None:
    """A path that leaves the folder fails the mount and writes nothing."""
    container = {"name": "web", "image": "i", "volumeMounts": [{"volumeName": "s", "mountPath": "/s"}]}
    outside = str(tmp_path / "stolen")
    volume = {"name": "s", "storageType": "Secret", "secrets": [{"secretRef": "key", "path": outside}]}
    secrets = {"secrets": [{"name": "key", "value": "hidden"}]}
    await azure.put(app_body(template={"containers": [container], "volumes": [volume]}, configuration=secrets))
    azure.advance(60)
    assert (await azure.triples())[0] == (True, "Provisioned", "None", "Activating", 1)
    assert not (tmp_path / "stolen").exists()
