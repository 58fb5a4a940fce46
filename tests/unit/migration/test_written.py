"""The YAML files: what they say loads as a state folder, and nothing is overwritten unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.migration import migrated, written
from controller.sources import manifest

ENVIRONMENT = {
    "apiVersion": "acaops/v1",
    "kind": "Environment",
    "metadata": {"name": "here"},
    "spec": {
        "subscriptionId": "11111111-1111-1111-1111-111111111111",
        "resourceGroup": "rg",
        "containerApps": {
            "environmentName": None,
            "workloadProfiles": [{"name": "GPU", "type": "NC24-A100", "minimumCount": 0, "maximumCount": 2}],
        },
    },
}


def found(*contents: tuple[Path, str], commands: tuple[str, ...] = ("python app.py",)) -> migrated.Migrated:
    spec: dict[str, Any] = {"environmentRef": "here", "image": "python:3.12", "commands": list(commands)}
    app = {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": "chat"}, "spec": spec}
    return migrated.Migrated(ENVIRONMENT, app, contents, (), ())


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "project" / "inference"
    folder.mkdir(parents=True)
    return folder


def test_what_is_written_is_a_state_folder(code: Path) -> None:
    """It loads whole, and its content is the project's, by a path relative to the YAML."""
    (code.parent / ".git").mkdir()
    folder = code.parent / "deploy" / "state"
    commands = ("if a; then\n  b: c\nfi", "python 'x: y' # no", "null", "yes")

    files = written.write(found((code, "inference"), commands=commands), folder, force=False)

    assert [path.name for path in files] == ["environment.yaml", "app.yaml"]
    source = manifest.load(folder)
    (app,) = source.apps
    assert app.contents == ((code, "inference"),)
    assert app.object.spec.content[0].path == "../../inference"
    assert app.object.spec.commands == commands


def test_small_things_stand_on_one_line() -> None:
    """As people write them."""
    text = written.text(ENVIRONMENT)
    assert "metadata: {name: here}\n" in text
    assert "      - {name: GPU, type: NC24-A100, minimumCount: 0, maximumCount: 2}\n" in text
    assert "    environmentName: null\n" in text


def test_files_that_are_there_are_kept(tmp_path: Path) -> None:
    """Both, where either is there, unless forced."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "app.yaml").write_text("mine")
    with pytest.raises(migrated.MigrationError, match=r"app\.yaml: is there already; .* --force"):
        written.write(found(), folder, force=False)
    assert [path.read_text() for path in folder.iterdir()] == ["mine"]
    written.write(found(), folder, force=True)
    assert {path.name for path in folder.iterdir()} == {"app.yaml", "environment.yaml"}
    assert (folder / "app.yaml").read_text() != "mine"


def test_content_that_a_state_could_not_name_is_refused(code: Path, tmp_path: Path) -> None:
    """It must lie in the state's work tree; the message says where the state could stand."""
    with pytest.raises(migrated.MigrationError, match=f"write the state to {code.parent}/desired_state"):
        written.write(found((code, "inference")), tmp_path / "elsewhere" / "state", force=False)
    assert not (tmp_path / "elsewhere").exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was there stays, and no half of a new one."""
    (tmp_path / "app.yaml").write_text("mine")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        written.write(found(), tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["app.yaml"]
