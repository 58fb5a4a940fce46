"""`python -m inference`: its commands, its help, its exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference import __main__ as command_line
from infra import finetuning

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", [[], ["chat"], ["check-adapter"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each command tells its use by an example, and its exit statuses."""
    with pytest.raises(SystemExit) as ended:
        command_line.main([*command, "--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"python -m inference {' '.join(command)}".strip() in told.split("example")[1]
    assert "exit status" in told


@pytest.mark.parametrize("arguments", [["serve"], ["check-adapter"], ["chat", "--temperature", "warm"]])
def test_wrong_usage(arguments: list[str]) -> None:
    """Status 2, as everywhere."""
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == 2


def test_an_adapter_is_judged(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 for one that can be served, 1 for one that can't, as text or JSON."""
    base, adapter = str(trained / finetuning.BASE), str(trained / finetuning.ADAPTER)
    assert command_line.main(["check-adapter", adapter, "--base", base]) == 0
    capsys.readouterr()
    assert command_line.main(["check-adapter", base, "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_chat_without_a_server(free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The arguments reach the console, which says that nobody answers there."""
    url = f"http://127.0.0.1:{free_port}"
    assert command_line.main(["chat", "--url", url, "--once", "hello", "--temperature", "0", "--model", "phi"]) == 3
    assert url in capsys.readouterr().err


@pytest.mark.parametrize("command", [["--help"], ["chat", "--once", "hi", "--url", "http://127.0.0.1:1"]])
def test_nothing_heavy_is_imported(command: list[str]) -> None:
    """A chat and the help wait for no model: neither torch nor gradio nor transformers."""
    seen = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inference", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=60,
    ).stderr
    imported = {line.rpartition("|")[2].strip() for line in seen.splitlines()}
    assert "inference" in imported
    assert not imported & {"torch", "transformers", "peft", "gradio", "fastapi"}
