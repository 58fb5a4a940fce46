"""What content may lack though it can be published: an adapter that can't be loaded, a requirements file that isn't
there, more bytes than a share or a bundle is good for.

What can't be published at all is refused by `content`. Blocking: reads `adapter_config.json` files.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controller.model import content, desired
from controller.plan.preflight import Finding, Level

ADAPTER = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

GIB = 2**30
LARGE_BUNDLE = GIB
"""Bytes from which a copy per release, unpacked at each start, is a burden."""

LARGEST_FILE = 4 * 2**40
"""Bytes; documented: the most a file on Azure Files holds."""

_REQUIREMENTS = re.compile(r"(?:^|\s)(?:-r|--requirement)(?:\s+|=)?([^\s;&|<>()'\"`$*~]+\.txt)(?=$|[\s;&|)])")
_GOES_ELSEWHERE = re.compile(r"(?:^|[\s;&|(])(?:cd|pushd)\s")


def findings(app: desired.InferenceApp, wanted: content.Content, *, quota: int) -> Iterator[Finding]:
    """What is worth saying of the app's content. `quota` is the share's, in GiB."""
    yield from _sizes(app, wanted, quota=quota)
    yield from _adapters(wanted)
    yield from _requirements(app, wanted)


def _sizes(app: desired.InferenceApp, wanted: content.Content, *, quota: int) -> Iterator[Finding]:
    bundled = app.spec.release == "Bundle"
    for file in wanted.files:
        if file.size > LARGEST_FILE:
            told = f"{file.source}: {_gib(file.size)}: Azure Files holds files of 4 TiB at most; split it"
            yield Finding("error", "size", told)
    if wanted.size > quota * GIB:
        # An archive may be smaller than what is in it.
        level: Level = "warning" if bundled else "error"
        told = f"spec.content: {_gib(wanted.size)} are more than the share's {quota} GiB; publish less or raise"
        yield Finding(level, "size", f"{told} spec.storage.shareQuotaGiB of Environment {app.spec.environment_ref}")
    elif bundled and wanted.size > LARGE_BUNDLE:
        largest = max(wanted.files, key=lambda file: file.size)
        told = (
            f"spec.content: {_gib(wanted.size)} in a bundle are uploaded with each release and unpacked at each start; "
            f"keep models on the share itself, or set release: Mirror (the largest file is {largest.path}, "
            f"{_gib(largest.size)})"
        )
        yield Finding("warning", "size", told)


def _adapters(wanted: content.Content) -> Iterator[Finding]:
    there = {file.path for file in wanted.files}
    for file in wanted.files:
        folder, name = posixpath.split(file.path)
        if name != ADAPTER:
            continue
        config = _read(file.source)
        if isinstance(config, str):
            yield Finding("error", "adapter", f"{file.source}: {config}; export the adapter again")
            continue
        lacking = [key for key in ("peft_type", "base_model_name_or_path") if not isinstance(config.get(key), str)]
        if lacking:
            told = f"{file.source}: lacks {' and '.join(lacking)}, by which peft loads an adapter; export it again"
            yield Finding("error" if "peft_type" in lacking else "warning", "adapter", told)
        if there.isdisjoint(posixpath.join(folder, weights) for weights in WEIGHTS):
            told = f"{file.source}: no {' or '.join(WEIGHTS)} beside it is published; add the adapter's weights"
            yield Finding("warning", "adapter", told)


def _read(path: Path) -> dict[str, Any] | str:
    """The object in the file, or why there is none."""
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return f"isn't JSON ({error})"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    return config if isinstance(config, dict) else "isn't a JSON object"


def _requirements(app: desired.InferenceApp, wanted: content.Content) -> Iterator[Finding]:
    """Files that pip is to read. A mirrored app may find them on the share, beside the folders that are published."""
    if not wanted.files or any(map(_GOES_ELSEWHERE.search, app.spec.commands)):
        return
    there = {file.path for file in wanted.files}
    installs = [(at, command) for at, command in enumerate(app.spec.commands) if "pip" in command]
    for at, command in installs:
        for named in _REQUIREMENTS.findall(command):
            path = posixpath.normpath(named)
            elsewhere = path.startswith(("/", "../")) or (app.spec.release == "Mirror" and not _below(path, wanted))
            if path not in there and not elsewhere:
                told = f"spec.commands[{at}]: {named} isn't in the content{_same_name(path, there)}"
                yield Finding("warning", "commands", f"{told}; add it or correct the path")


def _below(path: str, wanted: content.Content) -> bool:
    return any(path.startswith(f"{target}/") for target in wanted.targets)


def _same_name(path: str, there: set[str]) -> str:
    """Where files of that name are."""
    same = sorted(other for other in there if posixpath.basename(other) == posixpath.basename(path))
    return f" (there is {', '.join(same)})" if same else ""


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
