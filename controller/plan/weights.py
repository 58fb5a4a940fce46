"""Whether the folders of an app's model on the share hold what a server loads: the Hugging Face layout, with
safetensors weights; of an adapter LoRA's.

Pure. What is missing may be on its way, so a new release waits for it; what is there and wrong is told and holds
nothing up, as the app itself says it best. Whoever can write to the share can write these files: of what they say
nothing is believed, and little is quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from controller.model import observed, printable, served
from controller.plan.preflight import Finding

CONFIG, INDEX, WHOLE = "config.json", "model.safetensors.index.json", "model.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

BASE_TEXTS, ADAPTER_TEXTS = (CONFIG, INDEX), (ADAPTER_CONFIG,)
"""Files that are read, as far as they are there."""

LARGEST = 1024 * 1024
"""Bytes that are read of one. The index of a model of a few hundred shards has a tenth of that."""

_LONGEST, _MOST = 100, 3
_SHARD = re.compile(r".+-[0-9]{5}-of-[0-9]{5}\.safetensors")
_TOO_LARGE = f"is larger than {LARGEST // 1024} KiB, and wasn't looked into"

_Object = dict[str, Any]


def missing(wanted: served.ServedModel, seen: observed.Weights) -> Iterator[str]:
    """What must be on the share before the app can load the model, and isn't."""
    place, base = f"spec.model.base: {wanted.base}", seen.base
    if not base.files:
        yield f"{place} isn't on the share, or is empty"
    else:
        if CONFIG not in base.files:
            yield f"{place}/{CONFIG} isn't on the share"
        yield from _weights_missing(base, place)
    place, adapter = f"spec.model.adapter: {wanted.adapter}", seen.adapter
    if adapter is not None and not adapter.files:
        yield f"{place} isn't on the share, or is empty"
    elif adapter is not None:
        lacking = [name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if name not in adapter.files]
        yield from (f"{place}/{name} isn't on the share" for name in lacking)


def findings(wanted: served.ServedModel, seen: observed.Weights) -> Iterator[Finding]:
    """Everything worth saying before the app is started with the model."""
    for told in missing(wanted, seen):
        yield Finding("warning", "model", f"{told}; upload it: the release waits for it")
    place = f"spec.model.base: {wanted.base}"
    if CONFIG in seen.base.files:
        yield from _of_config(_object(seen.base, CONFIG), f"{place}/{CONFIG}")
    if INDEX in seen.base.files and WHOLE not in seen.base.files:
        yield from _of_index(_object(seen.base, INDEX), f"{place}/{INDEX}")
    if seen.adapter is not None and ADAPTER_CONFIG in seen.adapter.files:
        told = f"spec.model.adapter: {wanted.adapter}/{ADAPTER_CONFIG}"
        yield from _of_adapter(_object(seen.adapter, ADAPTER_CONFIG), told, base=wanted.base)


def _weights_missing(base: observed.Folder, place: str) -> Iterator[str]:
    """transformers takes the one file, or else those that the index names."""
    if WHOLE in base.files:
        return
    if INDEX in base.files:
        named = _shards(_object(base, INDEX))
        lacking = sorted(named - base.files)
        if lacking:
            shown = ", ".join(map(_quoted, lacking[:_MOST])) + (", …" if len(lacking) > _MOST else "")
            yield f"{place}: {len(lacking)} of the {len(named)} files that {INDEX} names aren't on the share: {shown}"
    elif any(map(_SHARD.fullmatch, base.files)):
        yield f"{place}/{INDEX} isn't on the share, which the parts of the weights need"
    elif not any(name.endswith(".safetensors") for name in base.files):
        yield f"{place} has no weights as *.safetensors"


def _shards(index: _Object | str) -> set[str]:
    """The files that an index names; none of one that can't be understood."""
    names = index.get("weight_map") if isinstance(index, dict) else None
    return {name for name in names.values() if isinstance(name, str)} if isinstance(names, dict) else set()


def _of_config(config: _Object | str, place: str) -> Iterator[Finding]:
    if isinstance(config, str):
        yield _unread(place, config)
    elif not isinstance(config.get("model_type"), str):
        told = f"{place} has no model_type, by which transformers knows the model; copy the model's own {CONFIG}"
        yield Finding("error", "model", told)


def _of_index(index: _Object | str, place: str) -> Iterator[Finding]:
    if isinstance(index, str):
        yield _unread(place, index)
    elif not _shards(index):
        yield Finding("error", "model", f"{place} names no files of weights in its weight_map; copy the model's own")


def _of_adapter(config: _Object | str, place: str, *, base: str) -> Iterator[Finding]:
    if isinstance(config, str):
        yield _unread(place, config)
        return
    if config.get("peft_type") != "LORA":
        yield Finding("error", "model", f"{place}: its peft_type isn't LORA, the only kind of adapter that is served")
    trained, name = _last(config.get("base_model_name_or_path")), _last(base)
    if trained and trained.casefold() != name.casefold():
        told = (
            f"{place}: it was trained on {_quoted(trained)}, and spec.model.base is {name}; see that they are the same"
        )
        yield Finding("warning", "model", told)


def _unread(place: str, why: str) -> Finding:
    if why == _TOO_LARGE:
        return Finding("note", "model", f"unknown: {place} {why}")
    return Finding("error", "model", f"{place} {why}; upload it again")


def _object(folder: observed.Folder, name: str) -> _Object | str:
    """The JSON object in the file, or why there is none, without a word of the file."""
    data = folder.texts.get(name, b"")
    if len(data) > LARGEST:
        return _TOO_LARGE
    try:
        found = json.loads(data)
    except json.JSONDecodeError as error:
        return f"isn't JSON (line {error.lineno}, column {error.colno})"
    except (ValueError, RecursionError):
        return "isn't JSON"
    return found if isinstance(found, dict) else "isn't a JSON object"


def _last(path: object) -> str:
    """A path's last part, or a name's on the Hub; with the separators of either world."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] if isinstance(path, str) else ""


def _quoted(text: str) -> str:
    shown = printable.plain(text).encode(errors="replace").decode()
    return repr(shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…")
