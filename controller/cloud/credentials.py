"""DefaultAzureCredential with failures that can be told apart.

Its chain flattens every failure into one long text. A token endpoint that is away passes by itself; a secret that is
wrong doesn't. So the requests for tokens are watched, and the last trouble on the wire decides.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from azure.core import exceptions
from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.pipeline import transport
from azure.identity import aio as identity

from controller.cloud import answers
from controller.model import conditions, outcome

# Seconds for one request to a token endpoint.
TIMEOUT = 20
_REMEDY = (
    "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, give the controller a managed identity, "
    "or sign in with az login"
)
_ENTRA_ERROR = re.compile(r"AADSTS\d+: [^\n]{1,300}")
_ATTEMPT = re.compile(r"^\t(\w+): (.*)$", re.MULTILINE)
# The instance metadata endpoint of a virtual machine: that nobody answers there is the common case.
_PROBED = "/metadata/identity/"

_trouble: contextvars.ContextVar[outcome.Outcome | None] = contextvars.ContextVar("trouble", default=None)


class _Watched(transport.AsyncHttpTransport[Any, Any]):
    """Notes for the task at hand what became of the last request for a token."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def send(self, request: Any, **options: Any) -> Any:
        url = urlsplit(request.url)
        _trouble.set(None)
        try:
            response = await self._inner.send(request, **options)
        except exceptions.AzureError as error:
            if _PROBED not in url.path:
                _trouble.set(answers.unanswered(error, url.netloc))
            raise
        if response.status_code in (408, 410, 429) or response.status_code >= 500:
            _trouble.set(_unwell(url.netloc, response.status_code))
        return response

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()


class Credential:
    """DefaultAzureCredential whose failures are outcomes. Use `default`."""

    def __init__(self, make: Callable[[], identity.DefaultAzureCredential]) -> None:
        self._make = make
        self._chain = make()
        self._stale = False

    def forget(self) -> None:
        """Answer the next call from the authority, not from a token kept."""
        self._stale = True

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        _trouble.set(None)
        try:
            return await (await self._current()).get_token(
                *scopes, claims=claims, tenant_id=tenant_id, enable_cae=enable_cae, **options
            )
        except exceptions.AzureError as error:
            failure = _judged(error)
        raise outcome.OutcomeError(failure)

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        _trouble.set(None)
        try:
            return await (await self._current()).get_token_info(*scopes, options=options)
        except exceptions.AzureError as error:
            failure = _judged(error)
        raise outcome.OutcomeError(failure)

    async def close(self) -> None:
        await self._chain.close()

    async def _current(self) -> identity.DefaultAzureCredential:
        if self._stale:
            # The chain keeps its tokens to itself; a new one has none.
            stale, self._chain, self._stale = self._chain, self._make(), False
            await stale.close()
        return self._chain

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()


def default(login: str | None, *, session: aiohttp.ClientSession) -> Credential:
    """The chain of credentials at the authority `login`, None for the SDK's choice. It retries nothing."""
    where: dict[str, Any] = {} if login is None else {"authority": login, "disable_instance_discovery": True}
    inner = transport.AioHttpTransport(
        session=session, session_owner=False, connection_timeout=TIMEOUT, read_timeout=TIMEOUT
    )
    return Credential(lambda: identity.DefaultAzureCredential(**where, transport=_Watched(inner), retry_total=0))


def _unwell(host: str, status: int) -> outcome.Outcome:
    return outcome.Transient(conditions.Reason.AZURE_ERROR, f"the token endpoint {host} answered HTTP {status}")


def _judged(error: exceptions.AzureError) -> outcome.Outcome:
    return _trouble.get() or outcome.Stalled(
        conditions.Reason.AUTHENTICATION_FAILED, _told(str(error.message)), slowly=True
    )


_ABSENT = ("unavailable", "not be found", "not found", "not installed", "not logged in", "az login", "azd auth login")
"""How the chain says that a kind of credential isn't there, rather than that it was refused."""


def _told(text: str) -> str:
    """The chain's long text in one line: what Entra said, or what was tried, and what to do about it."""
    if refused := _ENTRA_ERROR.search(text):
        told = refused[0].partition(" Trace ID:")[0].rstrip(" .\r")
        return f"Entra refused the credential: {told}; check the AZURE_* variables or the identity"
    attempts = _ATTEMPT.findall(text)
    tried = ", ".join(name for name, _ in attempts) or "DefaultAzureCredential"
    if attempts and not any(word in attempts[-1][1].lower() for word in _ABSENT):
        # The chain stops at the first credential that is there and fails.
        name, reason = attempts[-1]
        return f"no token from {name}: {reason[:300].rstrip(' .')}; {_REMEDY}"
    return f"no credential is configured (tried {tried}); {_REMEDY}"
