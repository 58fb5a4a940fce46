"""Resources as the service answered them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from controller.model import observed
from tests.unit import samples

FIRST = datetime(2025, 11, 3, 5, 50, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-11-03T05:50:50.1820416Z", FIRST.replace(microsecond=182041)),
        ("2025-11-03T05:50:50.1820416", FIRST.replace(microsecond=182041)),
        ("2025-11-03T05:50:50.18Z", FIRST.replace(microsecond=180000)),
        ("2025-11-03T05:50:50+00:00", FIRST),
        ("2025-11-03T05:50:50", FIRST),
        ("2025-11-03T05:50:50Z", FIRST),
        ("2025-11-03T07:50:50+02:00", FIRST.astimezone(timezone(timedelta(hours=2)))),
        ("2024-06-20T04:24:04.0000000Z", datetime(2024, 6, 20, 4, 24, 4, tzinfo=UTC)),
        ("2025-13-03T05:50:50Z", None),
        ("2025-11-03", None),
        ("5/24/2025 4:35:31 PM", None),
        ("", None),
        (None, None),
        (1762149050, None),
    ],
)
def test_a_timestamp_is_aware(text: object, moment: datetime | None) -> None:
    """All forms on the wire: a PUT's answer ends in Z, a GET's in nothing, a revision's in +00:00."""
    assert observed.moment(text) == moment


def test_a_resource_tells_its_parts() -> None:
    """From recorded answers; an empty one tells nothing and is settled."""
    app = observed.Resource(samples.answer("containerapp-get-succeeded-azurefile"))
    bare = observed.Resource({"properties": None, "tags": None, "systemData": None})

    assert (app.name, app.id.rsplit("/", 2)[-2], app.state) == ("app1000004", "containerapps", "Succeeded")
    assert app.changed == FIRST.replace(microsecond=182041)
    assert (bare.name, bare.id, bare.state, bare.changed) == ("", "", "Succeeded", None)
    assert (dict(bare.properties), dict(bare.tags)) == ({}, {})


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


@pytest.mark.parametrize(("status", "passed"), [(None, False), (199, False), (200, True), (299, True), (300, False)])
def test_a_check_passes_by_its_status(status: int | None, passed: bool) -> None:
    """2xx."""
    assert observed.Check(status, None, "", conclusive=True).passed is passed


def test_a_revision_by_name() -> None:
    """None for a name that isn't listed."""
    listed = tuple(observed.Resource(one) for one in samples.answer("revisions-list-activating")["value"])
    seen = observed.Workload(observed.Stack(), revisions=listed)

    assert seen.revision("app1000004--0000001") is listed[1]
    assert seen.revision("app1000004--gone") is None
    assert seen.revision(None) is None
