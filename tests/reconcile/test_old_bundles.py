"""Which bundles stay on the share when a new one arrives."""

from __future__ import annotations

import os

from controller import apply
from tests.reconcile.stack import Stack

FOLDER = ".acaops/one/chat/releases"


async def test_old_bundles_go_but_not_those_in_use(built: Stack) -> None:
    """The latest ten stay, and every one that a listed revision starts from; other files are nobody's to remove."""
    releases = built.share / FOLDER
    (in_use,) = releases.iterdir()
    old = [releases / f"{number:064x}.tar.gz" for number in range(apply.KEPT + 2)]
    for age, path in enumerate([in_use, releases / "notes.txt", *old]):
        path.touch()
        os.utime(path, (1_700_000_000 + age, 1_700_000_000 + age))
    (built.code / "app.py").write_text("print('two')\n")
    await built.converge()
    left = {path.name for path in releases.iterdir()}
    newest = left - {path.name for path in old} - {in_use.name, "notes.txt"}
    assert len(newest) == 1
    assert left == newest | {in_use.name, "notes.txt"} | {path.name for path in old[3:]}
