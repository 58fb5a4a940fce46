"""From folders to an engine: checks files, reads them ahead, judges the adapter, loads, puts it on, sizes the cache.

Runs in a thread of its own and reports through `status`. Raises what `reason_of` turns into one readable line.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference import engine, logs, metrics, model_files, prefetch, settings, status

if TYPE_CHECKING:
    import torch

    from inference import adapters, lora

_LOG = logging.getLogger("inference.load")
EXPECTED = (model_files.ModelError, model_files.AdapterError, MemoryError)
"""Failures whose message says it all: no traceback is logged for them."""
_GPU_SHARE = 0.85
_CPU_SHARE = 0.25


@dataclass(frozen=True)
class Loaded:
    """An engine that is not started yet. `live` is there when its adapter can be exchanged."""

    serving: engine.Engine
    live: adapters.Live | None


def check_files(limits: settings.Settings) -> model_files.Adapter | None:
    """What can be known before torch is imported. Raises ModelError, AdapterError."""
    model_files.check_base(limits.base_model_dir)
    return model_files.check_adapter(limits.adapter_dir) if limits.adapter_dir else None


def load(
    limits: settings.Settings, *, adapter: model_files.Adapter | None, state: status.Status, measure: metrics.Metrics
) -> Loaded:
    """Blocks for as long as loading takes. The adapter is judged first: a bad one costs no reading of gigabytes.

    Raises ModelError, AdapterError, SettingsError and what the libraries raise.
    """
    ahead = prefetch.Prefetch(model_files.weights(limits.base_model_dir))
    from inference import batching

    logs.adopt_foreign()
    device = _device(limits.device)
    dtype = _dtype(limits.dtype, device)
    quantization = _quantization(limits, device=device, dtype=dtype)
    prepared = _prepared(adapter, limits, state=state) if adapter else None
    state.enter(status.LOADING)
    ahead.wait()
    model, tokenizer = _base(limits, device=device, dtype=dtype, quantization=quantization)
    live = None
    if prepared is not None:
        state.enter(status.MERGING)
        # Into packed weights nothing can be merged; a base may come quantised, too.
        attached = limits.adapter_mode == "attached" or getattr(model, "is_quantized", False)
        live = _live(model, tokenizer, limits, attached=attached)
        live.put(prepared)
    plan = _cache_plan(model.config, limits, device=device, dtype=dtype)
    served = status.Served(
        model=limits.base_model_dir.name,
        adapter=prepared.name if prepared else None,
        model_digest=model_files.digest(limits.base_model_dir),
        adapter_digest=prepared.digest if prepared else None,
        context=plan.context,
    )
    logs.event(_LOG, "loaded", device=device, dtype=str(dtype).removeprefix("torch."), cache=plan.__dict__)
    serving = batching.BatchingEngine(model, tokenizer, served=served, plan=plan, limits=limits, measure=measure)
    return Loaded(serving, live if limits.admin_key else None)


def reason_of(error: BaseException) -> str:
    """One line that begins with the kind of the failure."""
    kind = type(error).__name__
    if isinstance(error, model_files.ModelError | model_files.AdapterError):
        return str(error)
    text = " ".join(str(error).split())[:500]
    if isinstance(error, MemoryError) or kind in ("OutOfMemoryError", "AcceleratorError"):
        return f"OutOfMemory: {text or 'no memory left while loading'}"
    return f"LoadFailed: {kind}: {text}"


def _device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def _dtype(wanted: str, device: str) -> torch.dtype:
    import torch

    if wanted != "auto":
        named: torch.dtype = getattr(torch, wanted)
        return named
    if device == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _quantization(limits: settings.Settings, *, device: str, dtype: torch.dtype) -> Any:
    """The config for 4-bit weights, or None. Raises SettingsError where they can't be had."""
    if limits.quantization != "4bit":
        return None
    if device != "cuda":
        raise settings.SettingsError("QUANTIZATION=4bit needs a GPU, and there is none")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise settings.SettingsError("QUANTIZATION=4bit needs the package bitsandbytes, which is not installed")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _base(limits: settings.Settings, *, device: str, dtype: torch.dtype, quantization: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = str(limits.base_model_dir)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not tokenizer.chat_template:
        raise model_files.ModelError(f"{folder}: its tokenizer has no chat template")
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation=limits.attention,
        local_files_only=True,
        use_safetensors=True,
        # On a CPU mapped weights would stay mapped: a hiccup of the share would then stop answers for its length.
        disable_mmap=device == "cpu",
        quantization_config=quantization,
        **({"device_map": device} if device != "cpu" else {}),
    )
    return model, tokenizer


def _prepared(adapter: model_files.Adapter, limits: settings.Settings, *, state: status.Status) -> lora.Prepared:
    state.enter(status.VALIDATING)
    from inference import lora

    prepared = lora.prepare(adapter.folder, limits.base_model_dir)
    for note in prepared.notes:
        logs.event(_LOG, "adapter_note", level=logging.WARNING, note=note)
    return prepared


def _live(model: Any, tokenizer: Any, limits: settings.Settings, *, attached: bool) -> adapters.Live:
    from inference import adapters

    prompt = [{"role": "user", "content": limits.canary_prompt}]
    canary = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    return adapters.Live(
        model, base=limits.base_model_dir, attached=attached, keep=limits.admin_key is not None, canary=canary
    )


def _cache_plan(config: Any, limits: settings.Settings, *, device: str, dtype: torch.dtype) -> engine.CachePlan:
    """Blocks for every place to hold a full context, or for what memory allows."""
    import torch

    text = config.get_text_config()
    context = min(limits.max_context, text.max_position_embeddings)
    page = limits.kv_page_size or (256 if device == "cuda" else 32)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_token = 2 * text.num_hidden_layers * heads * width * torch.empty((), dtype=dtype).element_size()
    wanted = limits.max_inflight * math.ceil(context / page) + 1
    blocks = limits.kv_blocks or min(wanted, _memory(device) // (per_token * page))
    if blocks < 2:
        raise MemoryError(f"no room for a key/value cache: one page takes {per_token * page} bytes")
    return engine.CachePlan(
        page=page,
        blocks=blocks,
        batch=limits.max_batch_tokens or (2048 if device == "cuda" else 512),
        context=min(context, (blocks - 1) * page),
    )


def _memory(device: str) -> int:
    """Bytes the cache may take."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0] * _GPU_SHARE)
    return int(prefetch.memory() * _CPU_SHARE)
