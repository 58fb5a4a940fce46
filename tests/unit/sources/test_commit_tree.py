"""A state folder in the tree of one commit: what is the same as in a work tree, and what a commit may not say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.model.commit import Commit
from controller.sources import content, manifest

COMMIT = Commit("0123456789abcdef" * 2 + "01234567", "Ann", "first", datetime(2026, 11, 22, 12, 0, tzinfo=UTC))

STATE = """\
apiVersion: acaops/v1
kind: Environment
metadata: {name: west}
spec: {subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: rg, location: westus3}
---
apiVersion: acaops/v1
kind: InferenceApp
metadata: {name: a}
spec:
  environmentRef: west
  image: python:3.12
  workloadProfileName: Consumption
  commands: [serve]
  content: [{path: ../../code, target: code}]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree as it lies in a cache, which may lie in anybody's work tree: that one's ignore files don't count."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.py\n")
    top = tmp_path / "trees" / "0123"
    for folder in ("deploy/state", "code"):
        (top / folder).mkdir(parents=True)
    (top / ".gitignore").write_text("*.log\n")
    (top / "deploy" / "state" / "all.yaml").write_text(STATE)
    for name in ("serve.py", "old.log"):
        (top / "code" / name).write_text("1\n")
    return top


def load(root: Path, *, secrets: Path | None = None) -> manifest.Source:
    return manifest.load(root / "deploy" / "state", tree=manifest.Tree(root, COMMIT, secrets))


def problems(root: Path, *, secrets: Path | None = None) -> list[str]:
    with pytest.raises(manifest.LoadError) as caught:
        load(root, secrets=secrets)
    assert caught.value.commit == COMMIT
    return [str(problem) for problem in caught.value.problems]


def test_the_source_is_the_commit(root: Path) -> None:
    """Its revision, and the ignore files of the repository alone."""
    source = load(root)
    assert (source.commit, source.revision) == (COMMIT, "git:0123456789ab")
    (app,) = source.apps
    found = content.collect(app.contents, top=app.top, memory={})
    assert [file.path for file in found.files] == ["code/serve.py"]


def test_problems_name_files_as_the_commit_has_them(root: Path) -> None:
    """Not where they lie in the cache; also those of content."""
    (root / "deploy" / "state" / "b.yaml").write_text("- 1\n")
    (problem,) = problems(root)
    assert problem.startswith("deploy/state/b.yaml:1:1: ")

    (root / "deploy" / "state" / "b.yaml").unlink()
    (root / "code" / "serve.py").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    (app,) = load(root).apps
    with pytest.raises(content.ContentError) as caught:
        content.collect(app.contents, top=app.top, memory={})
    assert app.shown(str(caught.value)).startswith("code/serve.py: a Git LFS pointer")


def test_content_stays_in_the_repository(root: Path) -> None:
    (root / "deploy" / "state" / "all.yaml").write_text(STATE.replace("../../code", "../../../other"))
    (problem,) = problems(root)
    assert "leaves " in problem


def test_a_state_folder_that_leads_out_is_refused(root: Path, tmp_path: Path) -> None:
    """A link in a repository may lead anywhere."""
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(manifest.LoadError, match="link:1:1: a symbolic link that leads out of the repository"):
        manifest.load(root / "link", tree=manifest.Tree(root, COMMIT))


@pytest.mark.parametrize("file", ["key", "/etc/shadow", "/run/secrets/../../proc/self/environ", "/run/secretsx/key"])
def test_who_commits_reads_no_file_of_the_controllers(root: Path, file: str) -> None:
    """Only what lies in the folder that the controller was given for it."""
    text = f"{STATE}  secrets: [{{name: k, fromFile: {file}}}]\n"
    (root / "deploy" / "state" / "all.yaml").write_text(text)
    (allowed,) = problems(root, secrets=Path("/run/secrets"))
    assert (
        allowed
        == f"deploy/state/all.yaml:15:33: {file!r} isn't a file that a repository may name: must lie in /run/secrets"
    )
    (nowhere,) = problems(root)
    assert nowhere.endswith("name a folder for it by the setting secrets-folder")


def test_a_secret_of_the_named_folder(root: Path) -> None:
    text = f"{STATE}  secrets: [{{name: k, fromFile: /run/secrets/app/key}}]\n"
    (root / "deploy" / "state" / "all.yaml").write_text(text)
    assert len(load(root, secrets=Path("/run/secrets")).apps) == 1
