"""Regions as Microsoft.App shows and refuses them. The table of regions is ARM's."""

from __future__ import annotations

from infra.local_azure import wire
from infra.local_azure.arm import regions


def display(code: str) -> str:
    """Recorded: `eastus` comes back as `East US`, `northcentralusstage` as `North Central US (Stage)`."""
    return regions.NAMES[code]


def require(location: object, resource_type: str, api_version: str) -> str:
    """The code of the region asked for, in either form; raises the gateway's 400 (recorded code:
    NoRegisteredProviderFound; its words are assumed)."""
    if not isinstance(location, str) or not location.strip():
        message = "The location property is required for this definition."
        raise wire.ArmError(400, "LocationRequired", message, gateway=True)
    if not regions.known(location):
        message = (
            f"No registered resource provider found for location '{location}' and API version '{api_version}' for type "
            f"'{resource_type}'. The supported locations are '{regions.listing()}'."
        )
        raise wire.ArmError(400, "NoRegisteredProviderFound", message, gateway=True)
    return regions.code(location)
