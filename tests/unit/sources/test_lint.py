"""What content may lack though it can be published: adapters, requirements files, and how large it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from controller.model import content, desired
from controller.plan.preflight import Finding
from controller.sources import lint

GOOD = {"peft_type": "LORA", "base_model_name_or_path": "microsoft/Phi-3-mini-4k-instruct"}
GIB = 2**30


def app(*commands: str, release: str = "Bundle") -> desired.InferenceApp:
    spec = {
        "environmentRef": "west",
        "image": "docker.io/library/python:3.12",
        "commands": list(commands or ("python -m inference",)),
        "content": [{"path": "../inference", "target": "inference"}],
        "release": release,
    }
    body = {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": "chat"}, "spec": spec}
    return desired.InferenceApp.model_validate(body)


def published(*files: tuple[str, int], folder: Path = Path("/src")) -> content.Content:
    """Content of (path, size) pairs, each from `folder` under its own name."""
    made = (content.File(path, folder / Path(path).name, size, "0" * 64, executable=False) for path, size in files)
    return content.Content(tuple(made), ("inference",))


def found(one: desired.InferenceApp, wanted: content.Content, *, quota: int = 1024) -> list[Finding]:
    return list(lint.findings(one, wanted, quota=quota))


# Adapters


def adapter(folder: Path, config: Any, *beside: str) -> list[tuple[str, str]]:
    """What is said of an adapter's folder."""
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    (folder / lint.ADAPTER).write_bytes(text)
    files = [(f"models/pirate/{name}", 5) for name in (lint.ADAPTER, *beside)]
    return [(one.level, one.message) for one in found(app(), published(*files, folder=folder))]


@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin"])
def test_a_good_adapter(tmp_path: Path, *, weights: str) -> None:
    """Nothing is said."""
    assert adapter(tmp_path, GOOD, weights) == []


@pytest.mark.parametrize(
    ("config", "told"),
    [
        pytest.param(b"{nope", "isn't JSON (", id="syntax"),
        pytest.param(b"\xff\xfe{", "isn't JSON (", id="bytes"),
        pytest.param(b"[" * 100_000, "isn't JSON (", id="depth"),
        pytest.param([GOOD], "isn't a JSON object", id="list"),
        pytest.param({**GOOD, "peft_type": None}, "lacks peft_type, by which", id="type"),
        pytest.param({}, "lacks peft_type and base_model_name_or_path, by which", id="empty"),
    ],
)
def test_an_adapter_that_cannot_be_loaded(tmp_path: Path, *, config: Any, told: str) -> None:
    """An error at the file."""
    ((level, message),) = adapter(tmp_path, config, "adapter_model.bin")
    assert level == "error"
    assert message.startswith(f"{tmp_path / lint.ADAPTER}: {told}")


def test_an_adapter_that_went_away(tmp_path: Path) -> None:
    """Said, not raised."""
    (one,) = found(app(), published(("a/adapter_config.json", 5), ("a/adapter_model.bin", 5), folder=tmp_path))
    assert (
        one.message == f"{tmp_path / lint.ADAPTER}: can't be read: No such file or directory; export the adapter again"
    )


def test_an_adapter_that_may_not_be_meant(tmp_path: Path) -> None:
    """Without the base model's name, or with its weights in another folder: they may be on the share."""
    assert adapter(tmp_path, {"peft_type": "LORA"}, "adapter_model.bin")[0][0] == "warning"
    ((level, message),) = adapter(tmp_path, GOOD, "below/adapter_model.safetensors")
    assert level == "warning"
    assert "no adapter_model.safetensors or adapter_model.bin beside it is published" in message


# Requirements


@pytest.mark.parametrize(
    "command",
    [
        "pip install -r inference/requirements.txt",
        "pip install --requirement=inference/requirements.txt -q",
        "python -m pip install -r ./inference/requirements.txt && echo done",
        "uv pip install -rinference/requirements.txt",
    ],
)
def test_requirements_that_are_not_published(*, command: str) -> None:
    """A warning with the command's place and the file; none where it's there."""
    (one,) = found(app(command, "python -m inference"), published(("inference/serve.py", 5)))
    assert (one.level, one.check) == ("warning", "commands")
    assert one.message.startswith("spec.commands[0]: ")
    assert "inference/requirements.txt isn't in the content; add it" in one.message
    assert found(app(command), published(("inference/requirements.txt", 5))) == []


def test_requirements_elsewhere_in_the_content() -> None:
    """The file of that name is told."""
    (one,) = found(app("pip install -r requirements.txt"), published(("inference/requirements.txt", 5)))
    assert "requirements.txt isn't in the content (there is inference/requirements.txt); " in one.message


@pytest.mark.parametrize(
    ("commands", "release"),
    [
        pytest.param(["pip install torch"], "Bundle", id="none"),
        pytest.param(["cd inference && pip install -r requirements.txt"], "Bundle", id="elsewhere"),
        pytest.param(["cd inference", "pip install -r requirements.txt"], "Bundle", id="gone elsewhere before"),
        pytest.param(["pip install -r /opt/requirements.txt"], "Bundle", id="in the image"),
        pytest.param(["pip install -r ../requirements.txt"], "Bundle", id="above"),
        pytest.param(["pip install -r $HOME/requirements.txt"], "Bundle", id="variable"),
        pytest.param(["sort -r names.txt"], "Bundle", id="another program"),
        pytest.param(["pip install -r shared/requirements.txt"], "Mirror", id="on the share"),
    ],
)
def test_requirements_that_may_well_be_there(*, commands: Sequence[str], release: str) -> None:
    """Nothing is said of what can't be known."""
    assert found(app(*commands, release=release), published(("inference/serve.py", 5))) == []


def test_requirements_in_a_mirrored_folder() -> None:
    """What is published there is all that's there."""
    one = app("pip install -r inference/requirements.txt", release="Mirror")
    assert [each.check for each in found(one, published(("inference/serve.py", 5)))] == ["commands"]


def test_an_app_without_content() -> None:
    """Its commands run on what is on the share."""
    assert found(app("pip install -r inference/requirements.txt"), published()) == []


# Sizes


@pytest.mark.parametrize(
    ("release", "size", "quota", "level"),
    [
        pytest.param("Bundle", GIB, 1, None, id="bundle fits"),
        pytest.param("Bundle", GIB + 1, 2, "warning", id="large bundle"),
        pytest.param("Bundle", 2 * GIB + 1, 2, "warning", id="bundle over quota"),
        pytest.param("Mirror", 2 * GIB, 2, None, id="mirror fits"),
        pytest.param("Mirror", 2 * GIB + 1, 2, "error", id="mirror over quota"),
    ],
)
def test_how_much_is_published(*, release: str, size: int, quota: int, level: str | None) -> None:
    """A mirror that doesn't fit can't work; a bundle may pack to less, and is a burden from a GiB on."""
    said = found(app(release=release), published(("inference/model.bin", size)), quota=quota)
    assert [(one.level, one.check) for one in said] == ([(level, "size")] if level else [])


def test_sizes_are_told_with_the_remedy() -> None:
    """What to change, and the file that matters most."""
    (over,) = found(app(release="Mirror"), published(("inference/a", 3 * GIB)), quota=2)
    assert over.message == (
        "spec.content: 3.0 GiB are more than the share's 2 GiB; publish less or raise spec.storage.shareQuotaGiB of "
        "Environment west"
    )
    (large,) = found(app(), published(("inference/a", 3), ("inference/model.bin", 2 * GIB)))
    assert "(the largest file is inference/model.bin, 2.0 GiB)" in large.message


def test_a_file_that_no_share_holds() -> None:
    """4 TiB is the most."""
    most = published(("inference/a", 4 * 2**40))
    assert found(app(release="Mirror"), most, quota=102_400) == []
    (one,) = found(app(release="Mirror"), published(("inference/a", 4 * 2**40 + 1)), quota=102_400)
    assert (one.level, one.message) == (
        "error",
        "/src/a: 4096.0 GiB: Azure Files holds files of 4 TiB at most; split it",
    )
