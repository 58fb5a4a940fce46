"""compose.yaml: what it names exists, and the controller gets no more than it needs."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import yaml

from controller.sources import manifest
from tests.image.dockerfile import ROOT, stages

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICE: dict[str, Any] = COMPOSE["services"]["controller"]
MOUNTS = [tuple(each.split(":")) for each in SERVICE["volumes"]]
BINDS = [mount for mount in MOUNTS if mount[0].startswith(".")]


def test_it_is_the_controller_s_image() -> None:
    """Built here, started and checked as the image has it."""
    assert SERVICE["build"] == {"context": ".", "target": "controller"}
    assert SERVICE["build"]["target"] in stages()
    assert SERVICE.keys().isdisjoint({"command", "entrypoint", "healthcheck", "user"})


def test_all_that_the_image_writes_is_writable() -> None:
    """The root file system is read-only; each of the image's volumes is one here, and nothing else is."""
    named = {target: source for source, target, *flags in MOUNTS if "ro" not in flags}
    assert SERVICE["read_only"] is True
    assert {*named, *SERVICE["tmpfs"]} == set(json.loads(stages()["controller"].last("VOLUME")))
    assert set(named.values()) == COMPOSE["volumes"].keys()


def test_the_state_and_its_content_are_mounted() -> None:
    """Read-only, where the image looks: the folder of the default command's, and beside it what its apps name."""
    workdir = PurePosixPath(stages()["controller"].last("WORKDIR"))
    for source, target, *flags in BINDS:
        assert (ROOT / source).is_dir()
        assert workdir / source == PurePosixPath(target)
        assert flags == ["ro"]
    mounted = {(ROOT / source).resolve() for source, *_ in BINDS}
    loaded = manifest.load(ROOT / "desired_state")
    contents = {path.resolve() for app in loaded.apps for path, _ in app.contents}
    assert mounted == {ROOT / "desired_state", *contents}


def test_only_this_machine_can_ask_it() -> None:
    """The image's port, on loopback."""
    assert SERVICE["ports"] == [f"127.0.0.1:{stages()['controller'].last('EXPOSE')}:8080"]


def test_it_gains_no_rights() -> None:
    """No capability, and none by a set-user-id program."""
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in SERVICE
    assert "privileged" not in SERVICE


def test_credentials_are_optional_and_not_in_it() -> None:
    """They stand in a file that a fresh clone doesn't have."""
    assert SERVICE["env_file"] == [{"path": ".env", "required": False}]
    assert "environment" not in SERVICE
