"""The wheel: what is in it, and that it is all `acaops` needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.image.dockerfile import ROOT, VERSION

LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build writes beside its sources."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, source, ignore=LEFT_OUT, dirs_exist_ok=True)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, source)
    (made,) = target.iterdir()
    return made


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What it prints. PYTHONPATH would let packages be found that the environment lacks."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def modules() -> set[str]:
    found = (path for package in ("controller", "infra") for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix() for path in found}


def test_it_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """Every module of controller and infra, the marker for type checkers, the licence; no tests, no served app."""
    with zipfile.ZipFile(wheel) as opened:
        held = set(opened.namelist())
    dist_info = f"acaops-{VERSION}.dist-info"
    about = {name for name in held if name.startswith(f"{dist_info}/")}
    assert held - about == modules() | {"controller/py.typed"}
    assert f"{dist_info}/licenses/LICENSE" in about


def test_it_runs_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    """Installed with what it asks for, it validates the state folder."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    lock = ROOT / "requirements.lock"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--constraint", lock, wheel)
    told = run(tmp_path / "venv" / "bin" / "acaops", "validate", ROOT / "desired_state", cwd=tmp_path)
    assert ": 2 objects, valid (" in told
