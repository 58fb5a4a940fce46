"""From folders to an engine: checks, imports torch, loads, validates and merges the adapter, sizes the cache.

Runs in a thread of its own and reports through `status`. Raises what `reason_of` turns into one readable line.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference import engine, logs, metrics, model_files, settings, status

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger("inference.load")
EXPECTED = (model_files.ModelError, model_files.AdapterError, MemoryError)
"""Failures whose message says it all: no traceback is logged for them."""
_GPU_SHARE = 0.85
_CPU_SHARE = 0.25


def check_files(limits: settings.Settings) -> model_files.Adapter | None:
    """What can be known before torch is imported. Raises ModelError, AdapterError."""
    model_files.check_base(limits.base_model_dir)
    return model_files.check_adapter(limits.adapter_dir) if limits.adapter_dir else None


def load(
    limits: settings.Settings, *, adapter: model_files.Adapter | None, state: status.Status, measure: metrics.Metrics
) -> engine.Engine:
    """An engine that is not started yet. Blocks for as long as loading takes."""
    from inference import batching

    logs.adopt_foreign()
    state.enter(status.LOADING)
    device = _device(limits.device)
    dtype = _dtype(limits.dtype, device)
    model, tokenizer = _base(limits, device=device, dtype=dtype)
    if adapter is not None and limits.adapter_dir is not None:
        model = _adapted(model, limits, adapter=adapter, folder=limits.adapter_dir, state=state)
    plan = _cache_plan(model.config, limits, device=device, dtype=dtype)
    served = status.Served(
        model=limits.base_model_dir.name,
        adapter=adapter.name if adapter else None,
        model_digest=model_files.digest(limits.base_model_dir),
        adapter_digest=model_files.digest(limits.adapter_dir) if limits.adapter_dir else None,
        context=plan.context,
    )
    logs.event(_LOG, "loaded", device=device, dtype=str(dtype).removeprefix("torch."), cache=plan.__dict__)
    return batching.BatchingEngine(model, tokenizer, served=served, plan=plan, limits=limits, measure=measure)


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


def _base(limits: settings.Settings, *, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
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
        **({"device_map": device} if device != "cpu" else {}),
    )
    return model, tokenizer


def _adapted(
    model: Any, limits: settings.Settings, *, adapter: model_files.Adapter, folder: Path, state: status.Status
) -> Any:
    """The model with the adapter in its weights, or attached. Raises AdapterError."""
    import peft

    state.enter(status.VALIDATING)
    if adapter.base and Path(adapter.base).name != limits.base_model_dir.name:
        # Only a hint: fine-tuning records whatever path it had. Tensor names and shapes decide.
        logs.event(
            _LOG,
            "adapter_base_differs",
            level=logging.WARNING,
            trained_for=adapter.base,
            served_on=limits.base_model_dir.name,
        )
    merged = limits.adapter_mode == "merged"
    try:
        wrapped = peft.PeftModel.from_pretrained(
            model, str(folder), is_trainable=False, autocast_adapter_dtype=merged, local_files_only=True
        )
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise model_files.AdapterError(f"{folder} does not fit the base model: {_brief(error)}") from error
    _check_tensors(wrapped, adapter, folder=folder)
    if not merged:
        return wrapped.get_base_model()
    state.enter(status.MERGING)
    try:
        return wrapped.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise model_files.AdapterError(f"{folder} can't be merged: {_brief(error)}") from error


def _check_tensors(wrapped: Any, adapter: model_files.Adapter, *, folder: Path) -> None:
    """peft ignores names it doesn't know, and then the base model answers as if nothing were wrong."""
    import peft
    import torch

    wanted = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    # An adapter may bring whole layers of the base, such as resized embeddings.
    known = wanted.keys() | wrapped.state_dict().keys()
    for problem, names in (
        ("lacks", wanted.keys() - adapter.tensors),
        ("has unknown", adapter.tensors - known),
    ):
        if names:
            raise model_files.AdapterError(
                f"{folder} does not fit the base model: it {problem} {len(names)} tensors, e.g. {min(names)}"
            )
    for name, tensor in wanted.items():
        if not torch.isfinite(tensor).all():
            raise model_files.AdapterError(f"{folder}: {name} has values that are not finite")


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]


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
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available * _CPU_SHARE)
