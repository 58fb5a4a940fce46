"""Text that somebody else wrote, as it may be shown: without what would make a terminal do things."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


def plain(text: str) -> str:
    """`text` without control characters, but for tabs and line ends."""
    return _SEQUENCE.sub("", text).translate(_CONTROLS)
