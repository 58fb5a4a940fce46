"""The Dockerfile, read: no Docker is needed to know that what it copies is there and what it starts exists."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import typer
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from controller import cli

ROOT = Path(__file__).parents[3]
LINE = re.compile(r"^(?P<word>[A-Z]+)\s+(?P<rest>.*)$", re.DOTALL)


@dataclass
class Stage:
    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def last(self, word: str) -> str:
        return [rest for each, rest in self.lines if each == word][-1]

    def sources(self) -> list[str]:
        """What is copied from the build context."""
        copies = [rest.split() for word, rest in self.lines if word == "COPY" and not rest.startswith("--from=")]
        return [source for copy in copies for source in copy[:-1]]


def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        match = LINE.match(line)
        assert match, line
        word, rest = match["word"], match["rest"]
        if word == "ARG":
            name, _, arguments[name] = rest.partition("=")
        elif word == "FROM":
            base, _, name = rest.split()
            found[name] = Stage(arguments.get(base.strip("${}"), base))
        else:
            list(found.values())[-1].lines.append((word, rest))
    return found


def test_both_targets_are_there() -> None:
    """`docker build --target controller` and `--target inference`."""
    assert {"controller", "inference"} <= stages().keys()


def test_what_is_copied_is_there_and_not_ignored() -> None:
    """The build context holds it."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    for stage in stages().values():
        for source in stage.sources():
            assert (ROOT / source).exists()
            assert f"!{PurePosixPath(source).parts[0]}" in ignore


def test_the_controller_s_image_has_neither_local_azure_nor_app() -> None:
    """Only the controller, with the versions of the lock."""
    made = stages()
    copied = {PurePosixPath(source).parts[0] for name in ("package", "controller") for source in made[name].sources()}
    assert copied == {"controller", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"}
    assert any("--constraint requirements.lock" in rest for word, rest in made["package"].lines if word == "RUN")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    version = made["controller"].base.removeprefix("python:").removesuffix("-slim")
    assert version in SpecifierSet(needed)
    assert made["controller"].base == made["package"].base


def test_what_is_started_exists() -> None:
    """The default command is one the command line knows; nothing runs as root."""
    made = stages()
    assert json.loads(made["controller"].last("ENTRYPOINT")) == ["acaops"]
    verb, *arguments = json.loads(made["controller"].last("CMD"))
    command = typer.main.get_command(cli.app)
    context = command.get_command(typer.Context(command), verb).make_context(verb, arguments)  # type: ignore[attr-defined]
    assert PurePosixPath(context.params["folder"]).parent == PurePosixPath(made["controller"].last("WORKDIR"))
    assert context.params["host"] == "0.0.0.0"
    assert made["controller"].last("EXPOSE") == str(context.params["port"])
    python, flag, package = json.loads(made["inference"].last("CMD"))
    assert (python, flag) == ("python", "-m")
    assert (ROOT / package / "__main__.py").exists()
    for name in ("controller", "inference"):
        assert made[name].last("USER").isdecimal()
        check = json.loads(made[name].last("HEALTHCHECK").partition("CMD ")[2])
        compile(check[-1], name, "exec")


def test_the_app_accepts_the_torch_of_its_image() -> None:
    """Else the build, which keeps the image's torch, would fail."""
    found = re.search(r"pytorch:(\d+\.\d+\.\d+)-cuda", stages()["inference"].base)
    assert found
    lines = (ROOT / "inference" / "requirements.txt").read_text().splitlines()
    needed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    (torch,) = (each for each in needed if each.name == "torch")
    assert torch.specifier.contains(found[1])
