"""`stack`, `built` and `faults` as the tests of passes and of faults have them."""

from __future__ import annotations

from tests.faults.conftest import faults
from tests.reconcile.conftest import built, built_once, stack

__all__ = ["built", "built_once", "faults", "stack"]
