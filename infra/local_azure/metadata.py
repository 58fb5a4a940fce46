"""What this cloud says of itself: ARM's metadata endpoints, so that az and the SDKs find the rest."""

from __future__ import annotations

from typing import Any

from aiohttp import web

NAME = "AcaopsLocal"


def endpoints(request: web.BaseRequest) -> web.Response:
    """GET /metadata/endpoints: one object from api-version 2022-09-01 on, a list before (az tells them apart)."""
    cloud = _cloud(f"{request.scheme}://{request.host}")
    old = request.query.get("api-version", "") < "2022-09-01"
    return web.json_response([cloud] if old else cloud)


def _cloud(base: str) -> dict[str, Any]:
    """`base` has no trailing slash: az appends paths to it as it is."""
    return {
        "name": NAME,
        "resourceManager": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [base, "https://management.azure.com", "https://management.core.windows.net"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {"storage": f"core.localhost{_port(base)}"},
        "portal": base,
    }


def _port(base: str) -> str:
    port = base.rpartition(":")[2]
    return f":{port}" if port.isdigit() else ""
