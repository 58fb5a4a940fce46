"""The log and event streams, on Azure at `<loc>.azurecontainerapps.dev`: text lines, for a getAuthtoken bearer.

Paths: `…/containerApps/A/eventstream`, `…/containerApps/A/revisions/V/replicas/P/containers/C/logstream` and
`…/managedEnvironments/E/eventstream`, below `/subscriptions/S/resourceGroups/R`. Query: `follow`, `output`
(`json` or `text`), `tailLines`.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from infra.local_azure.apps import context, events, revisions, tokens
from infra.local_azure.apps.context import Document

_GROUP = r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
_LOGS = re.compile(
    rf"{_GROUP}/containerApps/(?P<app>[^/]+)/revisions/(?P<revision>[^/]+)/replicas/(?P<replica>[^/]+)"
    r"/containers/(?P<container>[^/]+)/logstream/?",
    re.IGNORECASE,
)
_APP_EVENTS = re.compile(rf"{_GROUP}/containerApps/(?P<app>[^/]+)/eventstream/?", re.IGNORECASE)
_ENVIRONMENT_EVENTS = re.compile(rf"{_GROUP}/managedEnvironments/(?P<environment>[^/]+)/eventstream/?", re.IGNORECASE)

# Documented for az containerapp logs show: 0 to 300 lines, 20 by default.
_TAIL_DEFAULT, _TAIL_MOST = 20, 300


@dataclass(frozen=True)
class _Asked:
    """The query of a stream request."""

    follow: bool
    as_json: bool
    tail: int


class Streams:
    """Serves the streams; each request is one iterator of lines."""

    def __init__(self, rooms: context.Context, known: revisions.Revisions, told: events.Events) -> None:
        self._rooms = rooms
        self._revisions = known
        self._events = told

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 and a stream of lines; 401 without the resource's token, 404 for what isn't there, 400 for a bad
        query."""
        asked = _asked(request)
        if asked is None:
            return _refused(400, "InvalidQuery", "tailLines must be a number from 0 to 300.")
        resource = self._resource(request.path)
        if resource is None:
            return _refused(404, "NotFound", f"Nothing streams at {request.path}.")
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not tokens.accepts(self._rooms, token.strip(), resource["id"]):
            return _refused(401, "Unauthorized", "The bearer token is missing, expired or of another resource.")
        lines = await self._opened(request.path, resource, asked)
        if lines is None:
            return _refused(404, "NotFound", f"Nothing streams at {request.path}.")
        return await _sent(request, lines)

    def _resource(self, path: str) -> Document | None:
        found = _LOGS.fullmatch(path) or _APP_EVENTS.fullmatch(path)
        if found:
            names = found.groupdict()
            return self._rooms.documents.get(
                f"{context.group_id(names)}{context.PROVIDER}/containerapps/{names['app']}"
            )
        found = _ENVIRONMENT_EVENTS.fullmatch(path)
        if found:
            names = found.groupdict()
            return self._rooms.documents.get(
                f"{context.group_id(names)}{context.PROVIDER}/managedEnvironments/{names['environment']}"
            )
        return None

    async def _opened(self, path: str, resource: Document, asked: _Asked) -> AsyncIterator[str] | None:
        """The lines of the stream; None when the replica or container isn't there."""
        found = _LOGS.fullmatch(path)
        if found is None:
            return self._event_lines(resource, asked)
        revision = self._revisions.find(resource, found["revision"])
        if revision is None:
            return None
        running = self._rooms.runtime.replicas(revision["key"])
        replica = next((item for item in running if item.name == found["replica"]), None)
        if replica is None or found["container"] not in {item.name for item in replica.containers}:
            return None
        return self._log_lines(revision["key"], replica.name, found["container"], asked)

    async def _log_lines(self, key: str, replica: str, container: str, asked: _Asked) -> AsyncIterator[str]:
        """Recorded first lines, from a builder's log on the same host: connecting, then connected."""
        now = self._rooms.time.now()
        yield _line(now, f"Connecting to the container '{container}'...", asked)
        yield _line(now, f"Successfully Connected to container: '{container}'", asked)
        output = self._rooms.runtime.logs(key, replica, container, tail=asked.tail, follow=asked.follow)
        async for time, text in output:
            yield _line(time, text, asked)

    async def _event_lines(self, resource: Document, asked: _Asked) -> AsyncIterator[str]:
        """One JSON object a line, whatever the output asked for (assumed). An environment's stream has the past
        events of its apps; it can't be followed."""
        if "environment" in resource:
            async for event in self._events.read(resource["id"], tail=asked.tail, follow=asked.follow):
                yield _event_line(event)
            return
        inside = [
            app["id"]
            for app in self._rooms.documents.list(context.APPS)
            if app["environment"].lower() == resource["id"].lower()
        ]
        found = [event for app in inside async for event in self._events.read(app, tail=asked.tail, follow=False)]
        for event in sorted(found, key=lambda item: item.number)[max(0, len(found) - asked.tail) :]:
            yield _event_line(event)


def _asked(request: web.BaseRequest) -> _Asked | None:
    query = {name.lower(): value for name, value in request.query.items()}
    tail = query.get("taillines", str(_TAIL_DEFAULT))
    if not tail.isascii() or not tail.isdigit() or int(tail) > _TAIL_MOST:
        return None
    return _Asked(
        follow=query.get("follow", "").lower() == "true",
        as_json=query.get("output", "json").lower() == "json",
        tail=int(tail),
    )


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0"


def _line(time: datetime, text: str, asked: _Asked) -> str:
    if asked.as_json:
        return json.dumps({"TimeStamp": _stamp(time), "Log": text})
    return f"{_stamp(time)}  {text}"


def _event_line(event: events.Event) -> str:
    """The members' names are public documentation's for system logs; the set is assumed."""
    return json.dumps(
        {
            "TimeStamp": _stamp(event.time),
            "Type": "Normal" if event.reason != "ContainerCrashing" else "Warning",
            "ContainerAppName": event.app,
            "RevisionName": event.revision,
            "ReplicaName": "",
            "Msg": event.message,
            "Reason": event.reason,
            "EventSource": "ContainerAppController",
            "Count": 1,
        }
    )


def _refused(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


async def _sent(request: web.BaseRequest, lines: AsyncIterator[str]) -> web.StreamResponse:
    """Write line by line until the stream ends or the client goes away."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    response.enable_chunked_encoding()
    try:
        await response.prepare(request)
        async for line in lines:
            await response.write(f"{line}\n".encode())
        await response.write_eof()
    except ConnectionResetError:
        # The reader left: that is how a followed stream ends.
        return response
    return response
