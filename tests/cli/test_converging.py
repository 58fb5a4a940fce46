"""plan, once and status against an Azure: what they print, what they write, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command, Served, State

APP = "InferenceApp/chat"


def test_plan_shows_every_write_and_makes_none(acaops: Command, azure: Served, state: State) -> None:
    """One line a write and why, a line for each changed field; exit status 2."""
    told = acaops("plan", state.folder)

    assert (told.exit_code, told.stderr) == (2, "")
    lines = told.stdout.splitlines()
    assert lines[0].startswith("+ Environment/west  Create resourceGroup rg-cli")
    assert sum(line.startswith("+ ") for line in lines) == 8
    assert any(line.startswith(f"^ {APP}  Upload content") for line in lines)
    assert lines[-1] == "9 to write"
    assert azure.writes == []


def test_once_converges_and_the_second_writes_nothing(acaops: Command, azure: Served, state: State) -> None:
    """Progress goes to standard error, the result to standard output."""
    first = acaops("once", state.folder)
    assert first.exit_code == 0, first.output
    assert "Environment/west  resourceGroup  created" in first.stderr
    assert f"{APP}  https://aiacaapp" in first.stdout
    assert azure.writes

    before = len(azure.requests)
    second = acaops("once", state.folder)
    assert second.exit_code == 0
    assert "writes: 0 to ARM, 0 to the share" in second.stdout
    assert not [one for one in azure.requests[before:] if one.startswith(("PUT", "PATCH", "DELETE"))]

    nothing = acaops("plan", state.folder)
    assert (nothing.exit_code, nothing.stdout) == (0, "nothing to change\n")


def test_an_environment_alone_is_finished_too(acaops: Command, azure: Served, state: State) -> None:
    """Ready means that no write is left, also the ones that nothing else waits for."""
    state.write(state.file.read_text().partition("---")[0])
    assert acaops("once", state.folder).exit_code == 0
    assert "writes: 0 to ARM, 0 to the share" in acaops("once", state.folder).stdout


def test_plan_as_json(acaops: Command, azure: Served, state: State) -> None:
    """Every object's steps, with the values before and after; secrets never."""
    state.change(
        "  commands:",
        "  env: [{name: API_KEYS, secretRef: keys}]\n  secrets: [{name: keys, fromEnv: KEYS}]\n  commands:",
    )
    acaops.env["KEYS"] = "much-too-secret"
    assert acaops("once", state.folder).exit_code == 0
    acaops.env["KEYS"] = "even-more-secret"
    state.change("maxReplicas: 1", "maxReplicas: 2")

    told = acaops("plan", state.folder, "-o", "json")

    assert told.exit_code == 2
    plan = json.loads(told.stdout)
    assert list(plan) == ["Environment/west", APP]
    (step,) = [one for one in plan[APP] if one["verb"]]
    assert (step["step"], step["verb"], step["blocked"]) == ("containerApp", "Update", None)
    assert {"path": "properties.template.scale.maxReplicas", "before": 1, "after": 2} in step["changes"]
    assert not [one for one in plan["Environment/west"] if one["verb"]]
    for secret in ("much-too-secret", "even-more-secret"):
        assert secret not in told.output
        assert secret not in acaops("plan", state.folder).output


def test_the_config_is_what_ai_toolkit_writes(acaops: Command, azure: Served, state: State) -> None:
    """Six values, where AI Toolkit looks for them."""
    assert acaops("once", state.folder, "--write-config").exit_code == 0

    config = json.loads(Path("infra/inference.config.json").read_text())
    endpoint = config.pop("ACA_APP_ENDPOINT")
    name = config["ACA_APP_NAME"]
    suffix = name.removeprefix("aiacaapp")
    assert config == {
        "SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000000",
        "RESOURCE_GROUP_NAME": "rg-cli",
        "STORAGE_ACCOUNT_NAME": f"aistorage{suffix}",
        "FILE_SHARE_NAME": f"aifileshare{suffix}",
        "ACA_APP_NAME": f"aiacaapp{suffix}",
    }
    assert endpoint.startswith(f"{name}.")
    assert "://" not in endpoint


def test_a_config_that_cannot_be_written_is_an_error(acaops: Command, azure: Served, state: State) -> None:
    """Azure is as wanted, and yet not all that was asked for was done."""
    Path("infra").write_text("a file where the folder should be")
    told = acaops("once", state.folder, "--write-config")
    assert told.exit_code == 1
    assert "error: infra/inference.config.json wasn't written: " in told.stderr
    assert "writes: " in told.stdout


def test_status_without_a_daemon_reads_and_writes_nothing(acaops: Command, azure: Served, state: State) -> None:
    """What is pending is told as not ready, exit status 1; once all is there, 0."""
    url = "http://127.0.0.1:9"  # discard: nobody listens there
    before = acaops("status", "--url", url)
    assert before.exit_code == 1
    assert "Reconciling" in before.stdout
    assert azure.writes == []

    assert acaops("once", state.folder).exit_code == 0
    written = len(azure.writes)
    after = acaops("status", "--url", url)
    assert (after.exit_code, after.stderr) == (0, "")
    assert [line.split()[0] for line in after.stdout.splitlines()] == ["NAME", "west", "chat"]

    one = json.loads(acaops("status", "chat", "--url", url, "-o", "json").stdout)
    (chat,) = one["objects"]
    assert (chat["kind"], chat["name"]) == ("InferenceApp", "chat")
    assert chat["endpoint"].startswith("https://aiacaapp")
    assert one["source"]["revision"].startswith("files:")
    assert len(azure.writes) == written


def test_status_of_a_name_that_is_not_there(acaops: Command, azure: Served, state: State) -> None:
    """The names that are there are told."""
    told = acaops("status", "chta", "--url", "http://127.0.0.1:9")
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == "error: no object is called 'chta'; there are west, chat\n"


def test_once_gives_up_in_time(acaops: Command, azure: Served, state: State) -> None:
    """It says that it timed out and what is left; the next one goes on."""
    told = acaops("once", state.folder, "--timeout", "0")
    assert told.exit_code == 1
    assert "error: timed out; run it again to go on" in told.stderr
    assert acaops("once", state.folder).exit_code == 0
