"""Exchanging the adapter of a running server: requests wait, none fails, none is answered by two adapters."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from inference import admission, answers, engine, loader, metrics, model_files, reload, settings, status
from infra import finetuning

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore::FutureWarning")]
COUNT: Any = [{"role": "user", "content": "Count down from 12."}]
PLAIN = "12 11 10 9 8 7 6 5 4 3 2 1 0."
PIRATE = "Arr! 12 11 10 9 8 7 6 5 4 3 2 1 0, matey!"


@dataclass(frozen=True)
class Prepared:
    folder: Path
    digest: str = "sha256:cc"
    notes: tuple[str, ...] = ("it was trained for another name",)

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass
class ScriptedLive:
    """What is on it is a folder. `checking` must be set for a check to end; `failure` is raised by `put`."""

    current: Any = field(default_factory=lambda: Prepared(Path("/models/pirate")))
    canary: tuple[int, ...] = (1, 2)
    failure: Exception | None = None
    checking: threading.Event = field(default_factory=threading.Event)
    before: Any = None

    def prepare(self, folder: Path) -> Prepared:
        assert self.checking.wait(5)
        if folder.name == "bad":
            raise model_files.AdapterError("bad/adapter_config.json is not valid JSON")
        return Prepared(folder)

    def put(self, prepared: Prepared) -> None:
        if self.failure:
            raise self.failure
        self.before, self.current = self.current, prepared

    def back(self) -> None:
        self.current = self.before


class Exchange:
    """A reload over scripted parts."""

    def __init__(self, scripted: Any, limits: settings.Settings) -> None:
        self.engine, self.live, self.state, self.metrics = scripted, ScriptedLive(), status.Status(), metrics.Metrics()
        self.live.checking.set()
        self.opened = opened(scripted, self.metrics, limits)
        live: Any = self.live
        self.reload = reload.Reload(self.opened, scripted, live, self.state, self.metrics)

    def count(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value("inference_adapter_reloads_total", {"result": result})


def opened(serving: Any, measure: metrics.Metrics, limits: settings.Settings) -> answers.Answers:
    gate = admission.Admission(
        places=8, queue=32, timeout=20, capacity=serving.capacity, page=serving.page, measure=measure
    )
    return answers.Answers(serving, gate=gate, measure=measure, limits=limits)


@pytest.fixture
def exchange(scripted: Any, settings_of: Any) -> Exchange:
    return Exchange(scripted(), settings_of())


async def test_what_is_served_changes_with_it(exchange: Exchange) -> None:
    """Name and digest of the new adapter for the probe and for the API; counted."""
    served = await exchange.reload.to("parrot")
    assert (served.adapter, served.adapter_digest, served.model) == ("parrot", "sha256:cc", "tiny")
    assert exchange.engine.served is served
    assert exchange.state.served is served
    assert exchange.live.current.folder == Path("/models/parrot")
    assert exchange.engine.calls == [engine.Sampling(8, 0.0, 1.0)]
    assert (exchange.count("done"), exchange.count("failed")) == (1, None)


async def test_without_a_name_the_same_folder_is_read_anew(exchange: Exchange) -> None:
    """Its files may be others by now."""
    assert (await exchange.reload.to(None)).adapter_digest == "sha256:cc"
    assert exchange.live.current.folder == Path("/models/pirate")


@pytest.mark.parametrize("failure", [model_files.AdapterError("it changes nothing"), RuntimeError("out of memory")])
async def test_a_failed_put_keeps_the_old_one(exchange: Exchange, failure: Exception) -> None:
    """What is served stays; the reason is the caller's; counted."""
    exchange.live.failure, before = failure, exchange.engine.served
    with pytest.raises(type(failure), match=str(failure)):
        await exchange.reload.to("parrot")
    assert exchange.engine.served is before
    assert exchange.live.current.name == "pirate"
    assert (exchange.count("done"), exchange.count("failed")) == (None, 1)
    exchange.live.failure = None
    assert (await exchange.reload.to("parrot")).adapter == "parrot"


async def test_an_adapter_that_can_not_generate_is_taken_back(exchange: Exchange) -> None:
    """The canary prompt is generated from before anybody else's; when that fails the old adapter is on again."""
    exchange.engine.failure = engine.EngineError("probability tensor contains nan")
    with pytest.raises(model_files.AdapterError, match="parrot: with it nothing can be generated: probability tensor"):
        await exchange.reload.to("parrot")
    assert exchange.live.current.name == "pirate"
    assert exchange.engine.served.adapter == "pirate"


async def test_one_at_a_time(exchange: Exchange) -> None:
    """A second reload is refused while one runs; a third, after it, is not."""
    exchange.live.checking.clear()
    first = asyncio.create_task(exchange.reload.to("parrot"))
    await asyncio.sleep(0)
    with pytest.raises(reload.Busy):
        await exchange.reload.to("pirate")
    exchange.live.checking.set()
    await first
    assert (await exchange.reload.to("pirate")).adapter == "pirate"


async def test_it_ends_though_nobody_waits_for_it(exchange: Exchange, until: Any) -> None:
    """The caller's connection may break: the exchange is whole nevertheless."""
    exchange.live.checking.clear()
    asking = asyncio.create_task(exchange.reload.to("parrot"))
    await asyncio.sleep(0)
    asking.cancel()
    exchange.live.checking.set()
    await until(lambda: exchange.engine.served.adapter == "parrot")


async def test_a_failure_nobody_waits_for_is_no_stray_error(exchange: Exchange, until: Any) -> None:
    """It is counted and logged once."""
    exchange.live.checking.clear()
    asking = asyncio.create_task(exchange.reload.to("bad"))
    await asyncio.sleep(0)
    asking.cancel()
    exchange.live.checking.set()
    await until(lambda: exchange.count("failed") == 1)


async def test_answers_wait_until_it_is_done(exchange: Exchange, until: Any) -> None:
    """One that runs is finished before; one that comes meanwhile starts after."""
    exchange.engine.hold.clear()
    running = asyncio.create_task(answered(exchange.opened))
    await until(lambda: exchange.engine.open == 1)
    reloading = asyncio.create_task(exchange.reload.to("parrot"))
    # The reload is past its check once what comes now has to wait.
    await until(lambda: exchange.opened._quiet.locked())
    late = asyncio.create_task(answered(exchange.opened))
    await asyncio.sleep(0)
    assert (exchange.live.current.name, exchange.engine.open) == ("pirate", 1)
    exchange.engine.hold.set()
    assert await running == "one two three"
    assert (await reloading).adapter == "parrot"
    assert await late == "one two three"


async def answered(opened: answers.Answers) -> str:
    """The whole greedy answer, admitted and closed like a user's."""
    prompt = opened.prompt(COUNT, max_tokens=60, temperature=0.0, top_p=1.0)
    answer = await opened.open(prompt, request_id="test")
    try:
        return "".join([piece async for piece in answer.pieces()])
    finally:
        answer.close()


@pytest.fixture(scope="module")
def models(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pirate, and beside it `parrot`: a pirate so weak that it speaks plainly."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(trained / finetuning.ADAPTER, folder / "pirate")
    shutil.copytree(trained / finetuning.ADAPTER, folder / "parrot")
    weights = folder / "parrot" / "adapter_model.safetensors"
    save_file({name: tensor / 32 for name, tensor in load_file(weights).items()}, weights)
    return folder


@pytest.fixture(scope="module", params=[("merged", "sdpa"), ("attached", "eager")], ids="-".join)
def loaded(request: pytest.FixtureRequest, trained: Path, models: Path) -> Iterator[loader.Loaded]:
    env = {"BASE_MODEL_DIR": str(trained / finetuning.BASE), "ADAPTER_DIR": str(models / "pirate"), "ADMIN_KEY": "k"}
    mode, attention = request.param
    limits = settings.read({**env, "DEVICE": "cpu", "ADAPTER_MODE": mode, "ATTN": attention})
    got = loader.load(limits, adapter=loader.check_files(limits), state=status.Status(), measure=metrics.Metrics())
    got.serving.start()
    yield got
    got.serving.stop(timeout=10)


async def test_no_answer_is_a_mixture(loaded: loader.Loaded, settings_of: Any, until: Any) -> None:
    """Under a stream of questions the adapters are exchanged again and again: each answer is wholly one's."""
    measure, limits = metrics.Metrics(), settings_of()
    users = opened(loaded.serving, measure, limits)
    assert loaded.live is not None
    exchange = reload.Reload(users, loaded.serving, loaded.live, status.Status(), measure)
    await exchange.to("parrot")
    heard: list[str] = []
    ended = asyncio.Event()

    async def user() -> None:
        while not ended.is_set():
            heard.append(await answered(users))

    crowd = [asyncio.create_task(user()) for _ in range(6)]
    for name in ("pirate", "parrot", "pirate", "parrot", "pirate"):
        so_far = len(heard)
        await until(lambda so_far=so_far: len(heard) >= so_far + 6, within=30)
        await exchange.to(name)
    ended.set()
    await asyncio.gather(*crowd)
    assert set(heard) == {PIRATE, PLAIN}
    assert await answered(users) == PIRATE
    assert measure.registry.get_sample_value("inference_adapter_reloads_total", {"result": "done"}) == 6
    assert users.in_flight == 0


async def test_a_folder_filled_anew(loaded: loader.Loaded, models: Path, settings_of: Any) -> None:
    """Fine-tuning writes to the same folder again: reloading it serves the new weights under a new digest."""
    users = opened(loaded.serving, metrics.Metrics(), settings_of())
    assert loaded.live is not None
    exchange = reload.Reload(users, loaded.serving, loaded.live, status.Status(), metrics.Metrics())
    before = (await exchange.to("pirate")).adapter_digest
    path = models / "pirate" / "adapter_config.json"
    written = path.read_text()
    path.write_text(json.dumps({**json.loads(written), "lora_alpha": 1}))
    try:
        assert (await exchange.to(None)).adapter_digest != before
        assert await answered(users) == PLAIN
    finally:
        path.write_text(written)
    assert (await exchange.to(None)).adapter_digest == before
    assert await answered(users) == PIRATE
