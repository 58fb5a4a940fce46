"""Adapters that can be served: put on, exchanged and taken back to the bit, of each kind; `check-adapter`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from inference import __main__ as command
from inference import adapters, lora, model_files
from infra import finetuning

pytestmark = [
    pytest.mark.timeout(120),
    # transformers and peft warn about their own deprecations.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:(Could not find|Setting `save_embedding)"),
]
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PROMPT = [5, 40, 41, 42, 7]


@pytest.fixture(scope="module")
def base(trained: Path) -> Path:
    return trained / finetuning.BASE


@pytest.fixture(scope="module")
def pirate(trained: Path) -> Path:
    return trained / finetuning.ADAPTER


@pytest.fixture(scope="module")
def other(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for other modules than the pirate's, some the same, and a whole lm_head."""
    return made(base, tmp_path_factory.mktemp("other"), target_modules=["o_proj"], modules_to_save=["lm_head"])


def plain(base: Path, dtype: str = "float32") -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))


def made(base: Path, folder: Path, **config: Any) -> Path:
    """An adapter with random weights, saved by peft."""
    torch.manual_seed(3)
    wrapped = peft.get_peft_model(plain(base), peft.LoraConfig(task_type="CAUSAL_LM", **config))
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    wrapped.save_pretrained(str(folder))
    return folder


def live(base: Path, *, attached: bool = False, dtype: str = "float32", keep: bool = True) -> adapters.Live:
    return adapters.Live(plain(base, dtype), base=base, attached=attached, keep=keep, canary=PROMPT)


def put(on: adapters.Live, folder: Path) -> adapters.Live:
    on.put(on.prepare(folder))
    return on


def values(on: adapters.Live) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in on._model.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attached", [False, True])
def test_an_exchange_leaves_no_trace(base: Path, pirate: Path, other: Path, attached: bool, dtype: str) -> None:
    """A, then B, then A: bit for bit what a fresh load of A has; so is B's and so is going back."""
    on = put(live(base, attached=attached, dtype=dtype), pirate)
    fresh, answer = values(on), on._logits()
    put(on, other)
    assert not torch.equal(on._logits(), answer)
    assert same(values(on), values(put(live(base, attached=attached, dtype=dtype), other)))
    put(on, pirate)
    assert same(values(on), fresh)
    put(on, other)
    on.back()
    assert same(values(on), fresh)
    assert torch.equal(on._logits(), answer)
    assert on.current is not None
    assert on.current.folder == pirate


def test_merging_writes_in_place(base: Path, pirate: Path, other: Path) -> None:
    """Whoever holds a parameter, or its address, goes on holding what is served."""
    on = live(base)
    before = {name: parameter.data_ptr() for name, parameter in on._model.named_parameters()}
    put(put(on, pirate), other)
    assert before == {name: parameter.data_ptr() for name, parameter in on._model.named_parameters()}


def test_a_base_that_can_not_be_exchanged_is_not_copied(base: Path, pirate: Path) -> None:
    """Without reloads no second copy of the weights is held."""
    assert not put(live(base, keep=False), pirate)._pristine
    assert put(live(base), pirate)._pristine.keys() == {
        f"model.layers.{layer}.{module}.weight"
        for layer in range(3)
        for module in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
    }


KINDS: dict[str, dict[str, Any]] = {
    "rsLoRA": {"use_rslora": True, "r": 4, "lora_alpha": 3},
    "DoRA": {"use_dora": True},
    "all linear layers": {"target_modules": "all-linear"},
    "an embedding": {"target_modules": ["embed_tokens", "qkv_proj"]},
    "ranks of their own": {"rank_pattern": {"layers.1.*qkv_proj": 2}, "alpha_pattern": {"layers.2.*qkv_proj": 1}},
    "some layers": {"layers_to_transform": [1]},
    "a whole module": {"modules_to_save": ["lm_head"]},
    "a whole norm": {"modules_to_save": ["norm"]},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_lora(base: Path, tmp_path: Path, kind: str, dtype: str) -> None:
    """Merged it is what peft merges, attached what peft answers."""
    folder = made(base, tmp_path / "adapter", **{"target_modules": ["qkv_proj"], **KINDS[kind]})
    reference = peft.PeftModel.from_pretrained(plain(base, dtype), str(folder), autocast_adapter_dtype=False).eval()
    on = put(live(base, attached=True, dtype=dtype), folder)
    with torch.no_grad():
        assert torch.equal(on._logits()[0], reference(input_ids=torch.tensor([PROMPT])).logits[0].float())
    merged = peft.PeftModel.from_pretrained(plain(base, dtype), str(folder)).merge_and_unload(safe_merge=True)
    assert same(values(put(live(base, dtype=dtype), folder)), dict(merged.state_dict()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_saved_in_half_precision(base: Path, adapter_copy: Path, dtype: str) -> None:
    """They are multiplied in single precision, as peft does."""
    path = adapter_copy / WEIGHTS
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path)
    merged = peft.PeftModel.from_pretrained(plain(base, dtype), str(adapter_copy)).merge_and_unload(safe_merge=True)
    assert same(values(put(live(base, dtype=dtype), adapter_copy)), dict(merged.state_dict()))


def test_trained_on_a_quantised_base(base: Path, pirate: Path, tmp_path: Path) -> None:
    """What QLoRA runs leave in the config doesn't keep the adapter from the unquantised base; notes say what."""
    folder = Path(shutil.copytree(pirate, tmp_path / "qlora"))
    path = folder / CONFIG
    remnants = {
        "base_model_name_or_path": "someone/tiny-phi3-bnb-4bit",
        "quantization_config": {"load_in_4bit": True},
        "loftq_config": {"loftq_bits": 4},
        "target_modules": ["down_proj", "qkv_proj", "o_proj", "gate_up_proj"],
        "a_key_of_tomorrow": 1,
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **remnants}))
    prepared = lora.prepare(folder, base)
    assert prepared.notes == (
        "adapter_config.json: not looked at: a_key_of_tomorrow, quantization_config",
        "it was trained for someone/tiny-phi3-bnb-4bit, the base here is tiny-phi3",
    )
    assert same(values(put(live(base), folder)), values(put(live(base), pirate)))


@pytest.mark.parametrize("config", [{"target_modules": ["lm_head"]}, {"modules_to_save": ["embed_tokens"]}])
def test_one_matrix_for_input_and_output(base: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    """Merged into tied weights an adapter for one side would change the other too: refused."""
    tied = Path(shutil.copytree(base, tmp_path / "tied"))
    path = tied / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": True}))
    folder = made(base, tmp_path / "adapter", **{"target_modules": ["qkv_proj"], **config})
    with pytest.raises(model_files.AdapterError, match="tied uses both for input and output"):
        lora.prepare(folder, tied)


def test_a_base_that_answers_nonsense_is_not_the_adapter_s_fault(base: Path) -> None:
    """It is refused before an adapter is put on it."""
    model = plain(base)
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(model_files.ModelError, match="values that are not finite"):
        adapters.Live(model, base=base, attached=False, keep=True, canary=PROMPT)


def test_a_failed_first_put_leaves_the_base(base: Path, pirate: Path, adapter_copy: Path) -> None:
    """As if it had not been tried; the next one fits."""
    on, weak = live(base), load_file(adapter_copy / WEIGHTS)
    before = values(on)
    huge = {name: tensor * 1e25 for name, tensor in weak.items()}
    save_file(huge, adapter_copy / WEIGHTS)
    with pytest.raises(model_files.AdapterError, match="can't be merged"):
        put(on, adapter_copy)
    assert same(values(on), before)
    assert same(values(put(on, pirate)), values(put(live(base), pirate)))


def test_the_folder_may_go_once_it_was_checked(base: Path, adapter_copy: Path) -> None:
    """What is put on is what was checked, whatever happens to the folder meanwhile."""
    on = live(base)
    prepared = on.prepare(adapter_copy)
    shutil.rmtree(adapter_copy)
    on.put(prepared)


def test_check_adapter_in_words(base: Path, pirate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0, what it was trained for and how large it is."""
    assert command.main(["check-adapter", str(pirate), "--base", str(base)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"ok: {pirate} fits {base}\n")
    for words in ("trained for  acaops/tiny-phi3", "tensors      24", "modules      12", "r            8"):
        assert words in said


@pytest.mark.parametrize(
    ("damage", "with_base", "code", "problem"),
    [
        (lambda folder: None, False, 0, None),
        (lambda folder: None, True, 0, None),
        (lambda folder: (folder / WEIGHTS).unlink(), False, 1, "has no adapter_model.safetensors"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\0" * 20), True, 1, "adapter_model.safetensors"),
    ],
)
def test_check_adapter_as_json(
    base: Path,
    adapter_copy: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], Any],
    with_base: bool,
    code: int,
    problem: str | None,
) -> None:
    """One object: whether it is ok, and if not why; exit status 1 for a bad one."""
    damage(adapter_copy)
    arguments = ["check-adapter", str(adapter_copy), "-o", "json", *(["--base", str(base)] if with_base else [])]
    assert command.main(arguments) == code
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"] is (code == 0)
    assert problem is None or problem in verdict["problem"]
    assert code or verdict["digest"] == model_files.digest(adapter_copy)


def test_check_adapter_without_a_base_says_so(pirate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files are whole; whether it fits is not known."""
    assert command.main(["check-adapter", str(pirate)]) == 0
    assert "not checked against a base model" in capsys.readouterr().out


def test_check_adapter_s_base_is_the_caller_s_mistake(
    pirate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A base that isn't one is exit status 2, and no verdict on the adapter."""
    assert command.main(["check-adapter", str(pirate), "--base", str(tmp_path)]) == 2
    assert "has no config.json" in capsys.readouterr().err
