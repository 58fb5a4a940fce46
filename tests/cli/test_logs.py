"""`acaops logs`: whose lines are shown, how, and what is said where there are none."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Command, Served, State

LINE = "local Azure: this replica is simulated and prints nothing"


@pytest.fixture
def converged(acaops: Command, azure: Served, state: State) -> Served:
    told = acaops("once", state.folder)
    assert told.exit_code == 0, told.output
    return azure


@pytest.fixture
def scaled(acaops: Command, azure: Served, state: State) -> Served:
    """Two replicas."""
    state.change("{minReplicas: 1, maxReplicas: 1}", "{minReplicas: 2, maxReplicas: 2}")
    told = acaops("once", state.folder)
    assert told.exit_code == 0, told.output
    return azure


def test_one_replica_prints_its_lines_bare(acaops: Command, converged: Served) -> None:
    """On standard output, and Azure is only asked."""
    before = len(converged.writes)

    told = acaops("logs", "chat")

    assert (told.exit_code, told.stdout, told.stderr) == (0, f"{LINE}\n", "")
    assert len(converged.writes) == before
    assert acaops("logs", "chat", "--tail", "0").output == ""


def test_several_replicas_are_told_apart(acaops: Command, scaled: Served) -> None:
    """By the last part of their names; one may be asked for by it, and is marked all the same."""
    lines = acaops("logs", "chat").stdout.splitlines()

    marks = [re.fullmatch(rf"\[(\w{{5}})\] {LINE}", line) for line in lines]
    first, second = (mark[1] for mark in marks if mark)
    assert first != second
    assert acaops("logs", "chat", "--replica", second).stdout == f"[{second}] {LINE}\n"
    none = acaops("logs", "chat", "--replica", "other")
    assert (none.exit_code, none.stdout) == (1, "")
    assert "has no replica other; without --replica all of them are read" in none.stderr


def test_programs_get_an_object_a_line(acaops: Command, scaled: Served) -> None:
    """With every name, and the line as it is."""
    found = [json.loads(line) for line in acaops("logs", "chat", "-o", "json").stdout.splitlines()]

    assert len({one["replica"] for one in found}) == 2
    for one in found:
        assert one.keys() == {"app", "revision", "replica", "container", "line"}
        assert one["replica"].startswith(f"{one['revision']}-")
        assert one["revision"].startswith(f"{one['app']}--")
        assert (one["container"], one["line"]) == (one["app"], LINE)


def test_a_revision_by_its_name_or_suffix(acaops: Command, converged: Served) -> None:
    """An unknown one is answered with those there are."""
    told = acaops("logs", "chat", "-o", "json")
    name = json.loads(told.stdout)["revision"]

    for given in (name, name.rpartition("--")[2]):
        assert acaops("logs", "chat", "--revision", given).stdout == f"{LINE}\n"
    unknown = acaops("logs", "chat", "--revision", "other")
    assert unknown.exit_code == 1
    assert unknown.stderr.endswith(f"has no revision other; there are {name}\n")


def test_an_unknown_container(acaops: Command, converged: Served) -> None:
    """Is answered with those there are."""
    told = acaops("logs", "chat", "--container", "sidecar")
    assert (told.exit_code, told.stdout) == (1, "")
    assert re.search(r"has no container sidecar; there are aiacaapp\w+\n", told.stderr)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("other", "no object is called 'other'; there is chat"),
        ("west", "west is an Environment, which prints nothing; name an InferenceApp"),
        ("chat", "chat has no container app yet; acaops status chat says why"),
    ],
)
def test_what_prints_nothing(acaops: Command, azure: Served, state: State, *, name: str, told: str) -> None:
    """Each with what to do about it."""
    said = acaops("logs", name)
    assert (said.exit_code, said.stdout, said.stderr) == (1, "", f"error: {told}\n")


def test_a_state_that_does_not_load(acaops: Command, state: State) -> None:
    """The problem is told with its place."""
    state.write("nonsense: [")
    said = acaops("logs", "chat")
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.startswith("error: desired_state/all.yaml:2:1: ")


def process(acaops: Command, *arguments: str, stdout: int) -> subprocess.Popen[str]:
    """`acaops` in a process of its own."""
    environ = {name: value for name, value in os.environ.items() if name not in acaops.env}
    given = {name: value for name, value in acaops.env.items() if value is not None}
    words = [sys.executable, "-m", "controller", *arguments]
    return subprocess.Popen(words, env={**environ, **given}, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def following(acaops: Command, converged: Served) -> Iterator[subprocess.Popen[str]]:
    """`acaops logs chat -f`, once it has shown a line."""
    with process(acaops, "logs", "chat", "-f", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"{LINE}\n"
        yield running
        running.kill()


def test_ctrl_c_ends_it_quietly(following: subprocess.Popen[str]) -> None:
    """With 130, as every interrupted command."""
    following.send_signal(signal.SIGINT)
    rest, said = following.communicate(timeout=20)
    assert (following.returncode, rest, said) == (130, "", "")


def test_following_ends_with_the_replica(following: subprocess.Popen[str], acaops: Command) -> None:
    """That is said, and is no failure; nothing is shown twice."""
    deleted = acaops("delete", "chat", "--yes", "--allow", "00000000-0000-0000-0000-000000000000/rg-cli")
    assert deleted.exit_code == 0, deleted.output
    rest, said = following.communicate(timeout=20)
    assert (following.returncode, rest) == (0, "")
    assert re.fullmatch(r"note: replica \S+ ended\n", said)


def test_a_reader_that_goes_away_ends_it_quietly(acaops: Command, converged: Served) -> None:
    """As `head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    with process(acaops, "logs", "chat", stdout=writer) as running:
        os.close(writer)
        _, said = running.communicate(timeout=20)
    assert (running.returncode, said) == (141, "")
