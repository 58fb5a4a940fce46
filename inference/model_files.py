"""What lies in a model's or an adapter's folder, judged without loading it. Standard library only, so it runs first.

A base folder must have a config and safetensors weights; an adapter must be a LoRA adapter, complete and
uncut. What only the base's own shape can tell (do names and shapes fit?) is `lora`'s.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLED = ("adapter_model.bin", "adapter_model.pt")
_FLOATS = ("F64", "F32", "F16", "BF16")
_WHOLE = 256 * 1024 * 1024
_SAMPLE = 64 * 1024
_SAMPLES = 32


class ModelError(Exception):
    """The base model's folder can't be served. The message begins with `ModelNotFound: `."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"ModelNotFound: {problem}")
        self.problem = problem


class AdapterError(Exception):
    """The adapter can't be served. The message begins with `AdapterInvalid: `."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"AdapterInvalid: {problem}")
        self.problem = problem


@dataclass(frozen=True)
class Adapter:
    """`base` is the name the adapter was trained for; `shapes` are its tensors' by name, `config` is its JSON."""

    folder: Path
    base: str
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def name(self) -> str:
        return self.folder.name


def check_base(folder: Path) -> None:
    """Raises ModelError."""
    if not folder.is_dir():
        raise ModelError(f"BASE_MODEL_DIR {folder} is not a folder")
    if not (folder / "config.json").is_file():
        raise ModelError(f"BASE_MODEL_DIR {folder} has no config.json")
    files = weights(folder)
    if not files:
        raise ModelError(f"BASE_MODEL_DIR {folder} has no *.safetensors weights")
    for path in files:
        try:
            _header(path)
        except FileNotFoundError:
            raise ModelError(f"{path} is missing, and {_INDEX} names it: was the download cut short?") from None
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from None


def weights(folder: Path) -> list[Path]:
    """The base's weight files: those its index names, else all."""
    index = folder / _INDEX
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        return sorted({folder / str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is not an index of weights: {error}") from None


def check_adapter(folder: Path) -> Adapter:
    """Raises AdapterError."""
    try:
        config = _adapter_config(folder)
        kind = config.get("peft_type")
        if kind != "LORA":
            raise AdapterError(f"{folder / CONFIG}: peft_type is {kind!r}, only 'LORA' is served")
        shapes = {name: tuple(entry["shape"]) for name, entry in _adapter_header(folder).items()}
    except OSError as error:
        raise AdapterError(f"{folder} can't be read: {error}") from error
    return Adapter(folder, str(config.get("base_model_name_or_path") or ""), config, shapes)


def _adapter_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not folder.is_dir():
        raise AdapterError(f"{folder} is not a folder")
    if not path.is_file():
        raise AdapterError(f"{folder} has no {CONFIG}{_elsewhere(folder)}")
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise AdapterError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{path} is not a JSON object")
    return config


def _elsewhere(folder: Path) -> str:
    """Where the adapter may be instead, for the end of a message."""
    if inner := sorted(folder.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime):
        return f"; there is one in {inner[-1].parent.name}/: name that folder"
    if (folder / "config.json").is_file():
        return "; it holds a whole model: serve that as BASE_MODEL_DIR with BASE_ONLY=1"
    return ": name the folder that the fine-tuning's save_pretrained wrote"


def _adapter_header(folder: Path) -> dict[str, Any]:
    """The weights' tensors: name to `dtype` and `shape`."""
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = next((name for name in _PICKLED if (folder / name).is_file()), None)
        if pickled is None:
            raise AdapterError(f"{folder} has no {WEIGHTS}: was saving interrupted?")
        raise AdapterError(
            f"{folder / pickled} is a pickle, which can run code when it is read, so it is not:"
            f" save the adapter again with safe_serialization=True, as {WEIGHTS}"
        )
    try:
        header = _header(path)
    except ValueError as error:
        raise AdapterError(f"{path}: {error}: copy or save it again") from None
    header.pop("__metadata__", None)
    if not header:
        raise AdapterError(f"{path}: there are no tensors in it")
    for name, entry in header.items():
        if entry["dtype"] not in _FLOATS:
            raise AdapterError(f"{path}: {name} is of type {entry['dtype']}, not one of {', '.join(_FLOATS)}")
    return header


def _header(path: Path) -> dict[str, Any]:
    """A safetensors file's header. Raises ValueError when the file is cut short or is something else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise ValueError(f"is {size} bytes long, which is no safetensors file")
        if prefix == b"version ":
            raise ValueError("is a Git LFS pointer, not the file itself (git lfs pull fetches it)")
        (length,) = struct.unpack("<Q", prefix)
        if length > size - 8:
            raise ValueError(f"is cut short: {size} bytes, its header alone is {length}")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("has no safetensors header")
    try:
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        ends = [int(entry["data_offsets"][1]) for entry in tensors]
    except (KeyError, TypeError, IndexError):
        raise ValueError("has no safetensors header") from None
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
