"""POST /admin/adapter: put another adapter in, or the same one anew, while the server runs.

There only with ADMIN_KEY, which alone opens it: keys of the API don't. Owns the exchange with the operator; how an
adapter is checked and swapped is `reload`'s.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inference import errors, model_files, reload, settings, wire

_BODY = 4096
"""Bytes of a body: it names a folder."""


def routes(swap: reload.Reload | None, *, limits: settings.Settings) -> list[Route]:
    """The admin routes. Without a key, or nothing to reload, every URL under /admin is unknown."""
    if swap is None or limits.admin_key is None:
        return [Route("/admin/{rest:path}", wire.Endpoint(wire.unknown, method=None, keys=wire.Keys([])))]
    keys = wire.Keys([limits.admin_key])

    async def adapter(request: Request) -> Response:
        name = _name(await wire.body(request, at_most=_BODY))
        began = time.monotonic()
        try:
            served = await swap.to(name)
        except reload.Busy as error:
            raise errors.ApiError(409, str(error), code="reload_in_progress") from error
        except model_files.AdapterError as error:
            raise errors.ApiError(422, str(error), param="adapter", code="bad_adapter") from error
        return JSONResponse(
            {
                "model": served.model,
                "adapter": served.adapter,
                "adapter_digest": served.adapter_digest,
                "seconds": round(time.monotonic() - began, 3),
            }
        )

    return [
        Route("/admin/adapter", wire.Endpoint(adapter, method="POST", keys=keys)),
        Route("/admin/{rest:path}", wire.Endpoint(wire.unknown, method=None, keys=keys)),
    ]


def _name(body: Any) -> str | None:
    """The folder asked for. Raises ApiError 400."""
    if not isinstance(body, dict):
        raise errors.ApiError(400, "the body must be a JSON object")
    for name in sorted(body.keys() - {"adapter"}):
        raise errors.ApiError(400, f"unsupported parameter: {name!r}", param=name, code="unsupported_parameter")
    adapter = body.get("adapter")
    if adapter is not None and not isinstance(adapter, str):
        raise errors.ApiError(400, "adapter: must be a folder's name", param="adapter", code="invalid_value")
    return adapter
