"""A container's output: timed lines, within bounds, to tail and to follow."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.local_azure.runtime import logs


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def files(folder: Path) -> list[tuple[Path, int]]:
    return [(path, path.stat().st_size) for path in folder.rglob("*") if path.is_file()]


async def texts(log: logs.Log, *, tail: int = 1000, follow: bool = False) -> list[str]:
    return [text async for _, text in log.read(tail=tail, follow=follow)]


async def test_tail_gives_the_last_lines_with_their_times(tmp_path: Path) -> None:
    """Oldest first, each with the moment it was read."""
    log = logs.Log(tmp_path / "x.log", now=now)
    log.write(["one", "two", "three"])
    assert [(now(), "two"), (now(), "three")] == [line async for line in log.read(tail=2, follow=False)]
    log.end()


async def test_following_gives_each_new_line_and_ends_with_the_log(tmp_path: Path) -> None:
    """A follower sees everything written, also what comes just before the end."""
    log = logs.Log(tmp_path / "x.log", now=now)
    log.write(["old"])
    follower = asyncio.create_task(texts(log, tail=1, follow=True))
    for text in ("a", "b", "c"):
        await asyncio.sleep(0)
        log.write([text])
    log.end()
    assert await asyncio.wait_for(follower, 5) == ["old", "a", "b", "c"]


async def test_a_log_is_bounded_and_a_follower_reads_across_the_rotation(tmp_path: Path) -> None:
    """At most two files of the bound, and no line lost to one who keeps up."""
    log = logs.Log(tmp_path / "x.log", now=now, rotate=1000)
    written = [f"line {number:03}" for number in range(100)]
    found: list[str] = []

    async def follow() -> None:
        found.extend([text async for _, text in log.read(tail=0, follow=True)])

    follower = asyncio.create_task(follow())
    for text in written:
        await asyncio.sleep(0)
        log.write([text])
    log.end()
    await asyncio.wait_for(follower, 5)
    assert written == found
    sizes = [size for _, size in files(tmp_path)]
    assert len(sizes) == 2
    assert max(sizes) < 1100


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"a\nb\n"], ["a", "b"]),
        ([b"a", b"b\nc"], ["ab", "c"]),
        ([b"a\r\n\n"], ["a", ""]),
        ([b"abcdefghij\n"], ["abcd", "efgh", "ij"]),
        ([b"abcdef", b"ghij"], ["abcd", "efgh", "ij"]),
        ([b"\xff\n"], ["\ufffd"]),
    ],
)
def test_output_is_cut_into_lines_and_long_lines_into_pieces(chunks: list[bytes], expected: list[str]) -> None:
    """Lines may come in any chunks; one over the limit is split; bytes that aren't UTF-8 are shown."""
    splitter = logs.Splitter(limit=4)
    assert expected == [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.end()


async def test_logs_of_the_last_ended_replicas_stay_readable(tmp_path: Path) -> None:
    """Older ones go, with their files."""
    shelf = logs.Shelf(tmp_path, now=now, ended=2)
    for name in ("r1", "r2", "r3"):
        shelf.open("app--one", name, "main").write([f"from {name}"])
        shelf.end("app--one", name)
    assert await texts(shelf.find("app--one", "r2", "main")) == ["from r2"]
    with pytest.raises(KeyError):
        shelf.find("app--one", "r1", "main")
    assert {"r2", "r3"} == {path.parent.name for path, _ in files(tmp_path)}
