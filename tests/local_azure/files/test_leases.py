"""Leases keep others from writing, and run out when they should."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.fileshare import ContentSettings
from azure.storage.fileshare.aio import ShareClient, ShareFileClient, ShareLeaseClient

from infra.local_azure.files import errors, leases, moments

NOW = moments.ticks(datetime(2026, 11, 22, tzinfo=UTC))
A, B = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def after(seconds: float) -> int:
    return NOW + int(seconds * moments.SECOND)


def code(call: Callable[[], object]) -> str:
    with pytest.raises(errors.FilesError) as caught:
        call()
    return caught.value.code


def test_fixed_lease_runs_out() -> None:
    """Recorded: 15 s block a second acquire, and are free again 15 s later."""
    lease = leases.acquire(None, NOW, proposed=A, seconds=15)
    assert code(lambda: leases.acquire(lease, after(14), proposed=B, seconds=15)) == "LeaseAlreadyPresent"
    assert leases.state(lease, after(15)) == "expired"
    assert leases.acquire(lease, after(15), proposed=B, seconds=15).id == B


def test_renewal_counts_from_the_renewal() -> None:
    """Also a lease that expired can be renewed while nobody took it."""
    lease = leases.acquire(None, NOW, proposed=A, seconds=15)
    assert leases.renew(lease, after(20), given=A).ends == after(35)
    assert code(lambda: leases.renew(lease, NOW, given=B)) == "LeaseIdMismatchWithLeaseOperation"


@pytest.mark.parametrize("seconds", [0, 14, 61, -2])
def test_durations_that_cannot_be(seconds: int) -> None:
    """15 to 60 seconds, or -1."""
    assert code(lambda: leases.acquire(None, NOW, proposed=None, seconds=seconds)) == "InvalidHeaderValue"


@pytest.mark.parametrize(
    ("seconds", "period", "left"), [(-1, None, 0), (-1, 10, 10), (60, None, 40), (60, 10, 10), (60, 50, 40)]
)
def test_break_takes_the_lesser_time(seconds: int, period: int | None, left: int) -> None:
    """Broken 20 s in: after the period, or what is left of the lease; an infinite one at once without period."""
    lease = leases.acquire(None, NOW, proposed=A, seconds=seconds)
    broken, shown = leases.break_(lease, after(20), period=period)
    assert shown == left
    assert leases.state(broken, after(20 + left)) == "broken"
    assert code(lambda: leases.renew(broken, after(20), given=A)) == "LeaseIsBrokenAndCannotBeRenewed"


def test_breaking_still_locks() -> None:
    """Until it is broken nobody else gets it, and nobody without the id writes."""
    breaking, _ = leases.break_(leases.acquire(None, NOW, proposed=A, seconds=-1), NOW, period=10)
    assert leases.is_locked(breaking, after(9))
    assert not leases.is_locked(breaking, after(10))
    acquire = lambda: leases.acquire(breaking, after(9), proposed=A, seconds=-1)  # noqa: E731
    assert code(acquire) == "LeaseIsBreakingAndCannotBeAcquired"


async def acquired(file: ShareFileClient) -> ShareLeaseClient:
    await file.upload_file(b"abc" * 512)
    return await file.acquire_lease()


Write = Callable[..., Coroutine[Any, Any, Any]]


def writes(file: ShareFileClient) -> list[Write]:
    return [
        lambda **lease: file.upload_range(b"x", offset=0, length=1, **lease),
        lambda **lease: file.clear_range(0, 512, **lease),
        lambda **lease: file.set_file_metadata({"a": "b"}, **lease),
        lambda **lease: file.set_http_headers(ContentSettings(content_type="a/b"), **lease),
        lambda **lease: file.resize_file(700, **lease),
        lambda **lease: file.create_file(3, **lease),
        lambda **lease: file.delete_file(**lease),
    ]


async def test_writes_need_the_lease(share: ShareClient) -> None:
    """Recorded: 412 LeaseIdMissing without, 412 LeaseIdMismatchWithFileOperation with another id."""
    file = share.get_file_client("f")
    lease = await acquired(file)
    for write in writes(file):
        for named, expected in (({}, "LeaseIdMissing"), ({"lease": B}, "LeaseIdMismatchWithFileOperation")):
            with pytest.raises(HttpResponseError) as caught:
                await write(**named)
            assert (caught.value.status_code, caught.value.error_code) == (412, expected)
        await write(lease=lease)


async def test_reads_need_no_lease(share: ShareClient) -> None:
    """A leased file is read by anyone, and says that it is leased."""
    file = share.get_file_client("f")
    await acquired(file)
    shown = (await file.get_file_properties()).lease
    assert (shown.state, shown.status, shown.duration) == ("leased", "locked", "infinite")
    assert await (await file.download_file()).readall() == b"abc" * 512


async def test_second_lease_change_release_break(share: ShareClient) -> None:
    """One holder at a time; its id can change; once released or broken the next may have it."""
    file = share.get_file_client("f")
    lease = await acquired(file)
    with pytest.raises(HttpResponseError) as caught:
        await file.acquire_lease()
    assert (caught.value.status_code, caught.value.error_code) == (409, "LeaseAlreadyPresent")
    await lease.change(B)
    await file.upload_range(b"x", offset=0, length=1, lease=B)
    await lease.release()
    other = await file.acquire_lease()
    assert await other.break_lease() == 0
    await file.delete_file()


async def test_leased_share_is_not_deleted(share: ShareClient) -> None:
    """412 without the id; then it goes."""
    lease = await share.acquire_lease(lease_duration=15)
    with pytest.raises(HttpResponseError) as caught:
        await share.delete_share()
    assert (caught.value.status_code, caught.value.error_code) == (412, "LeaseIdMissing")
    await lease.renew()
    await share.delete_share(lease=lease)
