"""adapter_config.json: which kinds of LoRA are served, and what of the config counts once training is over."""

from __future__ import annotations

import dataclasses

import peft

from inference import model_files

_SERVED = (
    "r",
    "lora_alpha",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "use_rslora",
    "use_dora",
    "lora_bias",
)
# Of the training only, or looked at on their own (biases and whole modules are found by their tensors).
_PAST = (
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
)
# These begin training by changing the base's own weights, and the adapter is only right beside those.
_CHANGES_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga", "mica")


def served(adapter: model_files.Adapter) -> tuple[peft.LoraConfig, tuple[str, ...]]:
    """What of the config matters for serving, and notes about what was left out. Raises AdapterError."""
    path, written = adapter.folder / model_files.CONFIG, adapter.config
    known = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    if (task := written.get("task_type")) not in (None, "CAUSAL_LM"):
        raise model_files.AdapterError(f"{path}: task_type is {task!r}: only adapters for CAUSAL_LM can chat")
    start = str(written.get("init_lora_weights")).lower()
    if start.startswith(_CHANGES_BASE):
        raise model_files.AdapterError(
            f"{path}: init_lora_weights={start!r} changed the base's weights before training: convert the adapter with"
            " save_pretrained(…, path_initial_model_for_weight_conversion=…)"
        )
    if odd := sorted(name for name in known - {*_SERVED, *_PAST} if written.get(name)):
        raise model_files.AdapterError(
            f"{path}: {', '.join(odd)} is set: this kind of LoRA is not served; plain LoRA, rsLoRA and DoRA are"
        )
    if not written.get("lora_alpha", 1):
        raise model_files.AdapterError(f"{path}: lora_alpha is 0, so the adapter changes nothing")
    left = sorted(name for name in written.keys() - known if written[name])
    try:
        config = peft.LoraConfig(
            **{name: written[name] for name in _SERVED if written.get(name) is not None},
            init_lora_weights=False,
            inference_mode=True,
        )
    except (TypeError, ValueError) as error:
        raise model_files.AdapterError(f"{path}: {error}") from error
    return config, ((f"{model_files.CONFIG}: not looked at: {', '.join(left)}",) if left else ())
