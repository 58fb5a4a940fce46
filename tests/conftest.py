"""What more than one folder of tests needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.status import store, summarize
from tests import trained as cached


@pytest.fixture(autouse=True)
def _kstatus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test is about: no status that anybody is told of breaks a rule of kstatus."""
    broken: list[tuple[store.ObjectStatus, list[str]]] = []
    replace = store.Store.replace

    def checked(self: store.Store, status: store.ObjectStatus) -> store.ObjectStatus | None:
        if status.conditions and (rules := summarize.check(status.conditions)):
            broken.append((status, rules))
        return replace(self, status)

    monkeypatch.setattr(store.Store, "replace", checked)
    yield
    assert broken == []


@pytest.fixture(scope="session")
def trained() -> Path:
    """The trained model's folder: ACAOPS_TEST_MODEL_DIR, else the demo's, trained once into the user's cache."""
    if given := os.environ.get("ACAOPS_TEST_MODEL_DIR"):
        return Path(given)
    return cached.folder()
