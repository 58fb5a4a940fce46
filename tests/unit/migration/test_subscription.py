"""Which subscription a live app is looked for in, where the user names none."""

from __future__ import annotations

import pytest

from controller.migration import live, migrated
from controller.model import observed


def subscription(name: str, state: str = "Enabled") -> observed.Resource:
    return observed.Resource({"subscriptionId": f"id-{name}", "displayName": name, "state": state})


def test_the_only_one_is_taken() -> None:
    """One that is disabled is none."""
    assert live.only([subscription("old", "Disabled"), subscription("new")]) == "id-new"


@pytest.mark.parametrize(
    ("there", "have"),
    [([], "none"), ([subscription("a"), subscription("b")], r"id-a \(a\), id-b \(b\)")],
)
def test_otherwise_the_user_says(there: list[observed.Resource], have: str) -> None:
    """And is told which there are."""
    with pytest.raises(migrated.MigrationError, match=f"--subscription is needed: the credential reaches {have}"):
        live.only(there)
