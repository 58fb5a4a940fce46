"""Azure's regions: their code and display name. No rule of any provider is here."""

from __future__ import annotations

NAMES = {
    "eastus": "East US",
    "eastus2": "East US 2",
    "southcentralus": "South Central US",
    "westus2": "West US 2",
    "westus3": "West US 3",
    "australiaeast": "Australia East",
    "southeastasia": "Southeast Asia",
    "northeurope": "North Europe",
    "swedencentral": "Sweden Central",
    "uksouth": "UK South",
    "westeurope": "West Europe",
    "centralus": "Central US",
    "southafricanorth": "South Africa North",
    "centralindia": "Central India",
    "eastasia": "East Asia",
    "japaneast": "Japan East",
    "koreacentral": "Korea Central",
    "canadacentral": "Canada Central",
    "francecentral": "France Central",
    "germanywestcentral": "Germany West Central",
    "italynorth": "Italy North",
    "norwayeast": "Norway East",
    "polandcentral": "Poland Central",
    "spaincentral": "Spain Central",
    "switzerlandnorth": "Switzerland North",
    "uaenorth": "UAE North",
    "brazilsouth": "Brazil South",
    "israelcentral": "Israel Central",
    "northcentralus": "North Central US",
    "northcentralusstage": "North Central US (Stage)",
    "westus": "West US",
    "westcentralus": "West Central US",
    "japanwest": "Japan West",
    "australiasoutheast": "Australia Southeast",
    "southindia": "South India",
    "canadaeast": "Canada East",
    "ukwest": "UK West",
}


def code(location: str) -> str:
    """The region's code for either form: `East US` and `eastus` are `eastus`."""
    return "".join(letter for letter in location.lower() if letter not in " ()")


def known(location: str) -> bool:
    return code(location) in NAMES


def listing() -> str:
    return ",".join(NAMES)
