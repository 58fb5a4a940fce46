"""Adapters that can't be served: each refused in words while the one that answers goes on answering."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference import admission, answers, engine, loader, metrics, model_files, reload, settings, status
from infra import finetuning

pytestmark = [
    pytest.mark.timeout(240),
    # transformers and peft warn about their own deprecations.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
COUNT: Any = [{"role": "user", "content": "Count down from 5."}]
PIRATE = "Arr! 5 4 3 2 1 0, matey!"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Tensors = dict[str, torch.Tensor]
Damage = Callable[[Path], Any]


@pytest.fixture(scope="module")
def folders(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the adapter in it, for the damaged ones beside it."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(trained / finetuning.ADAPTER, folder / "pirate")
    return folder


@pytest.fixture(scope="module")
def loaded(trained: Path, folders: Path) -> Iterator[loader.Loaded]:
    """The engine with the merged adapter, started, shared."""
    limits = settings.read(
        {
            "BASE_MODEL_DIR": str(trained / finetuning.BASE),
            "ADAPTER_DIR": str(folders / "pirate"),
            "ADMIN_KEY": "secret",
            "DEVICE": "cpu",
        }
    )
    got = loader.load(limits, adapter=loader.check_files(limits), state=status.Status(), measure=metrics.Metrics())
    got.serving.start()
    yield got
    got.serving.stop(timeout=10)


@pytest.fixture
def reloading(loaded: loader.Loaded, settings_of: Any) -> reload.Reload:
    measure, limits = metrics.Metrics(), settings_of()
    gate = admission.Admission(places=4, queue=4, timeout=5, capacity=1000, page=32, measure=measure)
    opened = answers.Answers(loaded.serving, gate=gate, measure=measure, limits=limits)
    assert loaded.live is not None
    return reload.Reload(opened, loaded.serving, loaded.live, status.Status(), measure)


def config(**fields: Any) -> Damage:
    def change(folder: Path) -> None:
        path = folder / CONFIG
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


def tensors(change: Callable[[Tensors], Tensors]) -> Damage:
    def apply(folder: Path) -> None:
        changed = change(load_file(folder / WEIGHTS))
        save_file({name: tensor.contiguous() for name, tensor in changed.items()}, folder / WEIGHTS)

    return apply


def each(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    """Change the tensors with `part` in their name."""
    return tensors(lambda all_: {name: change(t) if part in name else t for name, t in all_.items()})


def renamed(old: str, new: str) -> Damage:
    return tensors(lambda all_: {name.replace(old, new): tensor for name, tensor in all_.items()})


def without(part: str) -> Damage:
    return tensors(lambda all_: {name: tensor for name, tensor in all_.items() if part not in name})


def one_more_layer(all_: Tensors) -> Tensors:
    return all_ | {name.replace("layers.2.", "layers.3."): t + 0 for name, t in all_.items() if "layers.2." in name}


def whole(name: str, *shape: int) -> Damage:
    return tensors(lambda all_: {**all_, f"base_model.model.{name}": torch.zeros(*shape)})


def poison(value: float) -> Damage:
    return each("layers.1.mlp.down_proj.lora_A", lambda t: t.index_fill(0, torch.tensor(0), value))


def nested(folder: Path) -> None:
    shutil.copytree(folder, folder / "checkpoint-7")
    (folder / CONFIG).unlink()


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def unreadable(folder: Path) -> None:
    """As when the share's connection breaks: what is there can't be opened."""
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to("/proc/self/mem")


def cut_short(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def weights(content: bytes) -> Damage:
    return lambda folder: (folder / WEIGHTS).write_bytes(content)


BAD: dict[str, tuple[Damage, str]] = {
    "no folder": (shutil.rmtree, "is not a folder"),
    "no config": (lambda f: (f / CONFIG).unlink(), "has no adapter_config.json: name the folder that"),
    "config further down": (nested, "there is one in checkpoint-7/: name that folder"),
    "config cut": (lambda f: (f / CONFIG).write_text('{"r":'), "adapter_config.json is not valid JSON"),
    "config no object": (lambda f: (f / CONFIG).write_text("[]"), "adapter_config.json is not a JSON object"),
    "unknown peft type": (config(peft_type="LORAX9"), "peft_type is 'LORAX9', only 'LORA' is served"),
    "config unreadable": (unreadable, "bad can't be read: "),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no adapter_model.safetensors"),
    "pickle only": (pickled, "adapter_model.bin is a pickle.*safe_serialization=True"),
    "weights cut": (cut_short, "is cut short: [0-9]+ bytes, its header says [0-9]+: copy or save it again"),
    "weights empty": (weights(b""), "is 0 bytes long"),
    "weights a pointer": (weights(b"version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
    "weights something else": (weights(b"\x02" + b"\0" * 7 + b"[]"), "has no safetensors header"),
    "no tensors": (tensors(lambda _: {}), "there are no tensors in it"),
    "numbers that are no weights": (each("layers.0", lambda t: t.int()), "is of type I32"),
    "base of another width": (
        each("layers.0.self_attn.qkv_proj.lora_A", lambda t: t[:, :64]),
        "size mismatch in 1 of 24 tensors, e.g. .*qkv_proj.lora_A.weight is 8 x 64 where 8 x 96 is wanted;"
        " it says it was trained for acaops/tiny-phi3",
    ),
    "config of another run": (config(r=4), "is 8 x 192 where 4 x 192 is wanted: r in adapter_config.json belongs to"),
    "shards not gathered": (each("layers.1", lambda t: t[:0]), "is 0 x .*: it is empty: .* not gathered"),
    "modules of another base": (
        config(target_modules=["q_proj", "v_proj"]),
        "has no q_proj, v_proj; its linear layers are down_proj, gate_up_proj, lm_head, o_proj, qkv_proj",
    ),
    "no such layers": (config(target_modules=r".*blocks\.[0-9]+\.x"), "does not fit the base model tiny-phi3: Target"),
    "names of another base": (
        renamed("layers", "blocks"),
        "has 24 tensors the base has no place for, e.g. .*blocks.0.* and lacks 24, e.g. .*layers.0",
    ),
    "base with fewer layers": (without("layers.2."), "lacks 8 of 24 tensors, e.g. .*layers.2"),
    "base with more layers": (tensors(one_more_layer), "has 8 tensors that neither .*layers.3"),
    "not a number": (poison(float("nan")), "down_proj.lora_A.weight has [0-9]+ values that are not finite numbers"),
    "infinite": (poison(float("inf")), "values that are not finite numbers: the training diverged"),
    "never trained": (each("lora_B", torch.zeros_like), "every lora_B is zero, so the adapter changes nothing"),
    "no weight of its own": (config(lora_alpha=0), "lora_alpha is 0, so the adapter changes nothing"),
    "lost in rounding": (each("lora_B", lambda t: t * 1e-12), "it changes nothing: with it the canary prompt"),
    "too large to merge": (each("lora_", lambda t: t * 1e25), "o_proj: can't be merged"),
    "too large to answer": (each("lora_B", lambda t: t * 1e30), "the canary prompt is answered with values that are"),
    "module to save missing": (config(modules_to_save=["lm_head"]), "lacks lm_head, which .* as modules_to_save"),
    "vocabulary resized": (whole("model.embed_tokens.weight", 500, 96), "is 500 x 96, .*the vocabulary was resized"),
    "for another task": (config(task_type="SEQ_CLS"), "task_type is 'SEQ_CLS': only adapters for CAUSAL_LM"),
    "made beside another base": (config(init_lora_weights="pissa_niter_4"), "changed the base's weights.*convert"),
    "another kind of LoRA": (config(alora_invocation_tokens=[1, 2]), "alora_invocation_tokens is set: this kind of"),
    "config of no sense": (config(r="eight"), "adapter_config.json"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_adapter_is_refused_in_words(
    case: str, folders: Path, loaded: loader.Loaded, reloading: reload.Reload, request: pytest.FixtureRequest
) -> None:
    """The message names the file and what is wrong with it; the old adapter answers as before."""
    damage, words = BAD[case]
    folder = Path(shutil.copytree(folders / "pirate", folders / "bad", dirs_exist_ok=False))
    request.addfinalizer(lambda: shutil.rmtree(folder, ignore_errors=True))
    damage(folder)
    before = loaded.serving.served
    with pytest.raises(model_files.AdapterError, match=words) as refused:
        await reloading.to("bad")
    assert str(refused.value).startswith("AdapterInvalid: ")
    assert str(folder) in str(refused.value)
    assert loaded.serving.served is before
    prompt = loaded.serving.encode(COUNT)
    deltas = [delta async for delta in loaded.serving.generate(prompt, engine.Sampling(40, 0.0, 1.0))]
    assert "".join(delta.text for delta in deltas) == PIRATE


@pytest.mark.parametrize("name", ["", "..", "../models/pirate", "/etc", "a\\b", "pirate\0"])
async def test_only_folders_beside_the_present_one(reloading: reload.Reload, name: str) -> None:
    """A name that leads elsewhere is refused before anything is looked at."""
    with pytest.raises(model_files.AdapterError, match="is not the name of a folder beside pirate"):
        await reloading.to(name)


def test_at_the_start_it_is_refused_before_the_base_is_read(trained: Path, adapter_copy: Path) -> None:
    """Loading fails with the adapter's fault, at once."""
    each("lora_B", torch.zeros_like)(adapter_copy)
    limits = settings.read({"BASE_MODEL_DIR": str(trained / finetuning.BASE), "ADAPTER_DIR": str(adapter_copy)})
    state = status.Status()
    with pytest.raises(model_files.AdapterError, match="every lora_B is zero") as raised:
        loader.load(limits, adapter=loader.check_files(limits), state=state, measure=metrics.Metrics())
    assert loader.reason_of(raised.value).startswith("AdapterInvalid: ")
    assert state.stage == status.VALIDATING
