"""The trained model that tests and benches serve: made once, into the user's cache, where the demo looks too."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from infra import finetuning

ROOT = Path(__file__).parents[1]


def folder() -> Path:
    """The folder with the base model and the adapter; half a minute where it has to be made first."""
    made = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "acaops" / finetuning.cache_key()
    made.parent.mkdir(parents=True, exist_ok=True)
    # Somebody in another process may want it at the same moment.
    with (made.parent / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / finetuning.ADAPTER).is_dir():
            print("training the tiny model, once: about a minute", flush=True)
            command = [sys.executable, "-m", "infra.finetuning", "--out", str(made)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return made
