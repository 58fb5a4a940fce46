"""What an ARM request and an ARM answer are in this package, and how a provider declares its routes.

Providers are plain functions from a `Call` to a `Reply`; they never see the web framework. Errors are
raised as `ArmError`. The gateway (arm/gateway.py) does what Azure Resource Manager does in front of a
provider: authentication, api-version, subscription and resource group checks, headers, throttling.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Call:
    """One ARM request.

    `names` holds the values of the route's placeholders in the casing sent, e.g. `{"subscription": …,
    "group": …, "app": …}`. `path` is the decoded path without trailing slash. `base` is the scheme and
    authority the client used, e.g. `https://127.0.0.1:8443`, for absolute URLs in answers. `user` is the
    caller's object id or client id, for systemData.
    """

    method: str
    path: str
    names: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    base: str
    user: str

    @property
    def api_version(self) -> str:
        return self.query["api-version"]


@dataclass(frozen=True)
class Reply:
    """One ARM answer. `body` None sends no body at all; a str is sent as a JSON string."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ArmError(Exception):
    """An error answer. `gateway` marks those that ARM makes itself (`x-ms-failure-cause: gateway`).

    `bare` leaves out the `error` wrapper, as one recorded answer of the Container Apps provider does.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        gateway: bool = False,
        bare: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.gateway = gateway
        self.bare = bare
        self.headers = dict(headers or {})


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """`method` and a path pattern such as
    `/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.App/containerApps/{app}`.

    Patterns match without regard to case. `bucket` names the throttling bucket when it isn't the one the
    method implies: `resource-requests` for app and environment PUT/PATCH and for listKeys.
    `needs_group` False is for the routes on the resource group itself.
    """

    method: str
    pattern: str
    handler: Handler
    bucket: str | None = None
    needs_group: bool = True

    def compile(self) -> re.Pattern[str]:
        return _compiled(self.pattern)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    source = "".join(f"(?P<{part}>[^/]+)" if odd % 2 else re.escape(part) for odd, part in enumerate(parts))
    return re.compile(source, re.IGNORECASE)


def not_found(resource_type: str, name: str, group: str) -> ArmError:
    """The gateway's 404 for a resource that isn't there (recorded: managedenv-get-notfound)."""
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{resource_type}/{name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        gateway=True,
    )


def parent_not_found(verb: str, resource_type: str, parent_id: str) -> ArmError:
    """The gateway's 404 for a child of a missing parent; `verb` is write, read or delete."""
    return ArmError(
        404,
        "ParentResourceNotFound",
        f"Failed to perform '{verb}' on resource(s) of type '{resource_type}', because the parent resource "
        f"'{parent_id}' could not be found.",
        gateway=True,
    )
