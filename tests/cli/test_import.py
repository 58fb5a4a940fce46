"""`acaops import`: an AI Toolkit project, or a live app, as a state folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Command, Served, State

ROOT = Path(__file__).parents[2]
WHERE = ("--subscription", "00000000-0000-0000-0000-000000000000", "--resource-group", "rg-phi3")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This repository's own `infra`, provisioned by hand, with some code beside it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "infra" / "provision", tmp_path / "infra" / "provision")
    shutil.copy(ROOT / "infra" / "inference.config.json", tmp_path / "infra")
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "serve.py").write_text("print()\n")
    return tmp_path


def test_a_project_becomes_a_state_folder(acaops: Command, project: Path) -> None:
    """Without a word to Azure; what it writes is valid, and what there is to know is told."""
    done = acaops("import", "infra", *WHERE, "--to", "state")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == ["state/environment.yaml", "state/app.yaml"]
    assert done.stderr.startswith("warning: provisioning isn't on record here")
    assert acaops("validate", "state").exit_code == 0
    spec = yaml.safe_load((project / "state" / "app.yaml").read_text())["spec"]
    assert spec["commands"] == ["cd /mount", "pip install -r inference/requirements.txt", "python -m inference"]
    assert (spec["release"], spec["probes"]) == ("Mirror", "Keep")


def test_nothing_is_overwritten_unless_told_to(acaops: Command, project: Path) -> None:
    assert acaops("import", *WHERE).exit_code == 0
    (project / "desired_state" / "app.yaml").write_text("mine")
    again = acaops("import", *WHERE)
    assert again.exit_code == 1
    assert "error: desired_state/app.yaml: is there already; write to another folder, or pass --force" in again.stderr
    assert (project / "desired_state" / "app.yaml").read_text() == "mine"
    assert acaops("import", *WHERE, "--force").exit_code == 0


def test_what_is_missing_is_named_by_its_place(acaops: Command, project: Path) -> None:
    told = acaops("import")
    assert told.exit_code == 1
    assert "error: infra/inference.config.json:2:22: SUBSCRIPTION_ID is null" in told.stderr
    assert not (project / "desired_state").exists()


def test_a_live_app(acaops: Command, azure: Served, state: State) -> None:
    """In the only subscription there is; one that is ours already isn't imported again."""
    assert acaops("once", state.folder).exit_code == 0
    app = next(one for one in azure.writes if "/containerApps/" in one).rsplit("/", 1)[-1].split("?")[0]
    ours = acaops("import", "--from-azure", f"rg-cli/{app}", "--to", "live")
    assert (ours.exit_code, ours.stdout) == (1, "")
    assert "belongs to default/InferenceApp/chat already" in ours.stderr
    missing = acaops("import", "--from-azure", "rg-cli/nowhere", "--to", "live")
    assert "rg-cli/nowhere: there is no such container app" in missing.stderr
    wrong = acaops("import", "--from-azure", "nowhere", "--to", "live")
    assert wrong.stderr == "error: --from-azure nowhere: must be GROUP/APP\n"
    assert not Path("live").exists()
