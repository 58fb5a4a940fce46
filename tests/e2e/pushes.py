"""A push told to the daemon, as GitHub tells it."""

from __future__ import annotations

import hashlib
import hmac
import json

from tests.e2e import running


async def tell(daemon: running.Daemon, sha: str, *, secret: str, ref: str = "refs/heads/main") -> None:
    """The daemon must take it."""
    body = json.dumps({"ref": ref, "after": sha}).encode()
    headers = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": sha,
        "X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}",
        "Content-Type": "application/json",
    }
    async with running.session() as http, http.post(f"{daemon.url}/hook/git", data=body, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
