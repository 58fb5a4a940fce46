"""The local Azure as its users see it: the SDK's clients, the share's files, and what was asked of it."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientSecretCredential
from azure.mgmt.appcontainers.aio import ContainerAppsAPIClient

from infra.local_azure import lifecycle, settings
from tests.e2e.folder import APP, GROUP


@contextlib.asynccontextmanager
async def container_apps(server: lifecycle.Running) -> AsyncIterator[ContainerAppsAPIClient]:
    """The real SDK's client."""
    secret = settings.identity(server.state).client_secret
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(server.ca)))
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        def options() -> dict[str, Any]:
            return {"transport": AioHttpTransport(session=session, session_owner=False), "retry_total": 0}

        async with (
            ClientSecretCredential(
                server.tenant, server.client_id, secret, authority=server.url, **options()
            ) as credential,
            ContainerAppsAPIClient(
                credential,
                server.subscription,
                base_url=server.url,
                credential_scopes=[f"{server.url}/.default"],
                polling_interval=0.05,
                **options(),
            ) as client,
        ):
            yield client


async def revisions(client: ContainerAppsAPIClient) -> set[str]:
    """The names of the app's revisions, active or not."""
    return {str(one.name) async for one in client.container_apps_revisions.list_revisions(GROUP, APP)}


def shared_files(server: lifecycle.Running) -> list[str]:
    """The paths of all files on the one share."""
    (files,) = server.state.glob("shares/*/*/files")
    return sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())


async def codes(client: ContainerAppsAPIClient, server: lifecycle.Running) -> list[tuple[str, str]]:
    """For each revision ever made, oldest first: what its env calls its commit, and what its code does."""
    found = [one async for one in client.container_apps_revisions.list_revisions(GROUP, APP)]
    pairs = []
    for revision in sorted(found, key=lambda one: str(one.created_time)):
        assert revision.template is not None
        (container,) = revision.template.containers or ()
        named = next((one.value for one in container.env or () if one.name == "COMMIT"), "one")
        pairs.append((str(named), _model(server, " ".join(container.command or ()))))
    return pairs


def _model(server: lifecycle.Running, command: str) -> str:
    """The model that the code in a container's bundle names."""
    digest = re.findall(r"([0-9a-f]{64})\.tar\.gz", command)[0]
    (bundle,) = server.state.glob(f"shares/*/*/files/.acaops/*/*/releases/{digest}.tar.gz")
    with tarfile.open(bundle) as archive:
        code = archive.extractfile("server/app.py")
        assert code is not None
        return re.findall(r'MODEL = "(.*)"', code.read().decode())[0]


class Journal:
    """The requests to the local Azure, but for those to the apps, from the moment this is made on."""

    def __init__(self, state: Path) -> None:
        self._path = state / "requests.jsonl"
        self._begin = self._path.stat().st_size
        self.requests: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """All so far."""
        with self._path.open("rb") as file:
            file.seek(self._begin)
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self._begin += len(whole) + 1
            self.requests += map(json.loads, whole.split(b"\n"))
        return self.requests
