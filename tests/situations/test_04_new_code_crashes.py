"""New code crashes, or the adapter's config has a key that this peft doesn't know: the release gets a second attempt
and is rejected, once the cause is known; the old revision keeps all traffic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local_azure import lifecycle
from tests.e2e import running
from tests.e2e.folder import SERVER, Folder, write
from tests.reconcile.stack import app, environment
from tests.situations.aged import aged, minutes, serving

BROKEN = [{"name": "LOCAL_AZURE_SIMULATE", "value": "crash"}]
STEPS = [{"weight": 10, "hold": "1m"}]
STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "Rolling"},
    {"strategy": "BlueGreen"},
    {"strategy": "Canary", "steps": STEPS},
]

OLD_PEFT = """\
import dataclasses, json, pathlib


@dataclasses.dataclass
class LoraConfig:
    r: int = 8


LoraConfig(**json.loads(pathlib.Path(__file__).with_name("adapter_config.json").read_text()))
"""


@pytest.mark.parametrize("rollout", STRATEGIES, ids=lambda one: one["strategy"])
async def test_new_code_crashes(built_once: Path, tmp_path: Path, rollout: dict[str, Any]) -> None:
    """Two attempts, then never again by itself; every answer on the way is the old release's."""
    async with aged(built_once, tmp_path) as one:
        one.write(environment(), app(rollout=rollout))
        await minutes(one, 5, until=lambda: one.told()[0] == "Ready")
        old = await serving(one)
        one.write(environment(), app(rollout=rollout, env=BROKEN))
        attempts = set()
        for _ in range(12):
            await minutes(one, 1)
            assert await serving(one) == old
            attempts.add((await one.env()).get("ACAOPS_ATTEMPT"))
            if one.told()[0] == "Stalled":
                break
        assert "2" in attempts
        assert one.told()[:2] == ("Stalled", "CommandFailed")
        assert "was rejected" in one.message()
        written = one.writes()
        await minutes(one, 5)
        assert (one.writes(), one.told()[:2]) == (written, ("Stalled", "CommandFailed"))
        assert await serving(one) == old


async def test_the_adapter_has_a_key_that_this_peft_does_not_know(tmp_path: Path) -> None:
    """Status names the cause with what the app printed; the old release answers; content that is mended takes over."""
    folder = Folder(tmp_path / "repo")
    code = tmp_path / "repo" / "server"
    async with lifecycle.serve_child(tmp_path / "azure", port=0, time_scale=100) as server:
        env = running.environ(server)
        async with running.daemon(folder.state, env=env, log=tmp_path / "run.log") as daemon:
            old = await daemon.ready()
            write(code / "adapter_config.json", json.dumps({"r": 8, "corda_config": None}))
            write(code / "app.py", OLD_PEFT + SERVER.format(model="two"))

            async def rejected() -> dict[str, Any] | None:
                app = next(one for one in (await daemon.status())["objects"] if one["kind"] == "InferenceApp")
                return app if "was rejected" in str(app["conditions"]) else None

            told = await running.until(rejected, f"the release is rejected; {daemon.tail()}", within=60)
            words = {one["type"]: one for one in told["conditions"]}
            assert words["Stalled"]["reason"] == "CommandFailed"
            assert "unexpected keyword argument 'corda_config'" in json.dumps(told["failure"])
            assert (await running.get(f"{old['endpoint']}/readyz"))["release"] == old["release"]
            write(code / "adapter_config.json", json.dumps({"r": 8}))
            new = await daemon.ready(release_other_than=old["release"])
            assert (await running.get(f"{old['endpoint']}/readyz"))["release"] == new["release"]
