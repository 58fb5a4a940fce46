"""A state folder to objects, or to every problem in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from controller.sources import manifest

ENVIRONMENT = """\
apiVersion: acaops/v1
kind: Environment
metadata: {name: gpu-west}
spec:
  subscriptionId: 00000000-0000-0000-0000-000000000000
  resourceGroup: rg-phi3
  containerApps:
    workloadProfiles: [{name: GPU, type: NC24-A100, minimumCount: 0, maximumCount: 1}]
"""
APP = """\
apiVersion: acaops/v1
kind: InferenceApp
metadata: {name: chat}
spec:
  environmentRef: gpu-west
  image: python:3.11
  commands: [python -m inference]
  content:
    - {path: ../inference, target: inference}
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder beside its content folder, with one environment and one app."""
    folder = tmp_path / "state"
    folder.mkdir()
    (tmp_path / "inference").mkdir()
    (folder / "a.yaml").write_text(ENVIRONMENT)
    (folder / "b.yml").write_text(APP)
    return folder


def problems(folder: Path) -> list[str]:
    """The problems, with paths relative to the state folder's parent."""
    with pytest.raises(manifest.LoadError) as caught:
        manifest.load(folder)
    return [str(problem).replace(f"{folder.parent}/", "") for problem in caught.value.problems]


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    call = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()


def test_a_folder_becomes_objects(state: Path) -> None:
    """Each with its place, an app with its content folders, absolute."""
    source = manifest.load(state)

    (environment,), (app,) = source.environments, source.apps
    assert (environment.name, environment.file, environment.line) == ("gpu-west", str(state / "a.yaml"), 1)
    assert (app.name, app.folder) == ("chat", state)
    assert app.contents == ((state.parent / "inference", "inference"),)
    assert source.revision == f"files:{source.digest[:12]}"


def test_objects_are_found_by_kind_and_name(state: Path) -> None:
    """And an environment's apps by its name."""
    source = manifest.load(state)

    assert source.keys == (("Environment", "gpu-west"), ("InferenceApp", "chat"))
    assert source.find("InferenceApp", "chat") is source.apps[0]
    assert source.environment("gpu-west") is source.environments[0].object
    assert source.dependents("Environment", "gpu-west") == (("InferenceApp", "chat"),)
    assert source.dependents("InferenceApp", "chat") == ()
    with pytest.raises(KeyError):
        source.find("InferenceApp", "other")


def test_one_file_may_hold_everything(state: Path) -> None:
    """Multi-document YAML, in sub-folders too; hidden files and other files are left out."""
    for name in ("a.yaml", "b.yml"):
        (state / name).unlink()
    (state / "sub").mkdir()
    (state / "sub" / "all.yaml").write_text(f"{ENVIRONMENT}---\n{APP.replace('../inf', '../../inf')}---\n")
    (state / ".hidden.yaml").write_text("[")
    (state / ".git").mkdir()
    (state / ".git" / "x.yaml").write_text("[")
    (state / "README.md").write_text("[")
    (state / ".git").rename(state / ".other")

    source = manifest.load(state)

    assert [(app.name, app.line) for app in source.apps] == [("chat", 10)]


def test_the_digest_follows_names_and_bytes(state: Path) -> None:
    """A comment is a new revision, a touched file isn't."""
    first = manifest.load(state).digest
    os.utime(state / "a.yaml", (1, 1))
    assert manifest.load(state).digest == first

    (state / "a.yaml").rename(state / "c.yaml")
    renamed = manifest.load(state).digest
    (state / "b.yml").write_text(APP + "# why\n")

    assert len({first, renamed, manifest.load(state).digest}) == 3


def test_the_revision_is_the_commit_of_a_clean_work_tree(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever repository a git hook's environment names; with an edit it is the files' digest."""
    git(state.parent, "init")
    assert manifest.load(state).revision.startswith("files:")
    git(state.parent, "add", ".")
    git(state.parent, "commit", "-m", "first")
    head = git(state.parent, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")

    assert manifest.load(state).revision == f"git:{head[:12]}"

    (state.parent / "inference" / "new.py").write_text("")
    assert manifest.load(state).revision.startswith("files:")


def test_without_git_the_revision_is_the_files(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No git on the machine is no error."""
    monkeypatch.setenv("PATH", "/nowhere")

    assert manifest.load(state).revision.startswith("files:")


def test_every_problem_is_told_at_its_place(state: Path) -> None:
    """Sorted; a wrong value at the value, an unknown field at its key, a missing one at the mapping that lacks it."""
    (state / "a.yaml").write_text(ENVIRONMENT.replace("resourceGroup: rg-phi3", "resourcegroup: rg-phi3"))
    (state / "b.yml").write_text(
        APP.replace("image: python:3.11", "env: [{name: A, value: 1}]\n  ingress: {allow: [0.0.0.0/0]}")
    )

    assert problems(state) == [
        "state/a.yaml:5:3: missing field spec.resourceGroup",
        "state/a.yaml:6:3: unknown field spec.resourcegroup, did you mean 'resourceGroup'?",
        "state/b.yml:5:3: missing field spec.image",
        "state/b.yml:6:26: spec.env[0].value: input should be a valid string; numbers and words like yes or null need"
        " quotes to be text",
        "state/b.yml:7:20: spec.ingress.allow: not yet: an allow list of CIDRs isn't supported in this version",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n", "state/c.yaml:1:1: a document must be a mapping with apiVersion, kind, metadata, spec"),
        ("{}\n", "state/c.yaml:1:1: kind must be one of Environment, InferenceApp"),
        ("kind: Pod\n", "state/c.yaml:1:7: kind must be one of Environment, InferenceApp"),
        ("a: 1\na: 2\nkind: [1]\n", "state/c.yaml:2:1: duplicate key 'a': first on line 1"),
        (b"\xff", "state/c.yaml:1:1: not UTF-8"),
        (b"# " + b"x" * 1024 * 1024, "state/c.yaml:1:1: larger than 1024 KiB"),
        (ENVIRONMENT.replace("acaops/v1", "v2"), "state/c.yaml:1:13: apiVersion: input should be 'acaops/v1'"),
    ],
)
def test_one_bad_document_fails_the_folder(state: Path, text: str | bytes, expected: str) -> None:
    """A source that doesn't load whole gives nothing."""
    (state / "c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    assert problems(state)[0] == expected


def test_a_value_already_told_of_is_not_told_of_again(state: Path) -> None:
    """YAML's own complaint is enough."""
    (state / "b.yml").write_text(APP.replace("python:3.11", "!!binary aGk="))

    assert problems(state) == ["state/b.yml:6:10: the tag 'tag:yaml.org,2002:binary' isn't supported"]


def test_a_vanished_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    """It says that nothing is deleted."""
    (tmp_path / "empty").mkdir()

    assert problems(tmp_path / "gone") == ["gone:1:1: no such folder; nothing is applied and nothing is deleted"]
    assert problems(tmp_path / "empty") == ["empty:1:1: no YAML files here; nothing is applied and nothing is deleted"]


def test_files_that_can_not_be_read_are_problems(state: Path) -> None:
    """A pipe is not waited for; a link inside is followed once, one that leads out is refused."""
    os.mkfifo(state / "pipe.yaml")
    (state / "twice.yaml").symlink_to("a.yaml")
    (state / "out.yaml").symlink_to("/etc/hosts")
    (state / "sub").symlink_to(state.parent / "inference")

    assert problems(state) == [
        "state/out.yaml:1:1: a symbolic link that leads out of the state folder",
        "state/pipe.yaml:1:1: not a regular file",
        "state/sub:1:1: a symbolic link that leads out of the state folder",
    ]


def test_a_mounted_config_map_is_read(tmp_path: Path) -> None:
    """There, files are links to a hidden folder."""
    hidden = tmp_path / "state" / "..2026"
    hidden.mkdir(parents=True)
    (hidden / "a.yaml").write_text(ENVIRONMENT)
    (tmp_path / "state" / "..data").symlink_to("..2026")
    (tmp_path / "state" / "a.yaml").symlink_to("..data/a.yaml")

    assert [environment.name for environment in manifest.load(tmp_path / "state").environments] == ["gpu-west"]
