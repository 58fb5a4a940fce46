"""What somebody else does to the resources is put right by the running controller."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from azure.mgmt.appcontainers.models import ContainerApp

from infra.local_azure import lifecycle
from tests.e2e import azure, running
from tests.e2e.folder import APP, GROUP, Folder


def created(app: ContainerApp) -> datetime:
    assert app.system_data
    assert app.system_data.created_at
    return app.system_data.created_at


async def test_a_deleted_app_is_made_again(folder: Folder, server: lifecycle.Running, tmp_path: Path) -> None:
    """At the next interval, with nobody asking."""
    folder.describe(interval="1s")
    env = running.environ(server)
    async with (
        running.daemon(folder.state, env=env, log=tmp_path / "run.log") as daemon,
        azure.container_apps(server) as apps,
    ):
        before = await daemon.ready()
        first = created(await apps.container_apps.get(GROUP, APP))
        await (await apps.container_apps.begin_delete(GROUP, APP)).result()

        async def made_again() -> bool:
            found = [one async for one in apps.container_apps.list_by_resource_group(GROUP)]
            return any(created(one) > first for one in found)

        await running.until(made_again, "the app is there again")
        after = await daemon.ready()
        assert after["release"] == before["release"]
        assert (await running.get(f"{after['endpoint']}/readyz"))["release"] == before["release"]
