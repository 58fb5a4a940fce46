"""The command that runs a local Azure: what its arguments mean, and what it says at the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.local_azure import __main__ as command
from infra.local_azure import clock, entra, settings


def meant(*arguments: str) -> settings.Settings:
    return command._settings(command._parser().parse_args(["serve", "--state", "/state", *arguments]))


def test_without_arguments_azure_s_limits_hold() -> None:
    """Throttled, one operation at a time, every provider registered, and GPUs granted."""
    assert meant() == settings.Settings(state=Path("/state"))


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        ("--no-throttling", {"throttled": False}),
        ("--resource-requests-rate 2.5", {"resource_requests_rate": 2.5}),
        ("--unregistered Microsoft.App", {"unregistered": ("Microsoft.App",)}),
        ("--gpu-limit 0", {"gpu_limit": 0}),
        ("--slow-gpu", {"slow_gpu": True}),
        ("--taken-account one --taken-account two", {"taken_accounts": ("one", "two")}),
        ("--parallel-apps", {"one_at_a_time": False}),
        ("--scenario /a/scenario.yaml", {"scenario": Path("/a/scenario.yaml")}),
    ],
)
def test_each_argument_is_a_setting(arguments: str, setting: Any) -> None:
    """By its name."""
    assert meant(*arguments.split()) == settings.Settings(state=Path("/state"), **setting)


@pytest.mark.parametrize("wrong", ["--resource-requests-rate 0", "--gpu-limit -1", "--unregistered Microsoft.Nothing"])
def test_an_argument_out_of_range_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By name."""
    with pytest.raises(SystemExit):
        meant(*wrong.split())
    assert f"argument {wrong.split()[0]}" in capsys.readouterr().err


def test_a_scenario_with_a_mistake_is_told_and_nothing_is_started(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With file and line, before anything is written to the state."""
    file = tmp_path / "scenario.yaml"
    file.write_text("rules:\n- {does: fly}")
    assert command.main(["serve", "--state", str(state), "--port", "0", "--scenario", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {file}:2: rules[0].does is 'fly'; write one of ")
    assert not (state / settings.IDENTITY).exists()


async def test_how_many_were_throttled_is_said_at_the_end(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By bucket, on a line of its own."""
    configured = settings.Settings(state=state, port=0, time_scale=0, processes=False)
    serving = asyncio.create_task(command._serve(configured, exit_with_parent=False))
    printed = ""
    while not printed:
        await asyncio.sleep(0)
        printed = capsys.readouterr().out
    url = json.loads(printed)["url"]
    token = entra.Authority(settings.identity(state), clock.ScaledClock(0)).issue(url)
    context = ssl.create_default_context(cafile=str(state / "ca.pem"))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        address = f"{url}/subscriptions/{settings.SUBSCRIPTION}?api-version=2022-12-01"
        statuses = []
        while statuses.count(429) < 2:
            async with session.get(address, ssl=context) as answer:
                statuses.append(answer.status)
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    assert json.loads(capsys.readouterr().out) == {"event": "throttled", "reads": statuses.count(429)}
