"""Content folders to files by digest: what is published, what is left out, what is refused."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from controller.model import content
from controller.sources import content as folders
from controller.sources import worktree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A content folder with one file."""
    folder = tmp_path / "top" / "code"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text("print()\n")
    return folder


def collected(root: Path) -> content.Content:
    return folders.collect([(root, "code")], top=worktree.top(root), memory={})


def names(root: Path) -> list[str]:
    return [file.path for file in collected(root).files]


def problems(root: Path) -> list[str]:
    with pytest.raises(folders.ContentError) as caught:
        collected(root)
    assert not caught.value.retriable
    return [problem.replace(f"{root}/", "") for problem in caught.value.problems]


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def test_files_have_their_place_size_sum_and_mode(root: Path) -> None:
    """Below the target, in path order, of all folders; empty folders don't count."""
    write(root, "sub/run.sh")
    (root / "sub" / "run.sh").chmod(0o755)
    (root / "empty").mkdir()
    adapter = root.parent / "adapter"
    write(adapter, "w.bin")

    found = folders.collect([(root, "code"), (adapter, "a/b")], top=None, memory={})

    assert (found.targets, found.size) == (("code", "a/b"), 8 + len("w.bin") + len("sub/run.sh"))
    assert [(file.path, file.executable) for file in found.files] == [
        ("a/b/w.bin", False),
        ("code/main.py", False),
        ("code/sub/run.sh", True),
    ]
    assert found.files[1] == content.File(
        "code/main.py", root / "main.py", 8, hashlib.sha256(b"print()\n").hexdigest(), False
    )


def test_the_digest_follows_bytes_and_the_executable_bit(root: Path) -> None:
    """Times and owners don't matter."""
    first = collected(root).digest
    os.utime(root / "main.py", (1, 1))
    assert collected(root).digest == first

    (root / "main.py").chmod(0o755)
    executable = collected(root).digest
    (root / "main.py").write_text("print(1)\n")

    assert len({first, executable, collected(root).digest}) == 3


def test_caches_and_environments_are_left_out(root: Path) -> None:
    """Whatever they hold, symlinks out of the folder included."""
    left_out = [".git/HEAD", "__pycache__/a.pyc", "a.pyc", "env/pyvenv.cfg", "env/bin/python", ".venv/x", ".DS_Store"]
    write(root, *left_out, ".mypy_cache/x", ".pytest_cache/x", ".ruff_cache/x", "node_modules/x", ".main.py.swp", "a~")
    (root / ".venv" / "out").symlink_to("/etc")
    (root / "node_modules" / ".bin").symlink_to("/etc")

    assert names(root) == ["code/main.py"]


def test_ignore_files_are_obeyed(root: Path) -> None:
    """The nearest one that speaks has the last word, `.acaopsignore` over `.gitignore`; parents count to git's top."""
    (root.parent / ".git").mkdir()
    (root.parents[1] / ".gitignore").write_text("*.py\n")
    (root.parent / ".gitignore").write_text("*.log\n/code/build/\n*.tmp\n")
    (root / ".gitignore").write_text("!keep.log\ndata/\n*.bin\n")
    (root / ".acaopsignore").write_text("!needed.bin\ntests\n")
    write(root, "a.log", "keep.log", "build/x", "data/x", "x.bin", "needed.bin", "tests/t.py", "sub/a.tmp", "sub/b")

    assert names(root) == [
        *("code/.acaopsignore", "code/.gitignore", "code/keep.log", "code/main.py", "code/needed.bin", "code/sub/b"),
    ]


def test_without_git_only_the_folder_s_own_ignore_files_count(root: Path) -> None:
    """Nobody's home folder decides what is published."""
    (root.parent / ".gitignore").write_text("*.py\n")

    assert names(root) == ["code/main.py"]


def test_a_folder_with_nothing_to_publish_is_refused(root: Path) -> None:
    """Mirrored, it would take every file off the share."""
    (root / ".acaopsignore").write_text("*\n")

    assert problems(root) == [f"{root}: nothing to publish: no files, or all left out"]


def test_links_inside_are_followed(root: Path) -> None:
    """As the files and folders they lead to."""
    write(root, "sub/x")
    (root / "link.py").symlink_to("main.py")
    (root / "again").symlink_to("sub")

    assert names(root) == ["code/again/x", "code/link.py", "code/main.py", "code/sub/x"]


def test_what_can_not_be_published_is_told_all_at_once(root: Path) -> None:
    """Links out, to nothing, in circles or to what is left out; pipes and sockets; LFS pointers; illegal names."""
    (root / "out").symlink_to("/etc/hosts")
    (root / "gone").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "circle").symlink_to(".")
    write(root, ".git/config", "a:b", "aux.txt", "new\nline")
    (root / "secret").symlink_to(".git/config")
    (root / "ignored").symlink_to("/etc/hosts")
    (root / ".gitignore").write_text("ignored\n")
    os.mkfifo(root / "pipe")
    (root / "weights").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(root / "socket"))

    found = problems(root)

    assert sorted(found) == [
        "a:b: Azure Files can't hold this name: the character ':'",
        "aux.txt: Azure Files can't hold this name: a reserved device name",
        "circle: a symbolic link that goes round in a circle",
        "gone: a symbolic link to nothing",
        "loop: a symbolic link to nothing",
        "new\\nline: Azure Files can't hold this name: the character '\\n'",
        "out: a symbolic link that leads out of the folder",
        "pipe: neither a file nor a folder",
        "secret: a symbolic link to what is left out",
        "socket: neither a file nor a folder",
        "weights: a Git LFS pointer, not the file itself: run `git lfs pull` (a remote repository needs the file "
        "committed)",
    ]


def test_names_that_differ_in_case_only_are_refused(root: Path) -> None:
    """Folders too: on Azure Files they are one."""
    write(root, "Main.py", "Sub/a", "sub/b")

    assert problems(root) == [
        "main.py: code/main.py and code/Main.py differ in case only",
        "sub/b: code/sub and code/Sub differ in case only",
    ]


def test_sums_are_remembered(root: Path) -> None:
    """A file is read once while path, size, time and inode stay; then again."""
    os.utime(root / "main.py", (1, 1))
    memory: folders.Memory = {}
    first = folders.collect([(root, "code")], top=None, memory=memory).digest
    ((stamp, _),) = memory.values()
    memory[root / "main.py"] = (stamp, "0" * 64)

    assert folders.collect([(root, "code")], top=None, memory=memory).files[0].sha256 == "0" * 64

    os.utime(root / "main.py", (2, 2))
    assert folders.collect([(root, "code")], top=None, memory=memory).digest == first


def test_the_sum_of_a_file_just_written_is_not_kept(root: Path) -> None:
    """It may be written again within one tick of the file system's clock."""
    future = 4_000_000_000
    os.utime(root / "main.py", (future, future))
    memory: folders.Memory = {}

    folders.collect([(root, "code")], top=None, memory=memory)

    assert memory == {}


def test_a_file_that_keeps_changing_is_a_passing_problem(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again first, then told as retriable."""
    digest = folders._digest

    def changing(file: object) -> str:
        value = digest(file)  # type: ignore[arg-type]
        with (root / "main.py").open("a") as also:
            also.write("#")
        return value

    monkeypatch.setattr(folders, "_digest", changing)

    with pytest.raises(folders.ContentError, match="keeps changing") as caught:
        collected(root)
    assert caught.value.retriable


def test_a_file_changed_once_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is of one moment."""
    digest = folders._digest

    def once(file: object) -> str:
        value = digest(file)  # type: ignore[arg-type]
        if (root / "main.py").read_text() != "new":
            (root / "main.py").write_text("new")
        return value

    monkeypatch.setattr(folders, "_digest", once)

    assert collected(root).files[0].sha256 == hashlib.sha256(b"new").hexdigest()


def test_a_folder_that_went_away_is_a_passing_problem(tmp_path: Path) -> None:
    """Somebody is moving things."""
    with pytest.raises(folders.ContentError, match="went away") as caught:
        collected(tmp_path / "gone")
    assert caught.value.retriable
