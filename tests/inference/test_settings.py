"""Environment variables."""

from __future__ import annotations

import pytest

from inference import settings

BASE = {"BASE_MODEL_DIR": "/models/phi"}


def test_defaults() -> None:
    """Only the base model's folder is required; the model is known by that folder's name."""
    read = settings.read(BASE)
    assert (read.model_id, read.adapter_dir, read.adapter_mode, read.api_keys) == ("phi", None, "merged", ())


def test_all_problems_are_told_at_once() -> None:
    """One message names every bad variable."""
    bad = {"MAX_INFLIGHT": "0", "GRACE_S": "soon", "DTYPE": "int4", "KV_BLOCKS": "1", "QUEUE_TIMEOUT_S": "inf"}
    with pytest.raises(settings.SettingsError) as raised:
        settings.read(bad)
    assert all(name in str(raised.value) for name in [*bad, "BASE_MODEL_DIR"])


def test_keys_are_not_shown() -> None:
    """The settings' repr has no API key."""
    read = settings.read({**BASE, "API_KEYS": "k3y1, k3y2,"})
    assert read.api_keys == ("k3y1", "k3y2")
    assert "k3y" not in repr(read)


@pytest.mark.parametrize(
    ("env", "port"),
    [({}, 7860), ({"CONTAINER_APP_PORT": "80"}, 80), ({"CONTAINER_APP_PORT": "80", "PORT": "81"}, 81)],
)
def test_port(env: dict[str, str], port: int) -> None:
    """PORT, else the platform's, else 7860."""
    assert settings.port(env) == port


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1"])
def test_a_bad_port(text: str) -> None:
    """A port that can't be one is refused by name."""
    with pytest.raises(settings.SettingsError, match="PORT"):
        settings.port({"PORT": text})
