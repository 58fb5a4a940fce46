"""What Azure Resource Manager does in front of every provider, and the turning of answers into HTTP.

It authenticates, routes, checks what belongs to no provider (api-version, subscription, resource group,
tags, JSON), throttles and adds headers. It knows providers only by their routes.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from infra.local_azure import clock, entra, wire
from infra.local_azure.arm import routes_by_path, throttling

log = logging.getLogger(__name__)

API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[A-Za-z0-9-]+)?")
MANAGEMENT = ("https://management.azure.com", "https://management.core.windows.net")
JSON = "application/json; charset=utf-8"
THROTTLED = web.RequestKey("throttled", throttling.Refused)
# Documented: at most 4 MB in a request, 50 tags, 256 characters in a value, 512 in a name.
MOST_BYTES = 4 * 1024 * 1024
MOST_TAGS = 50
LONGEST_TAG_NAME = 512
LONGEST_TAG_VALUE = 256
TAG_RESERVED = re.compile(r"[<>%&\\?/\x00-\x1f]")
STANDING = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}

# The state of a provider's registration in a subscription: (subscription, namespace).
Registration = Callable[[str, str], str]
# The provisioningState of a resource group, None when it isn't there.
GroupState = Callable[[str, str], str | None]


class Gateway:
    """Routes ARM requests to the handlers of `routes`; earlier routes win."""

    def __init__(
        self,
        routes: Iterable[wire.Route],
        *,
        time: clock.Clock,
        authority: entra.Authority,
        throttle: throttling.Throttle,
        subscriptions: Iterable[str],
        registration: Registration,
        group_state: GroupState,
    ) -> None:
        self._routes = routes_by_path.Table(routes)
        self._time = time
        self._authority = authority
        self._throttle = throttle
        self._subscriptions = {subscription.lower() for subscription in subscriptions}
        self._registration = registration
        self._group_state = group_state

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one ARM request. A handler's own failure is a 500, as ARM's is. A refusal for having asked too much
        is left at `request[THROTTLED]`."""
        headers = self._headers(request)
        try:
            reply = await self._answer(request, headers)
        except wire.ArmError as error:
            if isinstance(error, throttling.Refused):
                request[THROTTLED] = error
            return _failure(error, headers, head=request.method == "HEAD")
        except Exception:
            log.exception("request failed: %s %s", request.method, request.path)
            unexpected = wire.ArmError(500, "InternalServerError", "Encountered internal server error.")
            return _failure(unexpected, headers, head=request.method == "HEAD")
        return _response(reply, headers)

    async def _answer(self, request: web.BaseRequest, headers: dict[str, str]) -> wire.Reply:
        base = f"{request.scheme}://{request.host}"
        claims = self._authority.authenticate(request.headers.get("Authorization"), _audiences(request))
        path = unquote(request.raw_path.partition("?")[0]).rstrip("/")
        query = {name.lower(): value for name, value in request.query.items()}
        _check_version(query.get("api-version", ""))
        method = request.method
        match = self._routes.find(method, path)
        self._check_subscription(path)
        if match is None:
            self._refuse_group(method, path)
            raise self._routes.missing(method, path, query["api-version"])
        route, names = match
        headers.update(self._count(route, names, method, path, principal=claims.client_id))
        if route.needs_group:
            self._refuse_group(method, path)
        if method in ("PUT", "PATCH"):
            self._refuse_unregistered(path)
        body = _body(await _content(request))
        _check_tags(method, body)
        return await route.handler(
            wire.Call(
                method=method,
                path=path,
                names=names,
                query=query,
                headers={name.lower(): value for name, value in request.headers.items()},
                body=body,
                base=base,
                user=claims.client_id,
            )
        )

    def _count(
        self, route: wire.Route, names: Mapping[str, str], method: str, path: str, *, principal: str
    ) -> dict[str, str]:
        if "subscription" not in names:
            return {}
        found = routes_by_path.TYPE.search(path)
        resource_type = f"{found['namespace']}/{found['type']}" if found else ""
        return self._throttle.take(
            method, names["subscription"], principal=principal, bucket=route.bucket, resource_type=resource_type
        )

    def _check_subscription(self, path: str) -> None:
        """Documented: ARM's common errors."""
        parts = path.split("/")
        if len(parts) < 3 or parts[1].lower() != "subscriptions" or parts[2].lower() in self._subscriptions:
            return
        try:
            uuid.UUID(parts[2])
        except ValueError:
            message = f"The provided subscription identifier '{parts[2]}' is malformed or invalid."
            raise wire.ArmError(400, "InvalidSubscriptionId", message, gateway=True) from None
        message = f"The subscription '{parts[2]}' could not be found."
        raise wire.ArmError(404, "SubscriptionNotFound", message, gateway=True)

    def _refuse_group(self, method: str, path: str) -> None:
        """Refuse what lies below a group that is missing (recorded: resourcegroup-get-notfound) or, for writes,
        on its way out (documented)."""
        parts = path.split("/")
        if len(parts) < 6 or parts[3].lower() != "resourcegroups":
            return
        state = self._group_state(parts[2], parts[4])
        if state is None:
            raise group_not_found(parts[4])
        if state == "Deleting" and method in ("PUT", "PATCH"):
            message = f"The resource group '{parts[4]}' is in deprovisioning state and cannot perform this operation."
            raise wire.ArmError(409, "ResourceGroupBeingDeleted", message, gateway=True)

    def _refuse_unregistered(self, path: str) -> None:
        """Documented: ARM's common errors. That it concerns only writes, and lasts until Registered, is assumed."""
        found = routes_by_path.TYPE.search(path)
        if found is None or self._registration(path.split("/")[2], found["namespace"]) == "Registered":
            return
        message = (
            f"The subscription is not registered to use namespace '{self._routes.namespace(found['namespace'])}'. "
            "See https://aka.ms/rps-not-found for how to register subscriptions."
        )
        raise wire.ArmError(409, "MissingSubscriptionRegistration", message, gateway=True)

    def _headers(self, request: web.BaseRequest) -> dict[str, str]:
        request_id = str(uuid.uuid4())
        correlation = request.headers.get("x-ms-correlation-request-id") or request_id
        now = self._time.now()
        found = {
            **STANDING,
            "x-ms-request-id": request_id,
            "x-ms-correlation-request-id": correlation,
            "x-ms-routing-request-id": f"LOCAL:{now:%Y%m%dT%H%M%SZ}:{request_id}",
        }
        client = request.headers.get("x-ms-client-request-id")
        if client and request.headers.get("x-ms-return-client-request-id", "").lower() == "true":
            found["x-ms-client-request-id"] = client
        return found


def group_not_found(group: str) -> wire.ArmError:
    """Recorded: resourcegroup-get-notfound."""
    message = f"Resource group '{group}' could not be found."
    return wire.ArmError(404, "ResourceGroupNotFound", message, gateway=True)


def _check_version(version: str) -> None:
    """Documented: ARM's common errors."""
    if not version:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise wire.ArmError(400, "MissingApiVersionParameter", message, gateway=True)
    if not API_VERSION.fullmatch(version):
        message = f"The api-version '{version}' is invalid. The supported versions are of the form 'YYYY-MM-DD'."
        raise wire.ArmError(400, "InvalidApiVersionParameter", message, gateway=True)


def _audiences(request: web.BaseRequest) -> set[str]:
    """Whom a token for this endpoint may name: Azure's ARM, or this server by any of its own names."""
    port = request.host.rpartition(":")[2]
    names = (request.host, f"127.0.0.1:{port}", f"localhost:{port}")
    return {*MANAGEMENT, *(f"https://{name}" for name in names)}


async def _content(request: web.BaseRequest) -> bytes:
    if (request.content_length or 0) > MOST_BYTES:
        message = f"The request content size exceeds the maximum size of {MOST_BYTES} bytes."
        raise wire.ArmError(413, "RequestContentTooLarge", message, gateway=True)
    return await request.read()


def _body(content: bytes) -> Any:
    """Documented: InvalidRequestContent for what isn't JSON."""
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except ValueError as error:
        message = f"The request content was invalid and could not be deserialized: '{error}'."
        raise wire.ArmError(400, "InvalidRequestContent", message, gateway=True) from None


def _check_tags(method: str, body: Any) -> None:
    """Documented: the limits of tags. The codes but the first are assumed."""
    tags = body.get("tags") if isinstance(body, dict) and method in ("PUT", "PATCH") else None
    if tags is None:
        return
    if not isinstance(tags, dict) or any(not isinstance(value, str | None) for value in tags.values()):
        message = "The request content was invalid and could not be deserialized: 'tags must be strings'."
        raise wire.ArmError(400, "InvalidRequestContent", message, gateway=True)
    reserved = [name for name in tags if TAG_RESERVED.search(name)]
    if reserved:
        message = (
            f"The tag names '{','.join(reserved)}' have reserved characters '<,>,%,&,\\,?,/' or control characters."
        )
        raise wire.ArmError(400, "InvalidTagNameCharacters", message, gateway=True)
    if len(tags) > MOST_TAGS:
        message = f"The number of tags '{len(tags)}' exceeds the maximum of '{MOST_TAGS}'."
        raise wire.ArmError(400, "TooManyTags", message, gateway=True)
    for name, value in tags.items():
        if len(name) > LONGEST_TAG_NAME or len(value or "") > LONGEST_TAG_VALUE:
            message = f"Tag '{name[:64]}' is too long: {LONGEST_TAG_NAME} characters for a name, {LONGEST_TAG_VALUE} "
            raise wire.ArmError(400, "InvalidTagLength", message + "for a value.", gateway=True)


def _response(reply: wire.Reply, headers: Mapping[str, str]) -> web.Response:
    """A status without a body gets none at all: the SDKs parse what they are sent."""
    sent = {**headers, **reply.headers}
    if reply.body is None:
        return web.Response(status=reply.status, headers=sent)
    return web.Response(status=reply.status, headers={**sent, "Content-Type": JSON}, body=json.dumps(reply.body))


def _failure(error: wire.ArmError, headers: dict[str, str], *, head: bool) -> web.Response:
    """The gateway's own errors say so and carry no rate-limit header (recorded: managedenv-get-notfound)."""
    sent = dict(headers)
    if error.gateway:
        sent = {name: value for name, value in sent.items() if not name.startswith(throttling.PREFIX)}
        sent["x-ms-failure-cause"] = "gateway"
    inner = {"code": error.code, "message": error.message}
    body = None if head else inner if error.bare else {"error": inner}
    return _response(wire.Reply(error.status, body, error.headers), sent)
