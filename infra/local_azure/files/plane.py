"""The Azure Files data plane: authenticates a request, finds the operation it asks for, and answers.

It keeps nothing; shares and their files are SharesOnDisk's. Where a request's path begins is the caller's
to know: path style (`/account/share/…`) and host style look the same from here.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import unquote

from aiohttp import web

from infra.local_azure import clock
from infra.local_azure.files import (
    calls,
    directory_calls,
    errors,
    file_calls,
    file_reads,
    moments,
    names,
    rename_calls,
    share_calls,
    sharedkey,
    shares_on_disk,
    xml,
)

_log = logging.getLogger(__name__)

Operation = Callable[[calls.Call], Awaitable[web.StreamResponse]]

_ACCOUNT: Mapping[tuple[str, str, str], Operation] = {("GET", "", "list"): share_calls.list_}

_SHARE: Mapping[tuple[str, str, str], Operation] = {
    ("PUT", "share", ""): share_calls.create,
    ("GET", "share", ""): share_calls.get,
    ("HEAD", "share", ""): share_calls.get,
    ("DELETE", "share", ""): share_calls.delete,
    ("PUT", "share", "metadata"): share_calls.set_metadata,
    ("GET", "share", "metadata"): share_calls.get,
    ("PUT", "share", "properties"): share_calls.set_properties,
    ("PUT", "share", "lease"): share_calls.lease,
    ("GET", "share", "stats"): share_calls.stats,
}

_DIRECTORY: Mapping[tuple[str, str, str], Operation] = {
    ("PUT", "directory", ""): directory_calls.create,
    ("GET", "directory", ""): directory_calls.get,
    ("HEAD", "directory", ""): directory_calls.get,
    ("GET", "directory", "list"): directory_calls.list_,
    ("DELETE", "directory", ""): directory_calls.delete,
    ("PUT", "directory", "metadata"): directory_calls.set_metadata,
    ("GET", "directory", "metadata"): directory_calls.get,
    ("PUT", "directory", "properties"): directory_calls.set_properties,
    ("PUT", "directory", "rename"): rename_calls.rename_directory,
}

_FILE: Mapping[tuple[str, str, str], Operation] = {
    ("PUT", "", ""): file_calls.create,
    ("GET", "", ""): file_reads.get,
    ("HEAD", "", ""): file_reads.head,
    ("DELETE", "", ""): file_calls.delete,
    ("PUT", "", "range"): file_calls.put_range,
    ("GET", "", "rangelist"): file_reads.list_ranges,
    ("PUT", "", "metadata"): file_calls.set_metadata,
    ("GET", "", "metadata"): file_reads.head,
    ("HEAD", "", "metadata"): file_reads.head,
    ("PUT", "", "properties"): file_calls.set_properties,
    ("PUT", "", "lease"): file_calls.lease,
    ("PUT", "", "rename"): rename_calls.rename_file,
}


class Plane:
    """`keys(account)` is the account's base64 keys, None for an unknown account.

    `bearer(token)` says whether an OAuth token may do everything; without it no token may.
    """

    def __init__(
        self,
        shares: shares_on_disk.SharesOnDisk,
        keys: Callable[[str], Sequence[str] | None],
        time: clock.Clock,
        *,
        bearer: Callable[[str], bool] | None = None,
    ) -> None:
        self._shares = shares
        self._keys = keys
        self._time = time
        self._bearer = bearer

    async def handle(
        self, request: web.BaseRequest, *, account: str, resource_path: str, canonical: str
    ) -> web.StreamResponse:
        """Answer one request.

        `resource_path` is the percent-encoded path below the account, e.g. `/share/dir%20x/f`; `canonical`
        the whole path on the wire, e.g. `/acct/share/dir%20x/f` in path style.
        """
        request_id = str(uuid.uuid4())
        try:
            answer = await self._answer(request, account, resource_path, canonical, request_id)
        except errors.FilesError as error:
            answer = self._refusal(request, error, request_id)
        except ConnectionError:
            # The client has gone; there is nobody to answer.
            raise
        except OSError:
            _log.exception("request %s failed on the disk", request_id)
            answer = self._refusal(request, errors.FilesError("InternalError"), request_id)
        if not answer.prepared:
            calls.sign_off(answer, request, request_id)
        return answer

    async def _answer(
        self, request: web.BaseRequest, account: str, resource_path: str, canonical: str, request_id: str
    ) -> web.StreamResponse:
        query = request.raw_path.partition("?")[2]
        self._authenticate(request, account, canonical, query)
        trailing_dots = request.headers.get("x-ms-allow-trailing-dot", "").lower() == "true"
        share, path = names.split(resource_path, trailing_dots=trailing_dots)
        prefix = canonical.removesuffix(resource_path)
        call = calls.Call(
            request=request,
            shares=self._shares,
            account=account,
            share=share or "",
            path=path,
            query=_parsed(query),
            prefix=prefix,
            base=f"{request.scheme}://{request.host}{prefix}",
            now=moments.ticks(self._time.now()),
            request_id=request_id,
        )
        return await _operation(call)(call)

    def _authenticate(self, request: web.BaseRequest, account: str, canonical: str, query: str) -> None:
        keys = self._keys(account)
        if keys is None:
            # Assumed: the service's names of such accounts don't resolve, so that nobody answers at all.
            raise errors.FilesError("ResourceNotFound", "The specified account does not exist.")
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme == "SharedKey":
            now = self._time.now()
            sharedkey.verify(
                request.method,
                request.headers,
                account=account,
                canonical=canonical,
                query=query,
                keys=keys,
                now=now,
            )
        elif scheme == "Bearer":
            self._authenticate_bearer(request, rest.strip())
        elif not scheme and "sig=" not in query:
            raise errors.FilesError("NoAuthenticationInformation")
        else:
            raise errors.FilesError("AuthenticationFailed")

    def _authenticate_bearer(self, request: web.BaseRequest, token: str) -> None:
        if self._bearer is None or not self._bearer(token):
            raise errors.FilesError("InvalidAuthenticationInfo")
        # Recorded: every request with a token says so; what happens without is assumed.
        if request.headers.get("x-ms-file-request-intent", "").lower() != "backup":
            raise errors.header("x-ms-file-request-intent", request.headers.get("x-ms-file-request-intent"))

    def _refusal(self, request: web.BaseRequest, error: errors.FilesError, request_id: str) -> web.Response:
        headers = {"x-ms-error-code": error.code}
        if error.status == 401:
            headers["WWW-Authenticate"] = f"Bearer authorization_uri={request.scheme}://{request.host}"
        if request.method == "HEAD":
            return web.Response(status=error.status, headers=headers)
        message = f"{error.message}\nRequestId:{request_id}\nTime:{moments.iso(moments.ticks(self._time.now()))}"
        body = xml.error(error.code, message, details=error.details)
        return web.Response(status=error.status, body=body, headers={**headers, "Content-Type": "application/xml"})


def _operation(call: calls.Call) -> Operation:
    """Raises FilesError for what isn't offered here: snapshots, copies, ACLs, handles (statuses assumed)."""
    for name in ("sharesnapshot", "prevsharesnapshot"):
        if name in call.query:
            raise errors.query(name, call.query[name])
    restype, comp = call.query.get("restype", "").lower(), call.query.get("comp", "").lower()
    tables = [_DIRECTORY, _FILE] if call.path else [_SHARE, _DIRECTORY] if call.share else [_ACCOUNT]
    known = {key: operation for table in tables for key, operation in table.items()}
    found = known.get((call.request.method, restype, comp))
    if found is not None:
        return found
    if any((restype, comp) == key[1:] for key in known):
        raise errors.FilesError("UnsupportedHttpVerb")
    if restype and not any(restype == key[1] for key in known):
        raise errors.query("restype", restype)
    raise errors.query("comp", comp)


def _parsed(query: str) -> dict[str, str]:
    pairs = (piece.partition("=") for piece in query.split("&") if piece)
    return {unquote(name).lower(): unquote(value) for name, _, value in pairs}
