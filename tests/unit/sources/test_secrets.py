"""Secret values come from the environment or a file, and never reach a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.model import desired
from controller.sources import manifest, secrets


def secret(name: str, **source: str) -> desired.Secret:
    return desired.Secret.model_validate({"name": name, **source})


def test_values_come_from_variables_and_files(tmp_path: Path) -> None:
    """Files are relative to the YAML file's folder; one newline at their end is dropped."""
    (tmp_path / "token").write_bytes(b"two\n\n")
    (tmp_path / "windows").write_bytes(b"three\r\n")
    wanted = [
        secret("one", fromEnv="KEY"),
        secret("two", fromFile="../" + tmp_path.name + "/token"),
        secret("three", fromFile=str(tmp_path / "windows")),
    ]

    values = secrets.resolve(wanted, folder=tmp_path, environ={"KEY": "one\n"})

    assert {name: value.get_secret_value() for name, value in values.items()} == {
        "one": "one\n",
        "two": "two\n",
        "three": "three",
    }
    assert "one" not in repr(values["one"])


def test_every_missing_value_is_told_without_any_value(tmp_path: Path) -> None:
    """By variable and file name."""
    (tmp_path / "binary").write_bytes(b"s3cret\xff")
    (tmp_path / "large").write_bytes(b"s3cret" * 20_000)
    wanted = [
        secret("a", fromEnv="NOT_SET"),
        secret("b", fromEnv="EMPTY"),
        secret("c", fromFile="gone"),
        secret("d", fromFile="binary"),
        secret("e", fromFile="large"),
        secret("f", fromEnv="SET"),
    ]

    with pytest.raises(secrets.SecretError) as caught:
        secrets.resolve(wanted, folder=tmp_path, environ={"EMPTY": "", "SET": "s3cret"})

    assert caught.value.problems == (
        "secret a: the environment variable NOT_SET isn't set",
        "secret b: the environment variable EMPTY is empty",
        f"secret c: there is no file {tmp_path}/gone",
        f"secret d: the file {tmp_path}/binary isn't UTF-8",
        f"secret e: the file {tmp_path}/large is larger than 64 KiB",
    )
    assert "s3cret" not in str(caught.value)


def test_an_app_s_secrets_come_from_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables from its environment, files relative to the app's YAML file."""
    head = {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": "a"}}
    listed = [{"name": "one", "fromEnv": "ACA_TEST_ONE"}, {"name": "two", "fromFile": "two"}]
    spec = {"environmentRef": "e", "image": "python", "commands": ["true"], "secrets": listed}
    app = desired.InferenceApp.model_validate(head | {"spec": spec})
    monkeypatch.setenv("ACA_TEST_ONE", "1")
    (tmp_path / "two").write_text("2")

    values = secrets.resolve_all(manifest.Loaded(app, "app.yaml", 1, tmp_path))

    assert {name: value.get_secret_value() for name, value in values.items()} == {"one": "1", "two": "2"}
