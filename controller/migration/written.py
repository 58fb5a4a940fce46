"""Desired state as YAML files: `environment.yaml` and `app.yaml`, whole or not at all. What stands in them is decided
elsewhere.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from controller.migration.migrated import Json, Migrated, MigrationError
from controller.sources import worktree

ENVIRONMENT, APP = "environment.yaml", "app.yaml"


def write(found: Migrated, folder: Path, *, force: bool) -> tuple[Path, ...]:
    """The files written, in `folder`, which is made where it isn't there. `force`: files of these names that are there
    are replaced. Raises MigrationError, OSError."""
    texts = {ENVIRONMENT: text(found.environment), APP: text(_with_content(found, folder))}
    there = [folder / name for name in texts if (folder / name).exists()]
    if there and not force:
        raise MigrationError(f"{path}: is there already; write to another folder, or pass --force" for path in there)
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in texts.items():
        _replace(folder / name, body)
    return tuple(folder / name for name in texts)


def text(document: Json) -> str:
    """The document as people would write it: what is short on one line."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _with_content(found: Migrated, folder: Path) -> Json:
    """The content folders, relative to the YAML. Raises MigrationError for one that the state couldn't name."""
    base = folder.resolve()
    parent = base if base.exists() else next(one for one in base.parents if one.exists())
    boundary = worktree.top(parent) or base.parent
    content = []
    for path, target in found.contents:
        source = path.resolve()
        if not source.is_relative_to(boundary):
            inside = found.contents[0][0].parent / "desired_state"
            raise MigrationError([f"{path}: lies outside of {boundary}; write the state to {inside}"])
        content.append({"path": Path(os.path.relpath(source, base)).as_posix(), "target": target})
    return {**found.app, "spec": {**found.app["spec"], **({"content": content} if content else {})}}


def _replace(path: Path, body: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(body)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


class _Dumper(yaml.SafeDumper):
    """Indents lists, keeps texts of several lines as such, and writes small maps of plain values on one line."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _short(dumper: yaml.SafeDumper, data: dict[str, Any]) -> yaml.Node:
    node = dumper.represent_mapping("tag:yaml.org,2002:map", data.items())
    plain = not any(isinstance(value, (dict, list)) or "\n" in str(value) for value in data.values())
    node.flow_style = plain and sum(len(f"{key}: {value}, ") for key, value in data.items()) < 90
    return node


def _lines(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(dict, _short)
_Dumper.add_representer(str, _lines)
