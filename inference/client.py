"""A running server's API seen from outside: waits until it is ready, asks again where it is busy, reads its streams.

Standard library only. Knows nothing of the terminal; what goes wrong is a `Problem`, told in a person's words.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator
from typing import Any

from pydantic import SecretStr

FAILED, USAGE, UNREACHABLE = 1, 2, 3
"""No answer, wrong usage, no server: the exit status that a `Problem` asks for."""
_SILENCE = 60.0
"""Seconds without a byte after which a server counts as gone: it sends a sign of life every 15."""
_PATIENCE = 1800.0
"""Seconds to wait for a server that is loading, or behind an ingress that is starting it."""
_POLL = 0.5
_TRIES = 5


class Problem(Exception):
    """The message is for the person at the terminal, `status` for the shell."""

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Server:
    """The API at `url`. `show` is told what is waited for, and nothing when that is over. All of it raises Problem."""

    def __init__(self, url: str, key: SecretStr, *, show: Callable[[str], None]) -> None:
        self._url = _address(url)
        self._key = key
        self._show = show
        self._opener = urllib.request.build_opener(_NoRedirects)

    def wait_until_ready(self) -> None:
        """Returns when the server answers questions."""
        until = time.monotonic() + _PATIENCE
        try:
            while (state := self._readiness()) is not None:
                if state.get("stage") == "failed" or time.monotonic() > until:
                    reason = state.get("reason") or f"not ready after {_PATIENCE:g} s"
                    raise Problem(f"{self._url} can't serve: {reason}", status=UNREACHABLE)
                elapsed = f", {state['elapsed_s']:g} s so far" if "elapsed_s" in state else ""
                self._show(f"waiting for {self._url}: {state.get('stage', 'nobody answers yet')}{elapsed}")
                time.sleep(_POLL)
        finally:
            self._show("")

    def model(self) -> str:
        """What the server calls its model."""
        with self._asked("/v1/models") as response:
            models = _object(response.read()).get("data") or [{}]
        return str(models[0].get("id", ""))

    def answer(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The chunks of a streamed chat completion. Closing this early stops the answer."""
        with self._asked("/v1/chat/completions", {**body, "stream": True}) as response:
            try:
                yield from _chunks(response)
            except (OSError, http.client.HTTPException) as error:
                raise Problem(f"the connection broke in the middle of the answer: {error}") from None

    def _readiness(self) -> dict[str, Any] | None:
        """None when ready, else what /readyz says; nothing at all where an ingress answers in its place."""
        try:
            with self._open("/readyz"):
                return None
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (502, 503, 504):
                    return _object(error.read())
                message = f"{self._url}/readyz answers {error.code}: is this the right address?"
                raise Problem(message, status=UNREACHABLE) from None

    def _asked(self, path: str, body: dict[str, Any] | None = None) -> http.client.HTTPResponse:
        """The response, after waiting where the server is busy and says for how long."""
        for left in reversed(range(_TRIES)):
            try:
                return self._open(path, body)
            except urllib.error.HTTPError as error:
                with error:
                    wait = error.headers.get("retry-after", "")
                    message = _message(error)
                    if error.code not in (429, 503) or not wait.isdecimal() or not left:
                        raise Problem(message) from None
            self._show(f"{message}; asking again in {wait} s")
            time.sleep(int(wait))
            self._show("")
        raise AssertionError("unreachable")

    def _open(self, path: str, body: dict[str, Any] | None = None) -> http.client.HTTPResponse:
        """Raises HTTPError for what isn't a success."""
        request = urllib.request.Request(self._url + path, None if body is None else json.dumps(body).encode())
        request.add_header("content-type", "application/json")
        if key := self._key.get_secret_value():
            request.add_header("authorization", f"Bearer {key}")
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=_SILENCE)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Problem(f"no answer from {self._url}: {reason}", status=UNREACHABLE) from None
        return response


def _chunks(lines: Any) -> Generator[dict[str, Any], None, None]:
    """The events of a stream up to its end. Raises Problem where it breaks."""
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        chunk = _object(data)
        if "error" in chunk:
            raise Problem(_told(chunk) or "the answer failed")
        yield chunk
    raise Problem("the connection ended in the middle of the answer")


def _message(error: urllib.error.HTTPError) -> str:
    said = _told(_object(error.read())) or f"the server answers {error.code} {error.reason}"
    return f"{said} (the key is taken from the environment variable API_KEY)" if error.code == 401 else said


def _told(body: dict[str, Any]) -> str:
    """The message in OpenAI's error envelope, or nothing."""
    error = body.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else ""


def _object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`; an empty one for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _address(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Problem(f"the server's address must begin with http:// or https://, got {url!r}", status=USAGE)
    return url.rstrip("/")
