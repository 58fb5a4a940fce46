"""`python -m controller.reference`: writes what is generated from the models of the desired state."""

from __future__ import annotations

import json
from pathlib import Path

from controller.model import desired, reference

FOLDER = Path("desired_state")


def main() -> None:
    (FOLDER / "schema.json").write_text(json.dumps(desired.json_schema(), indent=2) + "\n")
    readme = FOLDER / "README.md"
    readme.write_text(reference.readme(readme.read_text()))


if __name__ == "__main__":
    main()
