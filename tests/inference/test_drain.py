"""How the process ends: by a signal, with streams open, with others waiting, while it loads, and when told twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference import boot, loader, process, status
from infra import finetuning

pytestmark = [
    pytest.mark.timeout(240),
    # peft and transformers warn about their own deprecations.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:(Could not find a config file|Found missing)"),
]
GRACE = 7.0
STREAMS = 16
PROMPT = "Whisper plugh to nobody."
KEY = "xyzzy-key"


@pytest.fixture(scope="module")
def talkative(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of random weights that never comes to an end by itself, and `random`, an adapter beside it."""
    import peft
    import torch
    from transformers import AutoConfig, Phi3ForCausalLM

    folder = Path(shutil.copytree(trained / finetuning.BASE, tmp_path_factory.mktemp("models") / "talkative"))
    config = AutoConfig.from_pretrained(folder)
    config.max_position_embeddings = config.original_max_position_embeddings = 4096
    torch.manual_seed(0)
    model = Phi3ForCausalLM(config)
    generation = json.loads((folder / "generation_config.json").read_text())
    with torch.no_grad():
        model.lm_head.weight[generation["eos_token_id"]] = 0
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(generation))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["o_proj"], init_lora_weights=False))
    adapted.save_pretrained(str(folder.parent / "random"))
    return folder


async def standing(http: httpx.AsyncClient, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Returns once /readyz says what is wanted."""
    async with asyncio.timeout(90):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if wanted((await http.get("/readyz")).json()):
                    return
            await asyncio.sleep(0.02)


def asked(tokens: int, *, stream: bool) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
    }


async def streamed(http: httpx.AsyncClient, tokens: int, started: asyncio.Event) -> list[Any]:
    """The events of one streamed answer; `started` is set with the first word."""
    events: list[Any] = []
    async with http.stream("POST", "/v1/chat/completions", json=asked(tokens, stream=True)) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                events.append(line[6:] if line == "data: [DONE]" else json.loads(line[6:]))
                if len(events) > 1:
                    started.set()
    return events


async def test_a_signal_under_load(talkative: Path, free_port: int, start: Any) -> None:
    """Sixteen streams finish or are told, and so is who waits for a place or for a reload; in time, with status 0.

    In what was logged meanwhile there is no prompt, no key, and nothing but JSON.
    """
    folder = {"BASE_MODEL_DIR": str(talkative), "ADAPTER_DIR": str(talkative.parent / "random")}
    keys = {"API_KEYS": KEY, "ADMIN_KEY": f"admin-{KEY}", "UI_ENABLED": "0"}
    size = {"MAX_NEW_TOKENS": "4000", "MAX_INFLIGHT": str(STREAMS), "QUEUE_TIMEOUT_S": "60", "GRACE_S": str(GRACE)}
    child = start(free_port, **folder, **keys, **size)
    began = [asyncio.Event() for _ in range(STREAMS)]
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{free_port}",
        headers={"authorization": f"Bearer {KEY}"},
        timeout=60,
        limits=httpx.Limits(max_connections=None),
    ) as http:
        await standing(http, lambda body: body["ready"])
        bad = await http.post("/v1/chat/completions", json={**asked(4, stream=False), "temperature": PROMPT})
        assert bad.status_code == 400
        streams = [
            asyncio.create_task(streamed(http, 4000 if at % 2 else 100, event)) for at, event in enumerate(began)
        ]
        await asyncio.gather(*(event.wait() for event in began))
        admin = {"authorization": f"Bearer admin-{KEY}"}
        reloading = asyncio.create_task(http.post("/admin/adapter", json={}, headers=admin))
        # As many as there may be places free by now: each of the short ones may have ended.
        waiting = [
            asyncio.create_task(http.post("/v1/chat/completions", json=asked(4000, stream=False)))
            for _ in range(STREAMS)
        ]
        async with asyncio.timeout(30):
            while "inference_requests_queued 0.0" in (await http.get("/metrics")).text:  # noqa: ASYNC110 (asked over HTTP)
                await asyncio.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        told = time.monotonic()
        ends = [(await stream)[-1] for stream in streams]
        refused = [await answer for answer in waiting]
        reloaded = await reloading
        output, _ = await asyncio.to_thread(child.communicate, timeout=30)
        took = time.monotonic() - told
    assert (child.returncode, took < GRACE) == (0, True), (child.returncode, took)
    told_so = [end != "[DONE]" and end["error"]["code"] for end in ends]
    assert set(told_so) <= {False, "shutting_down"}
    assert told_so.count("shutting_down") >= STREAMS / 2
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in refused} == {(503, "shutting_down")}
    assert any("retry-after" in answer.headers for answer in refused)
    assert reloaded.status_code == 200 or reloaded.json()["error"]["code"] == "shutting_down", reloaded.text
    events = [json.loads(line)["event"] for line in output.splitlines()]
    assert events[-1] == "stopped"
    assert {"error_response", "answer", "draining"} <= set(events)
    assert "plugh" not in output
    assert "xyzzy" not in output


async def test_a_signal_while_loading(trained: Path, free_port: int, start: Any) -> None:
    """It ends at once, with status 0: nobody waits for an answer yet."""
    child = start(free_port, BASE_MODEL_DIR=str(trained / finetuning.BASE), BASE_ONLY="1", GRACE_S="15")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}") as http:
        await standing(http, lambda body: body["stage"] in (status.IMPORTING, status.LOADING))
    child.send_signal(signal.SIGTERM)
    told = time.monotonic()
    output, _ = await asyncio.to_thread(child.communicate, timeout=30)
    assert (child.returncode, time.monotonic() - told < 15) == (0, True)
    assert json.loads(output.splitlines()[-1])["event"] == "stopped"


async def test_a_second_signal(scripted: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the server at once, whatever is open; the exit status tells that apart from a drain."""
    engine = scripted()
    engine.hold.clear()
    monkeypatch.setattr(loader, "check_files", lambda limits: None)
    monkeypatch.setattr(loader, "load", lambda limits, **_: loader.Loaded(engine, None))
    monkeypatch.setattr(process, "_canary", lambda serving, prompt: asyncio.sleep(0))
    for name, value in {"BASE_MODEL_DIR": "/models/tiny", "BASE_ONLY": "1", "UI_ENABLED": "0", "GRACE_S": "60"}.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(boot.serve(listener))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            await standing(http, lambda body: body["ready"])
            stream = asyncio.create_task(http.post("/v1/chat/completions", json=asked(3, stream=True)))
            await until(lambda: engine.open == 1)
            os.kill(os.getpid(), signal.SIGTERM)
            await standing(http, lambda body: body.get("stage") == "draining")
            assert not serving.done()
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await serving == 128 + signal.SIGTERM
            engine.hold.set()
            await asyncio.wait({stream})
