"""What lies in a model's or an adapter's folder, judged without loading it. Standard library only, so it runs first.

A base folder must have a config and safetensors weights; an adapter must be a LoRA adapter, complete and
uncut. What only the loaded model can tell (do names and shapes fit?) is `loader`'s.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WHOLE = 256 * 1024 * 1024
_SAMPLE = 64 * 1024
_SAMPLES = 32


class ModelError(Exception):
    """The base model's folder can't be served. The message begins with `ModelNotFound: `."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"ModelNotFound: {problem}")


class AdapterError(Exception):
    """The adapter can't be served. The message begins with `AdapterInvalid: `."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"AdapterInvalid: {problem}")


@dataclass(frozen=True)
class Adapter:
    """`base` is the name the adapter was trained for; `tensors` the names in its weights file."""

    name: str
    base: str
    tensors: frozenset[str]


def check_base(folder: Path) -> None:
    """Raises ModelError."""
    if not folder.is_dir():
        raise ModelError(f"BASE_MODEL_DIR {folder} is not a folder")
    if not (folder / "config.json").is_file():
        raise ModelError(f"BASE_MODEL_DIR {folder} has no config.json")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"BASE_MODEL_DIR {folder} has no *.safetensors weights")
    for path in weights:
        try:
            _header(path)
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from None


def check_adapter(folder: Path) -> Adapter:
    """Raises AdapterError."""
    config = _adapter_config(folder)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdapterError(f"{folder}: peft_type is {kind!r}, only 'LORA' is served")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise AdapterError(f"ADAPTER_DIR {folder} has no adapter_model.safetensors")
    try:
        header = _header(weights)
    except ValueError as error:
        raise AdapterError(f"{weights}: {error}") from None
    tensors = frozenset(header) - {"__metadata__"}
    if not tensors:
        raise AdapterError(f"{weights}: there are no tensors in it")
    return Adapter(folder.name, str(config.get("base_model_name_or_path") or ""), tensors)


def _adapter_config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    if not folder.is_dir():
        raise AdapterError(f"ADAPTER_DIR {folder} is not a folder")
    if not path.is_file():
        raise AdapterError(f"ADAPTER_DIR {folder} has no adapter_config.json")
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise AdapterError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{path} is not a JSON object")
    return config


def _header(path: Path) -> dict[str, Any]:
    """A safetensors file's header. Raises ValueError when the file is cut short or is something else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise ValueError(f"is {size} bytes long, which is no safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > size - 8:
            raise ValueError(f"is cut short: {size} bytes, its header alone is {length}")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("has no safetensors header")
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    wanted = 8 + length + max(ends, default=0)
    if size != wanted:
        raise ValueError(f"is {'cut short' if size < wanted else 'too long'}: {size} bytes, its header says {wanted}")
    return header


def digest(folder: Path) -> str:
    """`sha256:…` over the names, sizes and bytes of the folder's JSON and safetensors files.

    Of a file over 256 MiB, 32 evenly spread blocks of 64 KiB stand for the whole: reading gigabytes twice from a
    network share would double the time to ready.
    """
    total = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        size = path.stat().st_size
        total.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                total.update(hashlib.file_digest(file, "sha256").digest())
                continue
            for block in range(_SAMPLES):
                file.seek((size - _SAMPLE) * block // (_SAMPLES - 1))
                total.update(file.read(_SAMPLE))
    return f"sha256:{total.hexdigest()}"
