"""The timed lease on a share, by the controller's own token, with the real SDK against the local Azure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from controller.cloud import azure as adapter
from controller.cloud import lease
from controller.model import kinds, outcome
from tests.cloud.conftest import Names, Slow, Stub

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO = "one:1:a", "two:2:b"


@dataclass(frozen=True)
class Two:
    """Two controllers' leases on one share, in a cloud whose time stands still."""

    slow: Slow
    url: str
    one: lease.Lease
    two: lease.Lease

    def pass_(self, seconds: float) -> None:
        self.slow.time.advance(seconds)


@pytest.fixture
async def two(slow: Slow, names: Names) -> AsyncIterator[Two]:
    await slow.cloud.create(kinds.Kind.GROUP, names.group, {"location": "westus3"})
    account = {"location": "westus3", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    await slow.cloud.create(kinds.Kind.ACCOUNT, names.account, account)
    slow.time.advance(60)
    await slow.cloud.create(kinds.Kind.SHARE, names.share, {"properties": {"metadata": {"team": "blue"}}})
    url = f"{slow.server.url}/accountone/share-one"
    made = Two(slow, url, slow.cloud.lease(url), slow.cloud.lease(url))
    yield made
    await made.one.close()
    await made.two.close()


async def test_one_holds_it_and_others_see_who(two: Two, names: Names) -> None:
    """The name and the moment stand in the share's metadata, beside what was there."""
    assert await two.two.look() is None
    assert await two.one.acquire(seconds=15, name=ONE, now=NOW)
    assert not await two.two.acquire(seconds=15, name=TWO, now=NOW)
    assert await two.two.look() == lease.Held(ONE, NOW)
    share = await two.slow.cloud.read(kinds.Kind.SHARE, names.share)
    assert share is not None
    assert share.properties["metadata"] == {"team": "blue", "acaopsholder": ONE, "acaopssince": "2026-11-22T12:00:00Z"}


async def test_it_runs_out_unless_it_is_renewed(two: Two) -> None:
    """Renewed, it counts anew; left alone for its time, anybody may take it, and the old holder is told."""
    await two.one.acquire(seconds=15, name=ONE, now=NOW)
    two.pass_(10)
    assert await two.one.renew()
    two.pass_(10)
    assert not await two.two.acquire(seconds=15, name=TWO, now=NOW)
    two.pass_(6)
    assert await two.two.look() is None
    assert await two.two.acquire(seconds=15, name=TWO, now=NOW)
    assert not await two.one.renew()
    await two.one.release()
    assert await two.one.look() == lease.Held(TWO, NOW)


async def test_released_it_is_anybody_s_at_once(two: Two) -> None:
    """And the one that let it go can't renew it."""
    await two.one.acquire(seconds=60, name=ONE, now=NOW)
    await two.one.release()
    assert await two.two.acquire(seconds=15, name=TWO, now=NOW)
    assert not await two.one.renew()


async def test_taking_it_again_is_no_conflict(two: Two) -> None:
    """The answer to the first request may have been lost."""
    assert await two.one.acquire(seconds=15, name=ONE, now=NOW)
    two.pass_(10)
    assert await two.one.acquire(seconds=15, name=ONE, now=NOW)
    two.pass_(10)
    assert not await two.two.acquire(seconds=15, name=TWO, now=NOW)


async def test_renewals_are_no_writes(two: Two) -> None:
    """Neither counted nor stopped by the fence, which they must be able to lift."""

    def closed() -> None:
        raise AssertionError("the fence was asked")

    before = (two.slow.cloud.writes.arm, two.slow.cloud.writes.share)
    two.slow.cloud.fence = closed
    assert await two.one.acquire(seconds=15, name=ONE, now=NOW)
    assert await two.one.renew()
    await two.one.release()
    assert (two.slow.cloud.writes.arm, two.slow.cloud.writes.share) == before


async def test_a_share_that_is_not_there_says_what_to_do(two: Two) -> None:
    """It names the address."""
    missing = two.slow.cloud.lease(f"{two.slow.server.url}/accountone/nowhere")
    with pytest.raises(outcome.OutcomeError, match=r"the share https://.*/accountone/nowhere: .*; create it"):
        await missing.look()
    await missing.close()


async def test_a_refusal_names_the_actions_that_are_missing(stub: Stub, stubbed: adapter.Azure) -> None:
    """One request is made, none repeated; the token is for storage and sent with its intent."""
    stub.answer(403, "", {"x-ms-error-code": "AuthorizationPermissionMismatch"})
    refused = stubbed.lease(f"{stub.url}/account/share")
    with pytest.raises(outcome.OutcomeError, match="fileServices/shares/read, …/write and …/lease/action"):
        await refused.look()
    (asked,) = stub.asked
    assert asked.headers["x-ms-file-request-intent"] == "backup"
    assert asked.headers["Authorization"] == "Bearer token"
    await refused.close()


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "ServerBusy"), (412, "LeaseLost")])
async def test_a_failure_is_asked_once(stub: Stub, stubbed: adapter.Azure, status: int, code: str) -> None:
    """Whether to ask again, and when, is the election's to say; a lease that is lost is an answer."""
    stub.answer(status, "", {"x-ms-error-code": code})
    one = stubbed.lease(f"{stub.url}/account/share")
    if status == 412:
        assert not await one.renew()
    else:
        with pytest.raises(outcome.OutcomeError):
            await one.renew()
    assert len(stub.asked) == 1
    await one.close()


async def test_a_token_that_was_refused_is_not_kept(stub: Stub, stubbed: adapter.Azure) -> None:
    """The next call signs in anew."""
    stub.answer(401, "", {"x-ms-error-code": "InvalidAuthenticationInfo"})
    one = stubbed.lease(f"{stub.url}/account/share")
    for _ in range(2):
        with pytest.raises(outcome.OutcomeError):
            await one.look()
    assert stub.tokens == 2
    await one.close()
