"""Content by digest: a manifest that `sha256sum -c` verifies."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from controller.model import content

ONE = content.File("code/a.py", Path("/a.py"), 3, "a" * 64, executable=False)
TWO = content.File("code/run me.sh", Path("/run"), 4, "b" * 64, executable=True)


def test_the_manifest_is_sums_then_modes() -> None:
    """Comment lines carry what the sums don't."""
    both = content.Content((ONE, TWO), ("code",))

    assert both.manifest == f"{'a' * 64}  code/a.py\n{'b' * 64}  code/run me.sh\n#x code/run me.sh\n"
    assert both.digest == hashlib.sha256(both.manifest.encode()).hexdigest()
    assert both.size == 7


def test_a_digest_is_of_what_runs() -> None:
    """Path, bytes and mode; not of where the files lie."""
    whole = content.Content((ONE, TWO), ("code",))

    same = content.Content((replace(ONE, source=Path("/b"), size=9), TWO), ())
    others = [
        content.Content((one, TWO), ("code",))
        for one in (replace(ONE, path="code/b.py"), replace(ONE, sha256="c" * 64), replace(ONE, executable=True))
    ]

    assert same.digest == whole.digest
    assert len({whole.digest, *(one.digest for one in others)}) == 4
