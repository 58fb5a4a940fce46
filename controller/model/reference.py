"""The reference of the desired state, one row per field, made from the JSON schema (see `desired`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from controller.model import desired, fields

BEGIN = "<!-- fields: generated, don't edit below -->"
END = "<!-- fields: end -->"

Schema = dict[str, Any]


def readme(text: str) -> str:
    """`text` with what stands between the markers replaced by the tables of today's fields."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def tables() -> str:
    """One Markdown table per kind."""
    definitions: Schema = desired.json_schema()["$defs"]
    return "\n".join(_table(kind, definitions) for kind in desired.KINDS)


def _table(kind: str, definitions: Schema) -> str:
    schema = definitions[kind]
    rows = "".join(
        f"| `{path}` | {what} | {default} | {says} |\n" for path, what, default, says in _rows(schema, definitions)
    )
    return f"## {kind}\n\n{schema['description']}\n\n| field | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _rows(schema: Schema, definitions: Schema, *, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    for name, field in schema["properties"].items():
        path = f"{prefix}{name}"
        inner, repeated = _object(field, definitions)
        default = "required" if name in schema.get("required", ()) else _default(field, inner)
        says = " ".join(field["description"].split()).replace("|", "\\|")
        yield path, _type(field, definitions), default, says
        if inner is not None:
            yield from _rows(inner, definitions, prefix=f"{path}[]." if repeated else f"{path}.")


def _object(field: Schema, definitions: Schema) -> tuple[Schema | None, bool]:
    """The object the field holds (None for plain values), and whether it holds a list of them."""
    for choice in field.get("anyOf", [field]):
        target = choice.get("$ref") or choice.get("items", {}).get("$ref")
        if target:
            return definitions[target.rpartition("/")[2]], "items" in choice
    return None, False


def _default(field: Schema, inner: Schema | None) -> str:
    default = field.get("default", {})
    return "" if inner is not None and isinstance(default, dict) else f"`{json.dumps(default)}`"


def _type(field: Schema, definitions: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(_type(choice, definitions) for choice in field["anyOf"])
    if words := field.get("enum") or ([field["const"]] if "const" in field else None):
        return ", ".join(f"`{word}`" for word in words)
    if "$ref" in field:
        return "object"
    if field["type"] == "array":
        return f"list of {_type(field['items'], definitions)}s" if "items" in field else "empty list"
    if field.get("pattern") == fields.DURATION_JSON_PATTERN:
        return "duration"
    names = {"string": "text", "object": "map of texts", "null": "null", "number": "number", "boolean": "true, false"}
    return names.get(field["type"]) or f"integer{_limits(field)}"


def _limits(field: Schema) -> str:
    low, high = field.get("minimum", ""), field.get("maximum", "")
    return f" {low} to {high}" if high else f" from {low}"
