"""The timed lease on one Azure Files share, which one controller at a time holds, and the holder's name beside it.

It asks once and tells what was answered: when to ask, and what holding it means, is decided elsewhere. Nothing is kept
on the share but two entries of metadata.

documented: Lease Share; Authorize with Microsoft Entra ID (share operations by token since version 2024-11-04, with the
actions fileServices/shares/read, shares/write and shares/lease/action).
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from azure.storage.fileshare.aio import ShareClient, ShareLeaseClient

from controller.cloud import answers, credentials, errors, policies, session
from controller.model import conditions, moments, outcome

Value = TypeVar("Value")

HOLDER, SINCE = "acaopsholder", "acaopssince"
"""Metadata of the share. Names there are C# identifiers (documented), so without hyphens."""

_TAKEN = ("LeaseAlreadyPresent", "LeaseIsBreakingAndCannotBeAcquired")
_LOST = (
    "LeaseIdMismatchWithLeaseOperation",
    "LeaseNotPresentWithLeaseOperation",
    "LeaseIsBrokenAndCannotBeRenewed",
    "LeaseLost",
)


@dataclass(frozen=True)
class Held:
    """Somebody holds the lease: their name, and since when; empty and None where that isn't written down."""

    holder: str
    since: datetime | None


class Lease:
    """The lease on the share at `url`, `https://ACCOUNT.file.…/SHARE`. Its id is this object's own, so that a request
    whose answer was lost can be repeated. Every call is one request or a few, none of them repeated, and raises
    OutcomeError where it can't be answered."""

    def __init__(self, url: str, *, cloud: session.Session) -> None:
        self._url = url.rstrip("/")
        self._cloud = cloud
        self._id = str(uuid.uuid4())
        self._credential: Any = None
        self._client: ShareClient | None = None

    async def look(self) -> Held | None:
        """Who holds it now; None where nobody does."""
        properties = await self._call(lambda share: share.get_share_properties())
        # recorded: files-head-file; a lease that was broken holds until it is over.
        if str(properties.lease.state).lower() not in ("leased", "breaking"):
            return None
        known = {name.lower(): value for name, value in (properties.metadata or {}).items()}
        return Held(known.get(HOLDER, ""), _moment(known.get(SINCE, "")))

    async def acquire(self, *, seconds: int, name: str, now: datetime) -> bool:
        """Take it for so many seconds, and write down who has it; False where somebody else has. Other metadata of
        the share stays: it may be somebody's."""
        if not await self._asked(lambda lease: lease.acquire(lease_duration=seconds), refusals=_TAKEN):
            return False
        kept = (await self._call(lambda share: share.get_share_properties())).metadata or {}
        others = {key: value for key, value in kept.items() if key.lower() not in (HOLDER, SINCE)}
        told = {**others, HOLDER: name, SINCE: moments.rfc3339(now)}
        await self._call(lambda share: share.set_share_metadata(told, lease=self._id))
        return True

    async def renew(self) -> bool:
        """Hold it for as many seconds again, also after it ran out, where nobody took it since (documented); False
        where somebody did."""
        return await self._asked(lambda lease: lease.renew(), refusals=_LOST)

    async def release(self) -> None:
        """Let others have it at once; no error where somebody else has it."""
        await self._asked(lambda lease: lease.release(), refusals=_LOST)

    async def close(self) -> None:
        """Leaves the session's connections open."""
        if self._client is not None:
            await self._client.close()

    async def _asked(self, ask: Callable[[ShareLeaseClient], Awaitable[None]], *, refusals: tuple[str, ...]) -> bool:
        try:
            await self._call(lambda share: ask(ShareLeaseClient(share, self._id)))
        except answers.Refused as refused:
            if refused.code in refusals:
                return False
            raise
        return True

    async def _call(self, call: Callable[[ShareClient], Awaitable[Value]]) -> Value:
        share = await self._share()
        try:
            return await answers.judged(call(share), host=urlsplit(self._url).netloc)
        except answers.Refused as error:
            if error.status == 401 and isinstance(self._credential, credentials.Credential):
                self._credential.forget()
            refused = error
        if refused.status in (403, 404):
            raise self._unusable(refused)
        raise refused

    def _unusable(self, refused: answers.Refused) -> answers.Refused:
        """With what there is to do about it."""
        needed = "Microsoft.Storage/storageAccounts/fileServices/shares/read, …/write and …/lease/action"
        todo = "create it" if refused.status == 404 else f"give the controller's identity {needed}"
        told = f"the share {self._url}: {errors.shortened(str(refused))}; {todo}"
        judged = outcome.Stalled(
            conditions.Reason.FORBIDDEN if refused.status == 403 else conditions.Reason.NOT_FOUND, told, slowly=True
        )
        return answers.Refused(judged, status=refused.status, code=refused.code)

    async def _share(self) -> ShareClient:
        if self._client is None:
            self._credential = await self._cloud.credential()
            account, _, share = self._url.rpartition("/")
            self._client = ShareClient(
                account,
                share,
                credential=self._credential,
                token_intent="backup",
                transport=self._cloud.transport(),
                retry_total=0,
                permit_redirects=False,
                user_agent=policies.user_agent(),
            )
        return self._client


def _moment(text: str) -> datetime | None:
    """None for what we didn't write."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
