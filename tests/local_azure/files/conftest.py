"""A running data plane, its SDK client, an empty share, and a way to sign requests by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from azure.storage.fileshare.aio import ShareClient, ShareServiceClient

from infra.local_azure import clock
from tests.local_azure.files.service import Service, Wire, make_service


@pytest.fixture
def time() -> clock.Clock:
    return clock.ScaledClock(0)


@pytest.fixture
async def service(tmp_path: Path, time: clock.Clock) -> AsyncIterator[Service]:
    running = make_service(tmp_path / "root", time)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[ShareServiceClient]:
    async with service.client() as connected:
        yield connected


@pytest.fixture
async def share(client: ShareServiceClient) -> ShareClient:
    """The share `data`, empty."""
    return await client.create_share("data")


@pytest.fixture
async def wire(service: Service) -> AsyncIterator[Wire]:
    async with aiohttp.ClientSession() as session:
        yield Wire(service, session)
