"""What more than one folder of tests needs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.status import store, summarize
from infra import finetuning

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _kstatus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test is about: no status that anybody is told of breaks a rule of kstatus."""
    broken: list[tuple[store.ObjectStatus, list[str]]] = []
    replace = store.Store.replace

    def checked(self: store.Store, status: store.ObjectStatus) -> store.ObjectStatus | None:
        if status.conditions and (rules := summarize.check(status.conditions)):
            broken.append((status, rules))
        return replace(self, status)

    monkeypatch.setattr(store.Store, "replace", checked)
    yield
    assert broken == []


@pytest.fixture(scope="session")
def trained() -> Path:
    """The trained model's folder: ACAOPS_TEST_MODEL_DIR, else the demo's, trained once into the user's cache."""
    if given := os.environ.get("ACAOPS_TEST_MODEL_DIR"):
        return Path(given)
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "acaops" / finetuning.cache_key()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Tests in another process may want it at the same moment.
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / finetuning.ADAPTER).is_dir():
            command = [sys.executable, "-m", "infra.finetuning", "--out", str(folder)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return folder
