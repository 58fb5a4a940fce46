"""What more than one folder of tests needs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import finetuning

ROOT = Path(__file__).parents[1]


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
