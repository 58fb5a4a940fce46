"""Mirror mode: plain files on the share, only what changed, nothing of anybody else's."""

from __future__ import annotations

import pytest

from tests.reconcile.clouds import Killed, Killing
from tests.reconcile.stack import Stack, app, environment

MANIFEST = ".acaops/one/chat/mirror.json"


@pytest.fixture
async def mirrored(stack: Stack) -> Stack:
    (stack.code / "old").mkdir()
    (stack.code / "old" / "gone.py").write_text("print('gone')\n")
    (stack.code / "same.py").write_text("print('same')\n")
    stack.write(environment(), app(release="Mirror"))
    await stack.converge()
    foreign = stack.share / "model-cache" / "weights.bin"
    foreign.parent.mkdir()
    foreign.write_text("weights")
    (stack.share / "inference" / "notes.txt").write_text("theirs")
    return stack


def change(stack: Stack) -> None:
    (stack.code / "app.py").write_text("print('two')\n")
    (stack.code / "new.py").write_text("print('new')\n")
    (stack.code / "old" / "gone.py").unlink()
    (stack.code / "old").rmdir()


def seen(stack: Stack) -> dict[str, str]:
    return {path: text for path, text in stack.files().items() if path != MANIFEST}


WANTED = {
    "inference/app.py": "print('two')\n",
    "inference/new.py": "print('new')\n",
    "inference/same.py": "print('same')\n",
    "inference/notes.txt": "theirs",
    "model-cache/weights.bin": "weights",
}


async def test_a_change_that_is_taken_back_half_done(mirrored: Stack) -> None:
    """Killed after a file was removed, and then that file is wanted again: it is written again."""
    gone = mirrored.code / "old" / "gone.py"
    text = gone.read_text()
    gone.unlink()
    killing = Killing(mirrored.cloud, after=2)
    mirrored.restart(killing)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await mirrored.settle()
    assert killing.done[-1] == "delete inference/old/gone.py"
    gone.write_text(text)
    mirrored.restart()
    await mirrored.converge()
    assert mirrored.files()["inference/old/gone.py"] == text


async def test_only_what_changed_is_written(mirrored: Stack) -> None:
    """Changed and new files, then deletions; a file that is the same, and foreign ones, are never named."""
    written = len(mirrored.writes())
    change(mirrored)
    await mirrored.converge()
    assert seen(mirrored) == WANTED
    assert not (mirrored.share / "inference" / "old").exists()
    named = [(method, path.removeprefix("/accountone/models/")) for method, path in mirrored.writes()[written:]]
    share = [(method, path) for method, path in named if not path.startswith("/subscriptions")]
    assert not [path for _, path in share if "same.py" in path or "notes" in path or "weights" in path]
    deleted = share.index(("DELETE", "inference/old/gone.py"))
    puts = [at for at, (method, path) in enumerate(share) if method == "PUT" and path.startswith("inference/")]
    assert max(puts) < deleted


@pytest.mark.parametrize("after", range(1, 7))
async def test_a_mirror_cut_short_leaves_nothing_behind(mirrored: Stack, after: int) -> None:
    """Killed after any of its writes, and the source changed again meanwhile, it converges to the last state."""
    change(mirrored)
    mirrored.restart(Killing(mirrored.cloud, after=after))
    with pytest.raises((Killed, BaseExceptionGroup)):
        await mirrored.settle()
    (mirrored.code / "new.py").unlink()
    mirrored.restart()
    await mirrored.converge()
    assert seen(mirrored) == {path: text for path, text in WANTED.items() if path != "inference/new.py"}
