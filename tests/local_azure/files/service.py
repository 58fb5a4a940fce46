"""A data plane on loopback for the real SDK: path style, plain HTTP, one account with two keys. Not a test."""

from __future__ import annotations

import base64
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path

import aiohttp
import yarl
from aiohttp import web
from azure.storage.fileshare.aio import ShareServiceClient

from infra.local_azure import clock
from infra.local_azure.files import plane, sharedkey, shares_on_disk

ACCOUNT = "lab"
KEYS = (base64.b64encode(b"first key").decode(), base64.b64encode(b"second key").decode())
TOKEN = "a token"


@dataclass
class Service:
    """A running data plane. `held` has the paths that an SMB client is said to have open."""

    root: Path
    shares: shares_on_disk.SharesOnDisk
    time: clock.Clock
    held: set[Path]
    url: str = ""
    _runner: web.ServerRunner | None = field(default=None, repr=False)

    async def start(self) -> None:
        served = plane.Plane(self.shares, {ACCOUNT: KEYS}.get, self.time, bearer=TOKEN.__eq__)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            path = request.raw_path.partition("?")[0]
            account = path.split("/")[1]
            return await served.handle(
                request, account=account, resource_path=path.removeprefix(f"/{account}"), canonical=path
            )

        self._runner = web.ServerRunner(web.Server(handle), shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self.shares.close()

    def client(self, *, key: str = KEYS[0]) -> ShareServiceClient:
        return ShareServiceClient(
            f"{self.url}/{ACCOUNT}", credential={"account_name": ACCOUNT, "account_key": key}, retry_total=0
        )

    def folder(self, share: str = "data") -> Path:
        return self.shares.folder(ACCOUNT, share)


def make_service(root: Path, time: clock.Clock) -> Service:
    """A data plane over `root`, not started yet."""
    held: set[Path] = set()
    return Service(root, shares_on_disk.SharesOnDisk(root, time, held=held.__contains__), time, held)


@dataclass(frozen=True)
class Wire:
    """Signed requests made by hand, for what the SDK doesn't send."""

    service: Service
    session: aiohttp.ClientSession

    async def __call__(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, data: bytes = b""
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """`path` is what follows the account, sent to the letter, e.g. `/data/a%2Fb?comp=range`."""
        async with self.open(method, path, headers=headers, data=data) as answer:
            return answer, await answer.read()

    async def raw(self, method: str, path: str, *, headers: dict[str, str]) -> tuple[aiohttp.ClientResponse, bytes]:
        """The same with just these headers."""
        async with self._send(method, path, headers, b"") as answer:
            return answer, await answer.read()

    def open(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, data: bytes = b""
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The answer as soon as its headers are there."""
        resource, _, query = path.partition("?")
        signed = {"x-ms-version": "2026-10-06", "x-ms-date": _date(self.service.time), **(headers or {})}
        if data:
            signed |= {"Content-Length": str(len(data)), "Content-Type": "application/octet-stream"}
        text = sharedkey.string_to_sign(method, signed, account=ACCOUNT, canonical=f"/{ACCOUNT}{resource}", query=query)
        signed["Authorization"] = f"SharedKey {ACCOUNT}:{sharedkey.sign(text, KEYS[0])}"
        return self._send(method, path, signed, data)

    def _send(
        self, method: str, path: str, headers: dict[str, str], data: bytes
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        url = yarl.URL(f"{self.service.url}/{ACCOUNT}{path}", encoded=True)
        return self.session.request(method, url, headers=headers, data=data or None, skip_auto_headers=["Content-Type"])


def _date(time: clock.Clock) -> str:
    return format_datetime(time.now(), usegmt=True)
