"""Commands on a git repository in the place of a folder, and on one commit of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Served, State


def git(root: Path, *words: str) -> str:
    call = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(root), *words]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(state: State, acaops: Command, tmp_path: Path) -> State:
    """The state folder and its content, in a work tree with one commit."""
    acaops.env["ACAOPS_CACHE"] = str(tmp_path / "cache")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "desired_state", "inference")
    git(tmp_path, "commit", "-qm", "one")
    return state


def test_plan_of_a_commit(acaops: Command, azure: Served, repository: State, tmp_path: Path) -> None:
    """What it would change, whatever the work tree has: nothing is written, there or here."""
    assert acaops("once", repository.folder).exit_code == 0
    repository.change("minReplicas: 1", "minReplicas: 0")
    git(tmp_path, "commit", "-qam", "two")
    repository.write("{")
    written = azure.writes

    one = acaops("plan", repository.folder, "--rev", "HEAD~1")
    two = acaops("plan", repository.folder, "--rev", "main", "-o", "json")

    assert (one.exit_code, one.stderr) == (0, "")
    assert (two.exit_code, two.stderr) == (2, "")
    changes = {
        one["path"]: (one["before"], one["after"]) for one in json.loads(two.stdout)["InferenceApp/chat"][-1]["changes"]
    }
    assert changes["properties.template.scale.minReplicas"] == (1, 0), changes
    assert azure.writes == written
    assert repository.file.read_text() == "{"
    assert acaops("plan", repository.folder).exit_code == 1


def test_plan_of_a_commit_that_is_not_there(acaops: Command, azure: Served, repository: State) -> None:
    """The revision is named, and Azure isn't asked."""
    told = acaops("plan", repository.folder, "--rev", "nowhere")
    assert told.exit_code == 1
    assert "error: --rev nowhere: there is no commit 'nowhere' in " in told.stderr
    assert azure.requests == []


def test_rev_needs_a_repository(acaops: Command, azure: Served, state: State) -> None:
    told = acaops("plan", state.folder, "--rev", "HEAD")
    assert told.exit_code == 1
    assert "lies in no git work tree; name the repository by --repo" in told.stderr


def test_rev_of_a_remote_names_what_a_remote_has(acaops: Command, azure: Served, repository: State) -> None:
    """A branch, a tag, a full ref or a whole sha: a remote can't count back from HEAD."""
    told = acaops("plan", "--repo", f"file://{repository.folder.parent}", "--rev", "HEAD~1")
    assert told.exit_code == 1
    assert told.stderr.startswith("error: --rev HEAD~1: must be a branch, a tag, a full ref")


def test_once_from_a_repository(acaops: Command, azure: Served, repository: State, tmp_path: Path) -> None:
    """The same convergence, from the branch's last commit; problems name files as the commit has them."""
    source = ("--repo", f"file://{tmp_path}")
    repository.write("{")
    done = acaops("once", *source)
    assert (done.exit_code, done.stderr.count("error")) == (0, 0)
    assert acaops("plan", *source).exit_code == 0

    git(tmp_path, "commit", "-qam", "broken")
    broken = acaops("once", *source)
    assert broken.exit_code == 1
    assert broken.stderr.startswith("error: desired_state/all.yaml:2:1: ")


def test_a_repository_that_is_not_there(acaops: Command, azure: Served, tmp_path: Path) -> None:
    acaops.env["ACAOPS_CACHE"] = str(tmp_path / "cache")
    told = acaops("plan", "--repo", f"file://{tmp_path}/nowhere")
    assert told.exit_code == 1
    assert f"{tmp_path}/nowhere" in told.stderr
    assert azure.requests == []
