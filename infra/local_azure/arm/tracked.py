"""Rules that ARM applies to every resource with a location: ids, regions, listing. No provider's own rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from infra.local_azure import operations, wire
from infra.local_azure.arm import regions

TAG_FILTER = re.compile(r"tagName eq '(?P<name>[^']*)'(?: and tagValue eq '(?P<value>[^']*)')?", re.IGNORECASE)


def group_id(subscription: str, group: str) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


def resource_id(call: wire.Call, resource_type: str, name: str) -> str:
    """The id as the service writes it, whatever the case of the path."""
    return f"{group_id(call.names['subscription'], call.names['group'])}/providers/{resource_type}/{name}"


def stamp(moment: datetime) -> str:
    """Seven digits and a Z (recorded: storageaccount-poll-done)."""
    return operations.stamp(moment) + "Z"


def body(call: wire.Call) -> dict[str, Any]:
    """The request's JSON object; anything else is refused (documented: InvalidRequestContent)."""
    if isinstance(call.body, dict):
        return call.body
    message = "The request content was invalid and could not be deserialized: 'a JSON object is required'."
    raise wire.ArmError(400, "InvalidRequestContent", message, gateway=True)


def member(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object at `name`, {} when absent or null; 400 when it is something else."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = f"The request content was invalid and could not be deserialized: '{name} must be an object'."
        raise wire.ArmError(400, "InvalidRequestContent", message, gateway=True)
    return value


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`new` over `old`: objects merge, anything else replaces, a null changes nothing."""
    found = dict(old)
    for name, value in new.items():
        before = found.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            found[name] = merged(before, value)
        elif value is not None:
            found[name] = value
    return found


def tags(document: Mapping[str, Any]) -> dict[str, str]:
    """The tags sent; a null value is stored as the empty string (assumed)."""
    return {name: value or "" for name, value in (document.get("tags") or {}).items()}


def location(document: Mapping[str, Any], resource_type: str) -> str:
    """The location a create asks for, as sent; raises ARM's refusals (documented)."""
    wanted = document.get("location")
    if not isinstance(wanted, str) or not wanted.strip():
        raise wire.ArmError(
            400, "LocationRequired", "The location property is required for this definition.", gateway=True
        )
    if not regions.known(wanted):
        message = (
            f"The provided location '{wanted}' is not available for resource type '{resource_type}'. "
            f"List of available regions for the resource type is '{regions.listing()}'."
        )
        raise wire.ArmError(400, "LocationNotAvailableForResourceType", message, gateway=True)
    return wanted


def check_location(document: Mapping[str, Any], *, name: str, group: str, current: str) -> None:
    """A resource never moves: 409 InvalidResourceLocation, made by the gateway (recorded for environments)."""
    wanted = document.get("location")
    if wanted is None or regions.code(str(wanted)) == regions.code(current):
        return
    message = (
        f"The resource '{name}' already exists in location '{regions.code(current)}' in resource group '{group}'. "
        f"A resource with the same name cannot be created in location '{regions.code(str(wanted))}'. "
        "Please select a new resource name."
    )
    raise wire.ArmError(409, "InvalidResourceLocation", message, gateway=True)


def matches_tag_filter(call: wire.Call, resource: Mapping[str, Any]) -> bool:
    """Whether `resource` passes the list call's $filter; only the filter by tag is known (documented)."""
    wanted = call.query.get("$filter")
    if not wanted:
        return True
    found = TAG_FILTER.fullmatch(wanted.strip())
    if found is None:
        raise wire.ArmError(400, "InvalidFilterInQueryString", f"Invalid $filter '{wanted}' specified in the query.")
    value = {name.lower(): text for name, text in (resource.get("tags") or {}).items()}.get(found["name"].lower())
    return value is not None and found["value"] in (None, value)
