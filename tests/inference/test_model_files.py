"""What a model's folder tells before it is loaded, and reading it ahead."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference import loader, metrics, model_files, prefetch, settings, status
from infra import finetuning

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def base(trained: Path, tmp_path: Path) -> Path:
    """A copy of the base, to be damaged."""
    return Path(shutil.copytree(trained / finetuning.BASE, tmp_path / "tiny-phi3"))


def indexed(folder: Path, *names: str) -> None:
    """Split into files by an index."""
    (folder / "model.safetensors").rename(folder / names[0])
    index = {"weight_map": {f"tensor{at}": name for at, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "is not a folder"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no .*safetensors weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64), "model.safetensors: is cut short"),
        (
            lambda folder: indexed(folder, "one.safetensors", "two.safetensors"),
            "two.safetensors is missing, and .*index",
        ),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("[]"), "is not an index of weights"),
    ],
)
def test_a_bad_base_is_refused_in_words(base: Path, damage: Callable[[Path], Any], words: str) -> None:
    """Before anything heavy is imported."""
    damage(base)
    with pytest.raises(model_files.ModelError, match=f"ModelNotFound: .*{words}"):
        model_files.check_base(base)


def test_only_the_files_of_the_index_are_weights(base: Path) -> None:
    """A second copy in another format beside them is not read."""
    shutil.copy(base / "model.safetensors", base / "consolidated.safetensors")
    indexed(base, "model-00001-of-00001.safetensors")
    assert model_files.weights(base) == [base / "model-00001-of-00001.safetensors"]
    model_files.check_base(base)


def test_digests_follow_content(trained: Path, adapter_copy: Path) -> None:
    """The same bytes have the same digest wherever they are; other bytes another one."""
    before = model_files.digest(adapter_copy)
    assert before == model_files.digest(trained / finetuning.ADAPTER)
    path = adapter_copy / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert model_files.digest(adapter_copy) != before


def test_reading_ahead_reads_all_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block, the last one shorter."""
    monkeypatch.setattr(prefetch, "BLOCK", 1000)
    files = [tmp_path / "one", tmp_path / "two", tmp_path / "empty"]
    for file, size in zip(files, (2500, 1000, 0), strict=True):
        file.write_bytes(b"x" * size)
    ahead = prefetch.Prefetch(files)
    ahead.wait()
    assert ahead.bytes == 3500


def test_what_does_not_fit_into_memory_is_not_read_ahead(tmp_path: Path) -> None:
    """The end would push the beginning out again."""
    (tmp_path / "one").write_bytes(b"x" * 100)
    ahead = prefetch.Prefetch([tmp_path / "one"], room=99)
    ahead.wait()
    assert ahead.bytes == 0


def test_a_file_that_can_not_be_read_is_left_to_the_loader(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reading ahead only helps: it says so and fails nobody."""
    with caplog.at_level(logging.WARNING):
        prefetch.Prefetch([tmp_path / "gone"]).wait()
    assert "prefetch_failed" in caplog.text


@pytest.mark.parametrize(("limit", "most"), [("1000\n", 1000), ("max\n", None)])
def test_a_container_s_limit_is_the_memory_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int | None
) -> None:
    """The host's memory is not the container's."""
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(prefetch, "_CGROUP", tmp_path / "memory.max")
    assert prefetch.memory() == most if most else prefetch.memory() > 1000


def loaded(base: Path, **env: str) -> loader.Loaded:
    limits = settings.read({"BASE_MODEL_DIR": str(base), "BASE_ONLY": "1", **env})
    return loader.load(limits, adapter=loader.check_files(limits), state=status.Status(), measure=metrics.Metrics())


def test_on_a_cpu_no_weight_stays_mapped(base: Path) -> None:
    """Once loaded, the folder may hang or go: nothing is read from it any more."""
    got = loaded(base, DEVICE="cpu")
    maps = Path("/proc/self/maps").read_text()
    got.serving.stop(timeout=5)
    assert str(base) not in maps


def test_without_an_admin_key_nothing_is_kept_for_reloads(trained: Path) -> None:
    """An adapter that can't be exchanged costs no memory for it."""
    folders = {"ADAPTER_DIR": str(trained / finetuning.ADAPTER), "BASE_ONLY": "0", "DEVICE": "cpu"}
    for key, exchangeable in (("", False), ("secret", True)):
        got = loaded(trained / finetuning.BASE, ADMIN_KEY=key, **folders)
        got.serving.stop(timeout=5)
        assert (got.live is not None) is exchangeable


def test_four_bits_need_a_gpu(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as a problem of the settings, before the weights are read."""
    monkeypatch.setattr(loader, "_device", lambda wanted: "cpu")
    with pytest.raises(settings.SettingsError, match="QUANTIZATION=4bit needs a GPU, and there is none"):
        loaded(base, QUANTIZATION="4bit")


def test_four_bits_need_bitsandbytes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that not every image has."""
    monkeypatch.setattr(loader, "_device", lambda wanted: "cuda")
    with pytest.raises(settings.SettingsError, match="needs the package bitsandbytes, which is not installed"):
        loaded(base, QUANTIZATION="4bit", DTYPE="bfloat16")
