"""The archive of a release: reproducible, and only ever of the bytes that were summed."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from controller.model import content
from controller.sources import content as folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "sub").mkdir(parents=True)
    (folder / "main.py").write_text("print()\n")
    (folder / "sub" / ("é" * 60 + ".sh")).write_text("#!/bin/sh\n")
    (folder / "sub" / ("é" * 60 + ".sh")).chmod(0o700)
    return folder


def collected(root: Path) -> content.Content:
    return folders.collect([(root, "code")], top=None, memory={})


def test_a_bundle_holds_the_manifest_and_the_files(root: Path, tmp_path: Path) -> None:
    """The manifest first, then path order; modes 755 and 644; nobody's name or time."""
    wanted = collected(root)
    folders.bundle(wanted, tmp_path / "release.tar.gz")

    with tarfile.open(tmp_path / "release.tar.gz") as archive:
        members = archive.getmembers()
        manifest = archive.extractfile(members[0])
        assert manifest is not None
        assert manifest.read().decode() == wanted.manifest
    assert [member.name for member in members] == [".acaops-manifest", *(file.path for file in wanted.files)]
    assert [member.mode for member in members] == [0o644, 0o644, 0o755]
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in members} == {
        (0, 0, 0, "", "")
    }


def test_equal_content_makes_equal_bytes(root: Path, tmp_path: Path) -> None:
    """Times and places don't matter."""
    folders.bundle(collected(root), tmp_path / "one.tar.gz")
    os.utime(root / "main.py", (1, 1))
    folders.bundle(collected(root), tmp_path / "two.tar.gz")

    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()


@pytest.mark.parametrize("now", ["PRINT()\n", "p", None])
def test_a_file_changed_since_gives_no_bundle(root: Path, tmp_path: Path, now: str | None) -> None:
    """Other bytes, fewer bytes or no file: a passing problem, and nothing left behind."""
    wanted = collected(root)
    (root / "main.py").unlink()
    if now is not None:
        (root / "main.py").write_text(now)

    with pytest.raises(folders.ContentError, match="changed since it was looked at") as caught:
        folders.bundle(wanted, tmp_path / "release.tar.gz")

    assert caught.value.retriable
    assert [path.name for path in tmp_path.iterdir()] == ["code"]
