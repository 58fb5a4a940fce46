"""`acaops settings`: what is set, and where that comes from."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command


def test_each_setting_and_where_it_comes_from(acaops: Command, tmp_path: Path) -> None:
    """A flag, a variable, a line of the file, the default; a secret's value is masked."""
    file = tmp_path / "acaops.yaml"
    file.write_text("repo: https://git.example/state\nfetch-interval: 2m\n")
    acaops.env |= {"ACAOPS_HOOK_SECRET": "hunter2", "ACAOPS_CONFIG": str(file)}

    told = acaops("settings", "--port", "0", "-o", "json")

    assert (told.exit_code, told.stderr) == (0, "")
    shown = json.loads(told.stdout)
    assert shown["port"] == {"value": "0", "origin": "--port"}
    assert shown["repo"] == {"value": "https://git.example/state", "origin": f"{file}:1:7"}
    assert shown["fetch-interval"] == {"value": "2m", "origin": f"{file}:2:17"}
    assert shown["hook-secret"] == {"value": "**********", "origin": "ACAOPS_HOOK_SECRET"}
    assert shown["inventory"] == {"value": "default", "origin": "default"}
    table = acaops("settings").stdout
    assert "hunter2" not in table
    assert "ACAOPS_HOOK_SECRET" in table


def test_a_variable_that_is_no_setting(acaops: Command) -> None:
    """It is warned of, whatever the command."""
    acaops.env["ACAOPS_FETCH_INTERVALL"] = "2m"
    told = acaops("settings")
    assert told.exit_code == 0
    assert told.stderr == ("warning: ACAOPS_FETCH_INTERVALL is no setting; did you mean ACAOPS_FETCH_INTERVAL?\n")
