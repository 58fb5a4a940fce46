"""What is said of the folders of a model on the share: what is missing, and what is there and can't work."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.model import observed, served
from controller.plan import weights

CONFIG = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}
ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "/mount/model-cache/microsoft/Phi-3-mini"}
INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
PARTS = tuple(INDEX["weight_map"].values())
BASE = "spec.model.base: cache/Phi-3-mini"
TUNED = "spec.model.adapter: models/pirate"


def folder(*files: str, **texts: Any) -> observed.Folder:
    """These files, and JSON ones by name with `_` for `.`; bytes as they are."""
    read = {
        name.replace("_json", ".json").replace("model_s", "model.s").replace("_index", ".index"): (
            text if isinstance(text, bytes) else json.dumps(text).encode()
        )
        for name, text in texts.items()
    }
    return observed.Folder(frozenset(files) | read.keys(), read)


def base(*files: str, **texts: Any) -> observed.Folder:
    return folder(*(files or ("model.safetensors",)), **{"config_json": CONFIG, **texts})


def tuned(*files: str, **texts: Any) -> observed.Folder:
    return folder(*(files or ("adapter_model.safetensors",)), **{"adapter_config_json": ADAPTER, **texts})


WHOLE, TUNED_WHOLE = base(), tuned()


def said(base: observed.Folder = WHOLE, adapter: observed.Folder | None = TUNED_WHOLE) -> list[tuple[str, str]]:
    name = "models/pirate" if adapter else None
    wanted = served.ServedModel.model_validate({"base": "cache/Phi-3-mini", "adapter": name})
    seen = observed.Weights(base, adapter)
    found = [(one.level, one.message) for one in weights.findings(wanted, seen) if one.check == "model"]
    lacking = [f"{told}; upload it: the release waits for it" for told in weights.missing(wanted, seen)]
    assert [told for level, told in found if told.endswith("waits for it")] == lacking
    return found


def lacks(told: str) -> tuple[str, str]:
    return ("warning", f"{told}; upload it: the release waits for it")


def test_of_a_model_that_is_whole_nothing_is_said() -> None:
    """In one file or in parts, with an adapter or without, named as it may be."""
    assert said() == said(adapter=None) == []
    assert said(base(*PARTS, model_safetensors_index_json=INDEX)) == []
    assert said(base("consolidated.safetensors")) == []
    # transformers takes the one file, and doesn't look at the index
    assert said(base("model.safetensors", model_safetensors_index_json=b"?")) == []
    for name in ("Phi-3-Mini", "C:\\cache\\phi-3-mini\\", "microsoft/phi-3-mini/", "", None, 7):
        assert said(adapter=tuned(adapter_config_json={**ADAPTER, "base_model_name_or_path": name})) == []


@pytest.mark.parametrize(
    ("base", "told"),
    [
        (folder(), [f"{BASE} isn't on the share, or is empty"]),
        (folder("model.safetensors"), [f"{BASE}/config.json isn't on the share"]),
        (
            folder("pytorch_model.bin"),
            [f"{BASE}/config.json isn't on the share", f"{BASE} has no weights as *.safetensors"],
        ),
        (base("pytorch_model.bin"), [f"{BASE} has no weights as *.safetensors"]),
        (
            base(*PARTS),
            [f"{BASE}/model.safetensors.index.json isn't on the share, which the parts of the weights need"],
        ),
        (
            base(PARTS[0], model_safetensors_index_json=INDEX),
            [
                f"{BASE}: 1 of the 2 files that model.safetensors.index.json names aren't on the share: "
                "'model-00002-of-00002.safetensors'"
            ],
        ),
    ],
)
def test_what_the_base_lacks(base: observed.Folder, told: list[str]) -> None:
    """It may be on its way, so it is a warning."""
    assert said(base) == list(map(lacks, told))


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        (folder(), [f"{TUNED} isn't on the share, or is empty"]),
        (tuned("adapter_model.bin"), [f"{TUNED}/adapter_model.safetensors isn't on the share"]),
        (folder("adapter_model.safetensors"), [f"{TUNED}/adapter_config.json isn't on the share"]),
    ],
)
def test_what_the_adapter_lacks(adapter: observed.Folder, told: list[str]) -> None:
    """As of the base."""
    assert said(adapter=adapter) == list(map(lacks, told))


BROKEN = [
    pytest.param(b'{"s3cret": ', "isn't JSON (line 1, column 12); upload it again", id="cut short"),
    pytest.param(b"\xffs3cret", "isn't JSON; upload it again", id="not text"),
    pytest.param(b"[" * 100_000, "isn't JSON; upload it again", id="nested"),
    pytest.param(b'["s3cret"]', "isn't a JSON object; upload it again", id="a list"),
    pytest.param(b"", "isn't JSON (line 1, column 1); upload it again", id="empty"),
]
LARGE = b" " * (weights.LARGEST + 1)


@pytest.mark.parametrize(("text", "told"), BROKEN)
def test_a_file_that_cannot_be_read(text: bytes, told: str) -> None:
    """Is told by its name, and not a word of it is repeated."""
    assert said(base(config_json=text)) == [("error", f"{BASE}/config.json {told}")]
    index = base(*PARTS, model_safetensors_index_json=text)
    assert said(index) == [("error", f"{BASE}/model.safetensors.index.json {told}")]
    assert said(adapter=tuned(adapter_config_json=text)) == [("error", f"{TUNED}/adapter_config.json {told}")]


def test_a_file_that_is_gone_again() -> None:
    """Between the listing and the read."""
    gone = observed.Folder(WHOLE.files, {})
    assert said(gone) == [("error", f"{BASE}/config.json isn't JSON (line 1, column 1); upload it again")]


def test_a_file_that_is_too_large_isnt_known() -> None:
    """Nobody reads all that somebody may put on a share."""
    told = "is larger than 1024 KiB, and wasn't looked into"
    assert said(base(config_json=LARGE)) == [("note", f"unknown: {BASE}/config.json {told}")]
    assert said(base(config_json=b'{"model_type": "phi3"}'.ljust(weights.LARGEST))) == []


def test_a_config_that_names_no_model() -> None:
    """transformers couldn't tell what to load."""
    told = (
        f"{BASE}/config.json has no model_type, by which transformers knows the model; copy the model's own config.json"
    )
    for config in ({}, {"model_type": 7}):
        assert said(base(config_json=config)) == [("error", told)]


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 7}}])
def test_an_index_that_names_nothing(index: Any) -> None:
    """There is nothing to wait for, and nothing that could be loaded."""
    told = f"{BASE}/model.safetensors.index.json names no files of weights in its weight_map; copy the model's own"
    assert said(base(*PARTS, model_safetensors_index_json=index)) == [("error", told)]


def test_names_from_the_share_are_shown_with_care() -> None:
    """A few of them, cut, and without what a terminal would obey."""
    names = {str(at): f"{at}\x1b[2J\ud800{'x' * 500}" for at in range(5)}
    (one,) = said(base("x.safetensors", model_safetensors_index_json={"weight_map": names}))
    assert "5 of the 5 files" in one[1]
    assert ("\x1b" in one[1], one[1].count("…"), one[1].isprintable()) == (False, 4, True)
    assert len(one[1]) < 600


def test_an_adapter_of_another_kind() -> None:
    """Only LoRA is served."""
    for kind in ("IA3", None, ["LORA"]):
        told = f"{TUNED}/adapter_config.json: its peft_type isn't LORA, the only kind of adapter that is served"
        assert said(adapter=tuned(adapter_config_json={**ADAPTER, "peft_type": kind})) == [("error", told)]


def test_an_adapter_of_another_base() -> None:
    """Both names are told; paths differ from machine to machine, so it is no more than a warning."""
    other = {**ADAPTER, "base_model_name_or_path": "microsoft/Phi-3-medium"}
    told = f"{TUNED}/adapter_config.json: it was trained on 'Phi-3-medium', and spec.model.base is Phi-3-mini; "
    assert said(adapter=tuned(adapter_config_json=other)) == [("warning", f"{told}see that they are the same")]
