"""A LoRA adapter against the shape of its base: is it one for this base, whole, finite, and more than nothing?

The base is looked at without its weights (a model on torch's meta device, made from its config.json), so that an
adapter is judged before gigabytes are read and before a live model is touched. Changes nothing but what it returns.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load as parse
from transformers import AutoConfig, AutoModelForCausalLM

from inference import lora_config, model_files

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Prepared:
    """An adapter that fits. Its tensors are in memory: the folder may change or go.

    `layers` by module name, on a base without weights; `tensors` are the same weights as they were saved; `whole`
    replaces parameters of the base, by name. `notes` are for the person who fine-tuned.
    """

    folder: Path
    base: str
    digest: str
    config: peft.LoraConfig
    layers: Mapping[str, LoraLayer]
    tensors: Mapping[str, torch.Tensor]
    whole: Mapping[str, torch.Tensor]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.folder.name


def prepare(folder: Path, base: Path) -> Prepared:
    """Raises AdapterError with what to do about it, and ModelError when the base's config can't be read."""
    try:
        adapter, digest = model_files.check_adapter(folder), model_files.digest(folder)
    except OSError as error:
        raise model_files.AdapterError(f"{folder} can't be read: {error}") from error
    config, notes = lora_config.served(adapter)
    tensors = read(adapter)
    skeleton = _skeleton(base)
    plain = {name: tuple(own.shape) for name, own in skeleton.named_parameters(remove_duplicate=False)}
    shell = _shell(skeleton, config, adapter=adapter, base=base)
    places = _places(shell)
    whole = _whole(adapter, places=places, plain=plain, base=base)
    _check_ties(adapter, {*whole.values(), *_targets(shell, part=".weight")}, skeleton=skeleton, base=base)
    _check_names(adapter, wanted=set(places), whole=set(whole), base=base)
    _check_shapes(adapter, {name: tuple(place.shape) for name, (_, place) in places.items()}, base=base)
    lora = {name: tensor for name, tensor in tensors.items() if name not in whole}
    shell.load_state_dict({places[name][0]: tensor.float() for name, tensor in lora.items()}, strict=False, assign=True)
    return Prepared(
        folder=folder,
        base=adapter.base,
        digest=digest,
        config=config,
        layers=_targets(shell),
        tensors=lora,
        whole={place: tensors[name] for name, place in whole.items()},
        notes=(*notes, *_trained_elsewhere(adapter, base)),
    )


def _targets(shell: Any, *, part: str = "") -> dict[str, LoraLayer]:
    """The adapter's layers by the name of the base's module, or of its parameter `part`."""
    modules = shell.named_modules()
    return {name.removeprefix(_PREFIX) + part: layer for name, layer in modules if isinstance(layer, LoraLayer)}


def _trained_elsewhere(adapter: model_files.Adapter, base: Path) -> Iterator[str]:
    # Only a hint: fine-tuning records whatever path it had. Names and shapes decide.
    if adapter.base and Path(adapter.base).name != base.name:
        yield f"it was trained for {adapter.base}, the base here is {base.name}"


def read(adapter: model_files.Adapter) -> dict[str, torch.Tensor]:
    """The tensors, finite and not all without effect. Raises AdapterError."""
    path = adapter.folder / model_files.WEIGHTS
    try:
        tensors = parse(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise model_files.AdapterError(f"{path} can't be read: {error}") from error
    for name, tensor in tensors.items():
        if bad := int((~torch.isfinite(tensor)).sum()):
            raise model_files.AdapterError(
                f"{path}: {name} has {bad} values that are not finite numbers: the training diverged;"
                " take an earlier checkpoint, or train with a lower learning rate"
            )
    # All but the A matrices: of plain LoRA that is the B matrices, of other kinds there is more that may count.
    ups = {name: tensor for name, tensor in tensors.items() if "lora_A" not in name and "embedding_A" not in name}
    plain = all("lora_B" in name or "embedding_B" in name for name in ups)
    if plain and not any(bool(up.any()) for up in ups.values()):
        raise model_files.AdapterError(
            f"{path}: every lora_B is zero, so the adapter changes nothing: it was saved before the first step"
        )
    return tensors


def _skeleton(base: Path) -> Any:
    """The base without weights. Raises ModelError."""
    try:
        config = AutoConfig.from_pretrained(str(base), local_files_only=True)
        with torch.device("meta"):
            # The default type: any other would be the process's default while the live model computes.
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise model_files.ModelError(f"{base / 'config.json'}: {_brief(error)}") from error


def _shell(skeleton: Any, config: peft.LoraConfig, *, adapter: model_files.Adapter, base: Path) -> Any:
    """The adapter's layers around the skeleton's modules. Raises AdapterError."""
    linear = sorted(
        {name.rpartition(".")[2] for name, part in skeleton.named_modules() if hasattr(part, "in_features")}
    )
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return peft.PeftModel(skeleton, dataclasses.replace(config)).eval()
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        named = sorted(config.target_modules or ()) if not isinstance(config.target_modules, str) else ()
        if absent := [name for name in named if name.rpartition(".")[2] not in linear]:
            raise model_files.AdapterError(
                f"{adapter.folder / model_files.CONFIG}: does not fit the base model {base.name}, which has no"
                f" {', '.join(absent)}; its linear layers are {', '.join(linear)}{_trained_for(adapter)}"
            ) from error
        raise model_files.AdapterError(
            f"{adapter.folder / model_files.CONFIG}: does not fit the base model {base.name}: {_brief(error)}"
        ) from error


def _places(shell: Any) -> dict[str, tuple[str, torch.Tensor]]:
    """By the name a tensor is saved under: its name in the shell, and its place there."""
    inside = shell.state_dict()
    saved = peft.get_peft_model_state_dict(shell, state_dict=inside, save_embedding_layers=False)
    names = {id(tensor): name for name, tensor in inside.items()}
    return {name: (names[id(tensor)], tensor) for name, tensor in saved.items()}


def _whole(
    adapter: model_files.Adapter, *, places: Mapping[str, Any], plain: Mapping[str, tuple[int, ...]], base: Path
) -> dict[str, str]:
    """The saved tensors that stand for parameters of the base (`modules_to_save`, biases), with those's names."""
    path = adapter.folder / model_files.WEIGHTS
    found = {}
    for name in adapter.shapes.keys() - places.keys():
        place = name.removeprefix(_PREFIX).replace(".base_layer.", ".").replace(".modules_to_save.", ".")
        if place not in plain:
            continue
        if adapter.shapes[name] != plain[place]:
            raise model_files.AdapterError(
                f"{path}: does not fit the base model {base.name}: {name} is {_form(adapter.shapes[name])}, the base's"
                f" is {_form(plain[place])}: the vocabulary was resized in training; merge adapter and base"
                " (merge_and_unload), save both with the tokenizer and serve the result as the base"
            )
        found[name] = place
    wanted = set(adapter.config.get("modules_to_save") or ())
    if absent := sorted(name for name in wanted if not any(f".{name}." in f".{place}" for place in found.values())):
        raise model_files.AdapterError(
            f"{path}: lacks {', '.join(absent)}, which {model_files.CONFIG} names as modules_to_save"
        )
    return found


def _check_ties(adapter: model_files.Adapter, touched: set[str], *, skeleton: Any, base: Path) -> None:
    ties = skeleton.all_tied_weights_keys
    if shared := sorted(touched & {*ties.keys(), *ties.values()}):
        raise model_files.AdapterError(
            f"{adapter.folder / model_files.WEIGHTS}: changes {', '.join(shared)}, which the base {base.name} uses both"
            " for input and output (tie_word_embeddings): merge adapter and base (merge_and_unload) and serve the"
            " result as the base"
        )


def _check_names(adapter: model_files.Adapter, *, wanted: set[str], whole: set[str], base: Path) -> None:
    path = adapter.folder / model_files.WEIGHTS
    lacking, extra = sorted(wanted - adapter.shapes.keys()), sorted(adapter.shapes.keys() - wanted - whole)
    if not lacking and not extra:
        return
    start = f"{path}: does not fit the base model {base.name}: it"
    if lacking and extra:
        raise model_files.AdapterError(
            f"{start} has {len(extra)} tensors the base has no place for, e.g. {extra[0]}, and lacks {len(lacking)},"
            f" e.g. {lacking[0]}{_trained_for(adapter)}"
        )
    if lacking:
        raise model_files.AdapterError(
            f"{start} lacks {len(lacking)} of {len(wanted)} tensors, e.g. {lacking[0]}: the base has more layers than"
            f" the one it was trained for, or saving was interrupted{_trained_for(adapter)}"
        )
    raise model_files.AdapterError(
        f"{start} has {len(extra)} tensors that neither {model_files.CONFIG} nor the base has a place for,"
        f" e.g. {extra[0]}{_trained_for(adapter)}"
    )


def _check_shapes(adapter: model_files.Adapter, wanted: Mapping[str, tuple[int, ...]], *, base: Path) -> None:
    wrong = sorted(name for name, shape in wanted.items() if adapter.shapes[name] != shape)
    if not wrong:
        return
    name = wrong[0]
    found, fitting = adapter.shapes[name], wanted[name]
    if 0 in found:
        why = ": it is empty: the training's shards were not gathered before saving"
    elif _without_rank(name, found) == _without_rank(name, fitting):
        why = f": r in {model_files.CONFIG} belongs to another run; take both files from the same one"
    else:
        why = _trained_for(adapter)
    raise model_files.AdapterError(
        f"{adapter.folder / model_files.WEIGHTS}: does not fit the base model {base.name}: size mismatch in"
        f" {len(wrong)} of {len(wanted)} tensors, e.g. {name} is {_form(found)} where {_form(fitting)} is wanted{why}"
    )


def _without_rank(name: str, shape: Sequence[int]) -> Sequence[int]:
    """A LoRA matrix's side that the base decides: A is r by inputs, B is outputs by r."""
    return shape[1:] if "lora_A" in name else shape[:1]


def _trained_for(adapter: model_files.Adapter) -> str:
    says = f"it says it was trained for {adapter.base}, and " if adapter.base else ""
    return f"; {says}an adapter only fits the very base it was trained on"


def _form(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a single value"


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
