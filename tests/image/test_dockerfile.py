"""The Dockerfile, read: no Docker is needed to know that what it copies is there and what it starts exists."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from controller import options
from tests.image.dockerfile import PROJECT, ROOT, build_context, is_sent, stages


def test_both_targets_are_there() -> None:
    """`docker build --target controller` and `--target inference`."""
    assert {"controller", "inference"} <= stages().keys()


def test_the_build_context_is_what_is_copied(tmp_path: Path) -> None:
    """Nothing that is copied is missing, and nothing else is sent; no caches."""
    build_context(tmp_path)
    copied = {source for stage in stages().values() for source in stage.sources()}
    assert [source for source in copied if not (tmp_path / source).exists()] == []
    sent = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert [path for path in sent if not any(path.is_relative_to(source) for source in copied)] == []
    assert not is_sent("controller/cloud/__pycache__/azure.cpython-311.pyc")
    assert not is_sent(".env")


def test_the_controller_s_image_has_neither_local_azure_nor_app() -> None:
    """Only the controller, with the versions of the lock, on a Python that it supports."""
    made = stages()
    copied = {PurePosixPath(source).parts[0] for name in ("package", "controller") for source in made[name].sources()}
    assert copied == {"controller", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"}
    version = made["controller"].base.removeprefix("python:").partition("-slim")[0]
    assert version in SpecifierSet(PROJECT["requires-python"])
    assert made["controller"].base == made["package"].base


def test_git_and_ssh_are_installed_and_the_lists_removed() -> None:
    """What fetches the state repository; in one layer, so that the package lists don't stay in it."""
    (line,) = (rest for rest in stages()["controller"].all("RUN") if "apt-get" in rest)
    assert {"ca-certificates", "git", "openssh-client", "--no-install-recommends"} <= set(line.split())
    assert line.index("apt-get update") < line.index("apt-get install") < line.index("rm -rf /var/lib/apt/lists/*")


def test_all_that_is_written_is_on_volumes() -> None:
    """Home, temporary files and the cache, so that the root file system may be read-only; nothing runs as root."""
    made = stages()
    environment = made["controller"].environment()
    volumes = re.findall(r'"([^"]+)"', made["controller"].last("VOLUME"))
    assert {environment[name] for name in ("HOME", "TMPDIR", "ACAOPS_CACHE")} == set(volumes)
    for name in ("controller", "inference"):
        assert made[name].last("USER").isdecimal()


def test_the_app_s_image_has_its_packages_and_no_code() -> None:
    """The code is the share's, where the default command finds it."""
    inference = stages()["inference"]
    assert inference.sources() == ["inference/requirements.txt"]
    assert inference.last("WORKDIR") == "/mount"
    python, flag, package = inference.started()
    assert (python, flag) == ("python", "-m")
    assert (ROOT / package / "__main__.py").exists()
    compile(inference.health_check()[-1], "inference", "exec")


def test_the_app_accepts_the_torch_of_its_image() -> None:
    """Else the build, which keeps the image's torch, would fail."""
    found = re.search(r"pytorch:(\d+\.\d+\.\d+)-cuda", stages()["inference"].base)
    assert found
    lines = (ROOT / "inference" / "requirements.txt").read_text().splitlines()
    needed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    (torch,) = (each for each in needed if each.name == "torch")
    assert torch.specifier.contains(found[1])


def test_settings_that_are_named_exist() -> None:
    """Each variable of the image, and each that compose.yaml speaks of, is one the command reads."""
    text = (ROOT / "Dockerfile").read_text() + (ROOT / "compose.yaml").read_text()
    named = set(re.findall(r"ACAOPS_[A-Z_]+", text))
    assert {"ACAOPS_CACHE", "ACAOPS_REPO", "ACAOPS_PORT", "ACAOPS_ALLOW"} <= named
    assert named - {option.variable for option in options.OPTIONS} == set()
