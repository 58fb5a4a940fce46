"""Reads from ARM as plain JSON, by resource id.

The SDK's models lose what they don't know (`deploymentErrors`, `runningStateDetails`) and cost CPU, so a read goes
through its client's pipeline as a bare request. Writes are in the module of their kind.
"""

from __future__ import annotations

from typing import Any

from azure.core.rest import HttpRequest

from controller.cloud import answers

Json = dict[str, Any]


async def get(client: Any, path: str, *, host: str) -> Json | None:
    """The resource at `path`, None for a 404 that speaks of it; any other error is raised."""
    try:
        return await send(client, "GET", path, host=host)
    except answers.Refused as refused:
        if absent(refused):
            return None
        raise


def absent(refused: answers.Refused) -> bool:
    """A 404 that speaks of the resource: a subscription that isn't there is an error in the desired state."""
    return refused.status == 404 and refused.code.lower() not in ("subscriptionnotfound", "invalidsubscriptionid")


async def pages(client: Any, path: str, *, host: str) -> list[Json]:
    """Every item of the list at `path`; empty when what it belongs to is absent."""
    items: list[Json] = []
    page = await get(client, path, host=host)
    while page:
        items += page.get("value") or []
        following = page.get("nextLink")
        page = await get(client, following, host=host) if following else None
    return items


async def post(client: Any, path: str, *, host: str, body: Json | None = None) -> Json:
    """The answer of an action that only reads, e.g. `<account>/listKeys`."""
    return await send(client, "POST", path, host=host, body=body)


async def send(client: Any, method: str, path: str, *, host: str, body: Json | None = None) -> Json:
    """One request; `path` an id without api-version, or an absolute URL as the service gave it. An empty answer
    is an empty object."""
    # The SDK's own default version, which it doesn't publish; an operation's request would carry the same.
    version = {} if path.startswith("https://") else {"api-version": client._config.api_version}
    request = HttpRequest(method, path, params=version, headers={"Accept": "application/json"}, json=body)
    return await answers.judged(_sent(client, request), host=host)


async def _sent(client: Any, request: HttpRequest) -> Json:
    response = await client.send_request(request)
    if response.status_code != 200:
        raise answers.refused(response.status_code, response.headers, response.text())
    body = response.json() if response.content else {}
    return body if isinstance(body, dict) else {}
