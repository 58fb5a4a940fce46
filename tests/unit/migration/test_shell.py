"""A start command taken apart into an app's commands."""

from __future__ import annotations

import subprocess

import pytest

from controller.migration import shell


def of(text: str) -> tuple[str, ...]:
    """The commands of `bash -c text`, without the way back to the image's folder."""
    lines = shell.commands(["/bin/bash", "-c", text]).lines
    return lines[1:] if lines[0] == shell.BACK else lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a; b; c", ("a", "b", "c")),
        ("a&& b&& c", ("a", "b", "c")),
        ("a && b\nc ;", ("a", "b", "c")),
        ("a 'x; y' && b \"p && q\"", ("a 'x; y'", 'b "p && q"')),
        (r"a x\;y; b", (r"a x\;y", "b")),
        ("(a; b) && c $(d; e)", ("(a; b)", "c $(d; e)")),
        ("a 2>&1 && b &>log; c & d", ("a 2>&1", "b &>log", "c & d")),
        ("a || b && c; d", ("a || b && c", "d")),
        ("for i in 1 2; do a; done; b", ("for i in 1 2; do a; done; b",)),
        ("if a; then b; fi", ("if a; then b; fi",)),
        ("{ a; b; }; c", ("{ a; b; }; c",)),
        ("a `b; c`; d", ("a `b; c`; d",)),
        ('a "$(b "c; d")"; e', ('a "$(b "c; d")"; e',)),
        ("a # b; c", ("a # b; c",)),
        ("cat <<E; b", ("cat <<E; b",)),
        ("a 'open; b", ("a 'open; b",)),
    ],
)
def test_it_is_cut_where_a_shell_would_begin_a_command(text: str, lines: tuple[str, ...]) -> None:
    """At `;`, `&&` and line ends, but not in quotes and groups; what can't be cut safely stays whole."""
    assert of(text) == lines


@pytest.mark.parametrize(
    ("last", "becomes"),
    [
        ("exec python -m a 'b c'", "python -m a 'b c'"),
        ("exec /bin/bash -c 'a && b'", "a && b"),
        ("exec 3>&1", "exec 3>&1"),
        ("exec 'open", "exec 'open"),
        ("a", "a"),
    ],
)
def test_the_last_command_loses_its_exec(last: str, becomes: str) -> None:
    """acaops puts its own in front of it."""
    assert shell.commands(["bash", "-c", f"cd /x && exec y && {last}"]).lines == ("cd /x", "exec y", becomes)


def test_a_forgiving_start_says_so() -> None:
    """Joined by `;`, a failure went unnoticed; by `&&` it didn't."""
    assert shell.commands(["bash", "-c", "a; b"]).forgiving
    assert not shell.commands(["bash", "-c", "a && b;"]).forgiving


@pytest.mark.parametrize(
    ("line", "becomes"),
    [("mkdir .cache", "mkdir -p .cache"), ("mkdir -m 700 x", "mkdir -m 700 x"), ("mkdir a b", "mkdir a b")],
)
def test_a_folder_that_is_there_is_no_failure(line: str, becomes: str) -> None:
    """One made at the first start would fail every later one."""
    found = shell.commands(["bash", "-c", f"cd /mount; {line}; a"])
    assert found.lines == ("cd /mount", becomes, "a")
    assert found.folders == ((line,) if line != becomes else ())


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["python", "-m", "app", "two words"], "python -m app 'two words'"),
        (["/bin/bash", "-lc", "a; b"], "/bin/bash -lc 'a; b'"),
        (["bash", "-c", "a $0", "b"], "bash -c 'a $0' b"),
    ],
)
def test_other_forms_are_one_command(argv: list[str], line: str) -> None:
    """A program with its words, and shells with options of their own."""
    assert shell.commands(argv).lines == (shell.BACK, line)


def test_a_start_in_the_image_s_folder_stays_there() -> None:
    """Unless it begins with an absolute cd: the start command has gone to the share by then."""
    assert shell.commands(["bash", "-c", "cd /app && a"]).lines == ("cd /app", "a")
    assert shell.commands(["bash", "-c", "cd app && a"]).lines == (shell.BACK, "cd app", "a")
    script = " && ".join(["cd /", *shell.commands(["pwd"]).lines])
    done = subprocess.run(
        ["/bin/bash", "-c", script], cwd="/usr", capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout == "/usr\n"
