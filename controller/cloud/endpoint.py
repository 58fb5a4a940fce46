"""What an app answers to somebody who calls it: one GET, read as far as it says which release it runs and
which model that serves.

Every way to fail is a finding, not an error. What the finding means for a rollout is decided elsewhere.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import aiohttp

from controller.cloud import policies
from controller.model import observed, printable

# Seconds for the whole request.
TIMEOUT = 10.0
RELEASE_HEADER = "x-acaops-release"
_LONGEST_BODY = 64 * 1024
_LONGEST_QUOTE = 200


async def check(session: aiohttp.ClientSession, url: str, *, patience: float = TIMEOUT) -> observed.Check:
    """GET `url` once, within `patience` seconds. Redirects aren't followed: a sign-in page answers 200 for any app.

    Inconclusive are 3xx, 401 and 403 (somebody in front of the app answered), a name that doesn't resolve and TLS
    that can't be verified. A refused or broken connection, silence and every other status speak of the app.
    """
    headers = {"Accept": "application/json", "User-Agent": policies.user_agent()}
    limit = aiohttp.ClientTimeout(total=patience)
    try:
        async with session.get(url, headers=headers, timeout=limit, allow_redirects=False) as response:
            return _answered(url, response, await _text(response))
    except (aiohttp.ClientConnectorDNSError, socket.gaierror):
        return _failed(url, "the name doesn't resolve", conclusive=False)
    except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
        return _failed(url, f"TLS failed: {error}", conclusive=False)
    except aiohttp.InvalidURL:
        return _failed(url, "not a URL", conclusive=False)
    except TimeoutError:
        return _failed(url, f"no answer within {patience:g} s", conclusive=True)
    except (aiohttp.ClientError, OSError) as error:
        return _failed(url, str(error) or type(error).__name__, conclusive=True)


async def _text(response: aiohttp.ClientResponse) -> str:
    """The body, as far as it can be of interest."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _LONGEST_BODY:
            break
    return body.decode(errors="replace")


def _answered(url: str, response: aiohttp.ClientResponse, text: str) -> observed.Check:
    status = response.status
    elsewhere = response.headers.get("Location", "") if 300 <= status < 400 else ""
    told = f"GET {url} answered {status}"
    if elsewhere:
        told += f", sending on to {elsewhere[:_LONGEST_QUOTE]}"
    elif status >= 400 and text.strip():
        told += f": {' '.join(text.split())[:_LONGEST_QUOTE]}"
    said = _said(text)
    return observed.Check(
        status=status,
        release=response.headers.get(RELEASE_HEADER) or said.get("release"),
        message=told,
        conclusive=status not in (401, 403) and not 300 <= status < 400,
        model_digest=said.get("model_digest"),
        adapter_digest=said.get("adapter_digest"),
    )


def _said(text: str) -> dict[str, str]:
    """What a JSON object says in words, each cut to what can be shown; nothing for anything else."""
    try:
        body: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(body, dict):
        return {}
    return {
        name: printable.plain(word)[:_LONGEST_QUOTE] for name, word in body.items() if isinstance(word, str) and word
    }


def _failed(url: str, why: str, *, conclusive: bool) -> observed.Check:
    return observed.Check(status=None, release=None, message=f"GET {url}: {why}", conclusive=conclusive)
