"""The version of Microsoft.App that the limits speak of is the one that is asked for."""

from __future__ import annotations

from azure.core.credentials import AccessToken
from azure.mgmt.appcontainers.aio import ContainerAppsAPIClient

from controller.model import limits


class Nobody:
    """A credential that is never asked."""

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        raise AssertionError

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Nobody:
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Nothing is open."""


async def test_the_limits_are_those_of_the_sdk_s_version() -> None:
    """A newer SDK speaks another version: then its limits must be looked at."""
    async with ContainerAppsAPIClient(Nobody(), "subscription") as client:
        assert client._config.api_version == limits.API_VERSION
