"""The JSON schema and the reference are made from the models, and the copies in the state folder are up to date."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controller.model import desired, reference

FOLDER = Path(__file__).parents[3] / "desired_state"


def objects(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, definition in schema["$defs"].items():
        for name, field in definition["properties"].items():
            yield f"{kind}.{name}", field


def test_the_schema_is_up_to_date() -> None:
    """schema.json is what the models say today."""
    assert json.loads((FOLDER / "schema.json").read_text()) == desired.json_schema()


def test_the_readme_is_up_to_date() -> None:
    """The tables between README's markers are what the models say today; the text around them stays."""
    readme = (FOLDER / "README.md").read_text()

    assert reference.readme(readme) == readme
    assert reference.readme(f"before\n{reference.BEGIN}{reference.END}\nafter\n").startswith("before\n")


def test_every_field_is_described() -> None:
    """A field without a description has no row to be looked up in."""
    assert [name for name, field in objects(desired.json_schema()) if not field.get("description")] == []


def test_durations_have_their_written_default() -> None:
    """Editors show `20m`, not seconds."""
    fields = dict(objects(desired.json_schema()))

    assert (fields["AppSpec.startupBudget"]["default"], fields["Check.period"]["default"]) == ("20m", "2s")


def test_what_is_not_yet_is_not_in_the_schema() -> None:
    """An editor doesn't offer what loading would refuse."""
    assert "keyVault" not in json.dumps(list(_constants(desired.json_schema())))


def test_the_reference_has_one_row_per_field() -> None:
    """Nested ones by their path, lists with brackets, each once per kind."""
    rows = re.findall(r"^\| `([^`]+)`", reference.tables(), re.MULTILINE)

    assert {"spec.env[].secretRef", "spec.rollout.check.period", "spec.storage.shareQuotaGiB"} <= set(rows)
    assert sorted({row for row in rows if rows.count(row) > 1}) == [
        *("apiVersion", "kind", "metadata", "metadata.name", "spec", "spec.deletionPolicy", "spec.mode", "spec.tags"),
    ]


def _constants(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield from (node[key] for key in ("const", "enum") if key in node)
        for value in node.values():
            yield from _constants(value)
