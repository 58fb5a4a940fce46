"""Resources as the service answered them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from controller.model import observed
from tests.unit import answers

FIRST = datetime(2026, 11, 20, 8, 15, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T08:15:20.1234567Z", FIRST.replace(microsecond=123456)),
        ("2026-11-20T08:15:20.1234567", FIRST.replace(microsecond=123456)),
        ("2026-11-20T08:15:20.12Z", FIRST.replace(microsecond=120000)),
        ("2026-11-20T08:15:20+00:00", FIRST),
        ("2026-11-20T08:15:20", FIRST),
        ("2026-11-20T08:15:20Z", FIRST),
        ("2026-11-20T10:15:20+02:00", FIRST.astimezone(timezone(timedelta(hours=2)))),
        ("2026-11-20T08:15:31.0000000Z", datetime(2026, 11, 20, 8, 15, 31, tzinfo=UTC)),
        ("2026-13-20T08:15:20Z", None),
        ("2026-11-20", None),
        ("11/20/2026 8:16:12 AM", None),
        ("", None),
        (None, None),
        (1795162520, None),
    ],
)
def test_a_timestamp_is_aware(text: object, moment: datetime | None) -> None:
    """All forms on the wire: a PUT's answer ends in Z, a GET's in nothing, a revision's in +00:00."""
    assert observed.moment(text) == moment


def test_a_resource_tells_its_parts() -> None:
    """From what a GET answers; an empty body tells nothing and is settled."""
    app = observed.Resource(answers.app())
    bare = observed.Resource({"properties": None, "tags": None, "systemData": None})

    assert (app.name, app.id.rsplit("/", 2)[-2], app.state) == ("aiacaappokxj5", "containerapps", "Succeeded")
    assert app.changed == FIRST.replace(microsecond=123456)
    assert (bare.name, bare.id, bare.state, bare.changed) == ("", "", "Succeeded", None)
    workspace = observed.Resource({"properties": {"createdDate": "2026-11-22T11:00:00Z"}})
    assert workspace.changed == datetime(2026, 11, 22, 11, tzinfo=UTC)
    assert (dict(bare.properties), dict(bare.tags)) == ({}, {})


def test_a_deadline_counts_from_the_containers_start() -> None:
    """From when the revision was made, where its container didn't start; from nothing where nobody knows."""
    revision = observed.Resource({"properties": {"createdTime": "2026-11-20T08:15:20+00:00"}})

    assert observed.began(revision, FIRST + timedelta(minutes=5)) == FIRST + timedelta(minutes=5)
    assert observed.began(revision, None) == revision.created == FIRST
    assert observed.began(observed.Resource({}), None) is None


@pytest.mark.parametrize(
    ("state", "settled", "usable"),
    [
        (None, True, True),
        ("Succeeded", True, True),
        ("succeeded", True, True),
        ("Failed", True, False),
        ("Canceled", True, False),
        ("InProgress", False, False),
        ("Waiting", False, False),
        ("ScheduledForDelete", False, False),
        ("ResolvingDns", False, False),
    ],
)
def test_settled_and_usable(state: str | None, settled: bool, usable: bool) -> None:
    """Settled takes a write; usable can be built on."""
    live = observed.Resource({"properties": {"provisioningState": state}})

    assert (live.settled, live.usable) == (settled, usable)


@pytest.mark.parametrize(("address", "usable"), [("20.1.2.3", True), (None, False)])
def test_an_environment_that_failed_to_update(address: str | None, usable: bool) -> None:
    """It has had an address since it was made, and goes on; one that was never made has none."""
    live = observed.Resource({"properties": {"provisioningState": "Failed", "staticIp": address}})
    assert (live.failed, live.usable) == (True, usable)


@pytest.mark.parametrize(("status", "passed"), [(None, False), (199, False), (200, True), (299, True), (300, False)])
def test_a_check_passes_by_its_status(status: int | None, passed: bool) -> None:
    """2xx."""
    assert observed.Check(status, None, "", conclusive=True).passed is passed


def test_a_revision_by_name() -> None:
    """None for a name that isn't listed."""
    listed = tuple(observed.Resource(one) for one in answers.revisions_starting())
    seen = observed.Workload(observed.Stack(), revisions=listed)

    assert seen.revision("aiacaappokxj5--0000001") is listed[1]
    assert seen.revision("aiacaappokxj5--gone") is None
    assert seen.revision(None) is None
