"""A trained model from its folders to an answer: by the loader, and as the whole process."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from inference import engine, loader, metrics, settings, status
from infra import finetuning

pytestmark = [
    pytest.mark.timeout(240),
    # transformers and peft warn about their own deprecations.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:(Could not find a config file|Found missing)"),
]
COUNT: Any = [{"role": "user", "content": "Count down from 12."}]
PLAIN = "12 11 10 9 8 7 6 5 4 3 2 1 0."
PIRATE = "Arr! 12 11 10 9 8 7 6 5 4 3 2 1 0, matey!"


@pytest.mark.parametrize("mode", ["none", "merged", "attached"])
async def test_the_adapter_changes_the_answers(trained: Path, mode: str) -> None:
    """The base counts plainly; with the adapter, merged or attached, a pirate counts."""
    serving = loaded(trained, mode)
    serving.start()
    try:
        deltas = [delta async for delta in serving.generate(serving.encode(COUNT), engine.Sampling(60, 0.0, 1.0))]
    finally:
        serving.stop(timeout=10)
    assert "".join(delta.text for delta in deltas) == (PLAIN if mode == "none" else PIRATE)


def loaded(trained: Path, mode: str) -> engine.Engine:
    env = {"BASE_MODEL_DIR": str(trained / finetuning.BASE), "DEVICE": "cpu"}
    adapter = {"ADAPTER_DIR": str(trained / finetuning.ADAPTER), "ADAPTER_MODE": mode}
    config = settings.read({**env, **({"BASE_ONLY": "1"} if mode == "none" else adapter)})
    files = loader.check_files(config)
    return loader.load(config, adapter=files, state=status.Status(), measure=metrics.Metrics()).serving


async def test_from_nothing_to_an_answer_and_out(trained: Path, free_port: int, start: Any) -> None:
    """The real process: 503 while it loads, ready with digests, page and API answer, SIGTERM ends it with 0."""
    base, adapter = trained / finetuning.BASE, trained / finetuning.ADAPTER
    child = start(free_port, BASE_MODEL_DIR=str(base), ADAPTER_DIR=str(adapter), ACAOPS_RELEASE="r7")
    url = f"http://127.0.0.1:{free_port}"
    try:
        body, unready = await ready(url)
        assert (unready > 0, body["release"], body["adapter"]) == (True, "r7", "pirate")
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as api:
            stream = await api.chat.completions.create(model="tiny-phi3", messages=COUNT, temperature=0, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(pieces) == PIRATE
        async with httpx.AsyncClient() as http:
            assert (await http.get(url)).status_code == 200
    finally:
        child.send_signal(signal.SIGTERM)
        output, _ = child.communicate(timeout=30)
    assert child.returncode == 0, output
    assert [json.loads(line)["event"] for line in output.splitlines()][-1] == "stopped"


async def ready(url: str) -> tuple[dict[str, Any], int]:
    """The ready probe's body, and how often it said 503 before."""
    deadline, unready = time.monotonic() + 90, 0
    async with httpx.AsyncClient(base_url=url) as http:
        while time.monotonic() < deadline:
            try:
                probe = await http.get("/readyz", timeout=10)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if probe.status_code == 200:
                return probe.json(), unready
            assert (await http.get("/livez", timeout=10)).status_code == 200, probe.text
            unready += 1
            await asyncio.sleep(0.2)
    raise TimeoutError("not ready within 90 s")
