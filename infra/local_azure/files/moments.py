"""Time as Azure Files shows it: ticks of 100 ns since year 1, and their three spellings. Pure.

An ETag of this service is the tick of the last change in hexadecimal (recorded: files-head-file, where
ETag, change time and Last-Modified name one moment).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

SECOND = 10_000_000
_UNIX = 621_355_968_000_000_000
_ZERO = datetime(1, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?(?:Z|\+00:00)")


def ticks(moment: datetime) -> int:
    """`moment` (aware) in ticks."""
    return (moment - _ZERO) // timedelta(microseconds=1) * 10


def of_ns(nanoseconds: int) -> int:
    """A file system's nanoseconds since 1970 in ticks."""
    return _UNIX + nanoseconds // 100


def moment(tick: int) -> datetime:
    """`tick` as an aware datetime, cut to microseconds."""
    return _ZERO + timedelta(microseconds=tick // 10)


def iso(tick: int) -> str:
    """E.g. `2024-06-20T04:27:43.4146374Z`."""
    return f"{moment(tick):%Y-%m-%dT%H:%M:%S}.{tick % SECOND:07d}Z"


def http(tick: int) -> str:
    """E.g. `Thu, 20 Jun 2024 04:27:43 GMT`, whatever the process's locale is."""
    return format_datetime(moment(tick), usegmt=True)


def etag(tick: int) -> str:
    """With its quotes, e.g. `"0x8DC90E1542E8E46"`."""
    return f'"0x{tick:X}"'


def parse(text: str) -> int:
    """The tick an ISO 8601 time in UTC names; raises ValueError."""
    found = _ISO.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a time in UTC: {text!r}")
    seconds = ticks(datetime.fromisoformat(found[1]).replace(tzinfo=UTC))
    return seconds + int((found[2] or "0").ljust(7, "0"))
