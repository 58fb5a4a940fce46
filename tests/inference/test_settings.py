"""Environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference import settings

BASE = {"BASE_MODEL_DIR": "/models/phi", "ADAPTER_DIR": "/adapters/pirate"}


def test_defaults() -> None:
    """Only the two folders are required; the model is known by the base folder's name."""
    read = settings.read(BASE)
    assert (read.model_id, read.adapter_dir, read.base_only) == ("phi", Path("/adapters/pirate"), False)
    assert (read.adapter_mode, read.quantization, read.api_keys, read.admin_key) == ("merged", "none", (), None)
    assert (read.canary_prompt, read.system_prompt, read.examples) == ("Hello", "", ())


def test_the_base_model_alone_is_asked_for() -> None:
    """BASE_ONLY=1 serves without an adapter."""
    read = settings.read({"BASE_MODEL_DIR": "/models/phi", "BASE_ONLY": "1"})
    assert (read.adapter_dir, read.base_only) == (None, True)


def test_texts() -> None:
    """The page's prompts are one per line; blank ones don't count, and the system prompt keeps its lines."""
    read = settings.read(
        {**BASE, "EXAMPLE_PROMPTS": "\nWho are you?\n\n  Count down. \n", "SYSTEM_PROMPT": "Be\nbrief."}
    )
    assert (read.examples, read.system_prompt) == (("Who are you?", "Count down."), "Be\nbrief.")


def test_all_problems_are_told_at_once() -> None:
    """One message names every bad variable, and what contradicts another."""
    bad = {
        "MAX_INFLIGHT": "0",
        "GRACE_S": "soon",
        "DTYPE": "int4",
        "QUANTIZATION": "8bit",
        "KV_BLOCKS": "1",
        "QUEUE_TIMEOUT_S": "inf",
        "BASE_ONLY": "yes",
    }
    with pytest.raises(settings.SettingsError) as raised:
        settings.read(bad)
    assert all(name in str(raised.value) for name in [*bad, "BASE_MODEL_DIR", "ADAPTER_DIR"])


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"ADAPTER_DIR": ""}, "ADAPTER_DIR must name the adapter's folder; BASE_ONLY=1 serves the base model alone"),
        ({"BASE_ONLY": "1"}, "ADAPTER_DIR and BASE_ONLY=1 contradict each other"),
        ({"QUANTIZATION": "4bit", "DEVICE": "cpu"}, "QUANTIZATION=4bit needs a GPU"),
        ({"API_KEYS": "k3y,s3cret", "ADMIN_KEY": "s3cret"}, "ADMIN_KEY must not be one of API_KEYS"),
        ({"DRAIN_DELAY_S": "20", "GRACE_S": "20"}, "DRAIN_DELAY_S must be less than GRACE_S"),
    ],
)
def test_contradictions(env: dict[str, str], problem: str) -> None:
    """Values that are each right may not fit together; no message repeats a key."""
    with pytest.raises(settings.SettingsError, match=problem) as raised:
        settings.read({**BASE, **env})
    assert "s3cret" not in str(raised.value)


def test_keys_are_not_shown() -> None:
    """Neither the settings' repr nor a key's own text tells a key."""
    read = settings.read({**BASE, "API_KEYS": "k3y1, k3y2,", "ADMIN_KEY": "k3y3"})
    assert read.admin_key is not None
    assert [key.get_secret_value() for key in (*read.api_keys, read.admin_key)] == ["k3y1", "k3y2", "k3y3"]
    assert "k3y" not in f"{read!r} {read} {read.api_keys} {read.admin_key}"


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
