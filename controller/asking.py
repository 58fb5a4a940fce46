"""What is asked of a running daemon, at its address and with its token: to look at an object now.

Each command gives its exit status: 0 for what was asked for, 1 for everything else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import hdrs
from pydantic import SecretStr

from controller import commands, settings, tables, views
from controller.model import desired
from controller.telemetry import api

LOOK_SECONDS = 0.5

Json = dict[str, Any]


async def reconcile(chosen: settings.Settings, *, url: str, name: str, wait: bool, output: commands.Form) -> int:
    """Have every object called `name` looked at now. With `wait`, exit status 0 means that all are Ready after it."""
    try:
        token = _token(chosen, url)
        asked = await _asked(url, token, name)
        shown = [await _passed(url, one) for one in asked] if wait else []
    except commands.RefusedError as error:
        return commands.refused([str(error)])
    if output == "json":
        print(json.dumps({"objects": shown} if wait else {"asked": asked}, indent=2))
    elif wait:
        views.console(sys.stdout).print(tables.status_table({"objects": shown}))
    else:
        for one in asked:
            print(f"{one['kind']}/{one['name']} is looked at")
    return 0 if all(map(commands.is_ready, shown)) else 1


def _token(chosen: settings.Settings, url: str) -> SecretStr:
    if chosen.api_token is None:
        raise commands.RefusedError(f"no token to show the daemon: {api.REMEDY}")
    address = urlsplit(url)
    if address.scheme != "https" and not _stays_here(address.hostname or ""):
        raise commands.RefusedError(
            f"{url}: a token isn't sent in the clear to another machine; use https://, or ask there"
        )
    try:
        return chosen.api_token.read()
    except settings.SecretError as error:
        raise commands.RefusedError(str(error)) from None


def _stays_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _told(url: str) -> Json:
    """What the daemon says of itself and its objects."""
    told = await commands.ask(url)
    if told is None:
        raise _nobody(url)
    leader = told.get("leader") or {}
    if leader.get("state") == "standby":
        raise _stands_by(url, f"{leader.get('holder') or 'nobody'} leads")
    return told


def _nobody(url: str) -> commands.RefusedError:
    return commands.RefusedError(f"no daemon answers at {url}; start acaops run, or name its address by --url")


def _stands_by(url: str, why: str) -> commands.RefusedError:
    return commands.RefusedError(f"the daemon at {url} looks at nothing: {why}; name the leader's address by --url")


async def _asked(url: str, token: SecretStr, name: str) -> Sequence[Json]:
    """The daemon's answers: the objects of that name, and how many passes each will have had."""
    answers = [await _ask(url, token, kind, name) for kind in desired.KINDS]
    if found := [body for body in answers if "known" not in body]:
        return found
    raise commands.RefusedError(commands.unknown(name, [str(known).partition("/")[2] for known in answers[0]["known"]]))


async def _ask(url: str, token: SecretStr, kind: str, name: str) -> Json:
    where = f"{url.rstrip('/')}/reconcile/{kind}/{quote(name, safe='')}"
    headers = {hdrs.AUTHORIZATION: f"Bearer {token.get_secret_value()}"}
    timeout = aiohttp.ClientTimeout(total=commands.ASK_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(where, headers=headers, allow_redirects=False) as answer,
        ):
            body: Any = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        raise _nobody(url) from None
    if not isinstance(body, dict) or (answer.status == 202) != ("passes" in body):
        raise _nobody(url)
    if answer.status == 202 or "known" in body:
        return body
    if "leader" in body:
        raise _stands_by(url, str(body.get("error")))
    raise commands.RefusedError(f"{url}: {body.get('error') or f'HTTP {answer.status}'}")


async def _passed(url: str, asked: Json) -> Json:
    """The object's status once the pass asked for has ended."""
    name, seen = f"{asked['kind']}/{asked['name']}", False
    while True:
        told = await _told(url)
        if problems := told["source"]["problems"]:
            raise commands.RefusedError(f"the desired state doesn't load: {problems[0]}")
        status = next((one for one in told["objects"] if f"{one['kind']}/{one['name']}" == name), None)
        if status is None and seen:
            raise commands.RefusedError(f"{name} is no longer desired")
        if status is not None and status["passes"] >= asked["passes"]:
            return dict(status)
        seen = status is not None
        await asyncio.sleep(LOOK_SECONDS)
