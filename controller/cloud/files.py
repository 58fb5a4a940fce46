"""The data plane of one Azure Files share: whole files written aside and renamed into place.

How a request is sent and repeated is in `share_calls`; which files belong on the share is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import posixpath
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.fileshare.aio import ShareClient
from pydantic import SecretStr

from controller.cloud import answers, policies, share_calls
from controller.model import conditions, observed, outcome

Value = TypeVar("Value")
# The bytes from the first offset up to, not including, the second.
Part = Callable[[int, int], Awaitable[bytes]]

# The largest range, and the largest body that a file can be created with. documented: Put Range, Create File.
RANGE = 4 * 1024 * 1024
# What an upload leaves that was killed is removed by a later one to the same folder, once it is surely dead.
ABANDONED_AFTER = timedelta(hours=1)
_MARK = ".acaops-"


class _Body(io.BytesIO):
    """Content that is sent piece by piece: aiohttp warns that large bytes, given as they are, hold up the event loop.
    The SDK asks for its length as it would for bytes."""

    def __len__(self) -> int:
        return self.getbuffer().nbytes


class ShareSession:
    """`async with` gives the share; the account's keys are read when it is entered, and kept no longer."""

    def __init__(
        self,
        account: observed.Resource,
        name: str,
        *,
        keys: Callable[[], Awaitable[tuple[SecretStr, ...]]],
        transport: Callable[[], Any],
        pace: share_calls.Pace | None = None,
    ) -> None:
        self._account = account
        self._name = name
        self._keys = keys
        self._transport = transport
        self._pace = pace or share_calls.Pace()
        self._calls: share_calls.Calls | None = None

    async def __aenter__(self) -> Share:
        name = self._account.name
        endpoint = str((self._account.properties.get("primaryEndpoints") or {}).get("file") or "")
        if not endpoint:
            raise _not_ready(f"storage account {name} has no file endpoint yet")
        clients = [self._client(endpoint, key) for key in await self._keys()]
        if not clients:
            raise _not_ready(f"storage account {name} has no keys yet")
        self._calls = share_calls.Calls(clients, host=urlsplit(endpoint).netloc, pace=self._pace)
        return Share(self._calls)

    async def __aexit__(self, *exc: object) -> None:
        if self._calls is not None:
            await self._calls.close()
            self._calls = None

    def _client(self, endpoint: str, key: SecretStr) -> ShareClient:
        return ShareClient(
            endpoint,
            self._name,
            credential=AzureNamedKeyCredential(self._account.name, key.get_secret_value()),
            transport=self._transport(),
            retry_total=0,
            user_agent=policies.user_agent(),
        )


class Share:
    """Implements `port.Share`."""

    def __init__(self, calls: share_calls.Calls) -> None:
        self._calls = calls
        self._folders = asyncio.Lock()
        self._made: set[str] = set()
        self._swept: set[str] = set()

    async def size(self, path: str) -> int | None:
        properties = await self._calls.present(lambda share: share.get_file_client(path).get_file_properties())
        return None if properties is None else int(properties.size)

    async def read(self, path: str, *, most: int | None = None) -> bytes | None:
        async def begun(share: ShareClient) -> bytes:
            stream = await share.get_file_client(path).download_file(offset=None if most is None else 0, length=most)
            return await stream.readall()

        try:
            return await self._calls.present(begun)
        except answers.Refused as refused:
            # An empty file has no range at all.
            if most is None or refused.code != "InvalidRange":
                raise
            return b""

    async def names(self, path: str) -> Mapping[str, bool]:
        async def listed(share: ShareClient) -> dict[str, bool]:
            return {entry.name: bool(entry.is_directory) async for entry in share.list_directories_and_files(path)}

        return await self._calls.present(listed) or {}

    async def written(self, path: str) -> Mapping[str, datetime]:
        async def listed(share: ShareClient) -> dict[str, datetime]:
            entries = share.list_directories_and_files(path, include=["timestamps"])
            times = {entry.name: _moment(entry.last_write_time) async for entry in entries if not entry.is_directory}
            return {name: written for name, written in times.items() if written is not None}

        return await self._calls.present(listed) or {}

    async def upload(self, path: str, source: Path) -> None:
        length = await _local(source, lambda: source.stat().st_size)

        async def part(start: int, end: int) -> bytes:
            data = await _local(source, lambda: _part(source, start, end))
            if len(data) != end - start:
                raise _content(source, "changed while it was sent")
            return data

        await self._put(path, length, part)

    async def write(self, path: str, data: bytes) -> None:
        async def part(start: int, end: int) -> bytes:
            return data[start:end]

        await self._put(path, len(data), part)

    async def delete(self, path: str) -> None:
        await self._calls.present(lambda share: share.get_file_client(path).delete_file())

    async def prune(self, path: str) -> None:
        while path and await self._pruned(path):
            self._made.discard(path)
            path = posixpath.dirname(path)

    async def _pruned(self, folder: str) -> bool:
        """False when something lies in it."""
        try:
            await self._calls.present(lambda share: share.get_directory_client(folder).delete_directory())
        except answers.Refused as refused:
            if refused.code != "DirectoryNotEmpty":
                raise
            return False
        return True

    async def _put(self, path: str, length: int, part: Part) -> None:
        """Write aside, rename. Nothing is left aside unless this process is killed."""
        folder, name = posixpath.split(path)
        aside = posixpath.join(folder, f".{name[:200]}{_MARK}{secrets.token_hex(4)}")
        async with self._removed_on_failure(aside):
            if length <= RANGE:
                await self._create(aside, length, part)
            else:
                await self._create(aside, length, None)
                await self._ranges(aside, length, part)
            await self._rename(aside, path, length)
        await self._sweep(folder)

    async def _create(self, aside: str, length: int, part: Part | None) -> None:
        """Make the file at its full length, with its content where that fits one request."""

        async def create(share: ShareClient) -> None:
            data = await part(0, length) if part is not None and length else None
            if data is None:
                await share.get_file_client(aside).create_file(length)
            else:
                body: Any = _Body(data)
                await share.get_file_client(aside).create_file(length, data=body, validate_content="md5")

        try:
            await self._calls.run(create)
        except answers.Refused as refused:
            if refused.code != "ParentNotFound":
                raise
            await self._make(posixpath.dirname(aside))
            await self._calls.run(create)

    async def _ranges(self, aside: str, length: int, part: Part) -> None:
        """All at once, as far as the slots allow; the first that fails stops the others."""
        try:
            async with asyncio.TaskGroup() as group:
                for start in range(0, length, RANGE):
                    group.create_task(self._range(aside, start, min(start + RANGE, length), part))
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]
        else:
            return
        raise failure

    async def _range(self, aside: str, start: int, end: int, part: Part) -> None:
        async def send(share: ShareClient) -> None:
            data = await part(start, end)
            body: Any = _Body(data)
            await share.get_file_client(aside).upload_range(body, start, end - start, validate_content="md5")

        await self._calls.run(send)

    async def _rename(self, aside: str, path: str, length: int) -> None:
        try:
            await self._calls.run(lambda share: share.get_file_client(aside).rename_file(path, overwrite=True))
        except answers.Refused as refused:
            # A rename whose answer was lost has happened: the repeated one finds nothing to rename.
            if refused.code != "ResourceNotFound" or await self.size(path) != length:
                raise

    async def _make(self, folder: str) -> None:
        """The folder and its parents. One at a time, because many files of one folder ask at once."""
        async with self._folders:
            if folder in self._made:
                return
            missing = [folder]
            while missing:
                made = await self._make_one(missing[-1])
                if made:
                    missing.pop()
                else:
                    missing.append(posixpath.dirname(missing[-1]))
            self._made.add(folder)

    async def _make_one(self, folder: str) -> bool:
        """False when its parent is missing too."""
        try:
            await self._calls.run(lambda share: share.get_directory_client(folder).create_directory())
        except answers.Refused as refused:
            if refused.code == "ParentNotFound" and posixpath.dirname(folder):
                return False
            if refused.code != "ResourceAlreadyExists":
                raise
        return True

    @contextlib.asynccontextmanager
    async def _removed_on_failure(self, aside: str) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            # The failure is what matters; what stays behind after all is swept later.
            with contextlib.suppress(outcome.OutcomeError):
                await asyncio.shield(self._calls.once(lambda share: share.get_file_client(aside).delete_file()))
            raise

    async def _sweep(self, folder: str) -> None:
        """Remove what uploads left here that were killed; once for each folder, best effort."""
        if folder in self._swept:
            return
        self._swept.add(folder)
        with contextlib.suppress(outcome.OutcomeError):
            for name in await self._calls.run(lambda share: _abandoned(share, folder)):
                await self.delete(posixpath.join(folder, name))


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that an upload writes aside."""
    stem, mark, digits = name.rpartition(_MARK)
    return stem.startswith(".") and bool(mark) and len(digits) == 8


async def _local(source: Path, read: Callable[[], Value]) -> Value:
    """`read` in a thread. What goes wrong with a local file must not look like trouble with the service."""
    try:
        return await asyncio.to_thread(read)
    except OSError as error:
        raise _content(source, f"can't be read: {error.strerror}") from None


def _not_ready(told: str) -> outcome.OutcomeError:
    return outcome.OutcomeError(outcome.Waiting(conditions.Reason.DEPENDENCY_NOT_READY, told))


def _content(source: Path, why: str) -> outcome.OutcomeError:
    return outcome.OutcomeError(outcome.Transient(conditions.Reason.INVALID_CONTENT, f"{source.name} {why}"))


def _part(source: Path, start: int, end: int) -> bytes:
    with source.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


async def _abandoned(share: ShareClient, folder: str) -> list[str]:
    """Names of temporary files in the folder that nobody has written to for long."""
    directory = share.get_directory_client(folder)
    entries = directory.list_directories_and_files(name_starts_with=".", include=["timestamps"])
    return [entry.name async for entry in entries if is_temporary(entry.name) and _old(entry.last_write_time)]


def _old(written: str | datetime | None) -> bool:
    """Without a time on it nothing is old."""
    moment = _moment(written)
    return moment is not None and moment < datetime.now(UTC) - ABANDONED_AFTER


def _moment(written: str | datetime | None) -> datetime | None:
    """As the listing has it: ISO 8601 in UTC."""
    return datetime.fromisoformat(written) if isinstance(written, str) else written
