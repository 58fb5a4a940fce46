"""`stack` and `built` as the tests of passes have them; `faults`: the rules by which their Azure fails."""

from __future__ import annotations

import pytest

from infra.local_azure.faults import Rule
from tests.reconcile.conftest import built, built_once, stack
from tests.reconcile.stack import Stack

__all__ = ["built", "built_once", "faults", "stack"]


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> list[Rule]:
    used: Stack = request.getfixturevalue("built" if "built" in request.fixturenames else "stack")
    return used.local.server.faults.rules
