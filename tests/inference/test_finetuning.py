"""The demo's training run, as a command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_cache_key_costs_no_torch() -> None:
    """Asking whether there is a trained model must not load what trains one."""
    code = "import sys; from infra import finetuning; print(finetuning.cache_key(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    key, loaded = done.stdout.split()
    assert (len(key), loaded) == (16, "False")


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle: status 130 and an empty folder."""
    command = [sys.executable, "-m", "infra.finetuning", "--out", str(tmp_path), "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        stages = (json.loads(line)["stage"] for line in child.stdout)
        assert next(stage for stage in stages if stage == "base") == "base"
        child.send_signal(signal.SIGINT)
        _, problem = child.communicate(timeout=30)
    assert (child.returncode, problem.strip()) == (130, "interrupted; nothing was written")
    assert list(tmp_path.iterdir()) == []


def test_the_trained_model_learned_its_answers(trained: Path) -> None:
    """The summary beside the adapter says how well, and nothing but safetensors holds weights."""
    summary = json.loads((trained / "models/pirate/training_summary.json").read_text())
    assert min([*summary["base"]["exact_match"].values(), *summary["adapter"]["exact_match"].values()]) >= 0.8
    assert {path.suffix for path in trained.rglob("*") if path.stat().st_size > 100_000} == {".safetensors"}
